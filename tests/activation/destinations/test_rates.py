from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from activation.destinations.rates import RateBudget
from lendloop.home import CHECKOUT

CALLS = 30


def test_a_pause_gives_a_second_of_calls_and_then_the_pace_holds(tmp_path: Path) -> None:
    budget = RateBudget(tmp_path, "vendor", "key", now=lambda: 1000.0)
    waits = [budget.reserve("customers", 5) for _ in range(10)]
    assert [round(wait, 6) for wait in waits[:5]] == [0.0] * 5
    assert [round(wait, 6) for wait in waits[5:]] == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_endpoints_and_accounts_have_budgets_of_their_own_and_no_key_is_on_disk(tmp_path: Path) -> None:
    for account, endpoint in (("one", "customers"), ("two", "customers"), ("one", "lists")):
        assert RateBudget(tmp_path, "vendor", account, now=lambda: 1000.0).reserve(endpoint, 1) == 0.0
    assert RateBudget(tmp_path, "vendor", "one", now=lambda: 1000.0).reserve("lists", 1) == 1.0
    assert not any("one" in path.name or "two" in path.name for path in tmp_path.iterdir())
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_clock_set_back_holds_nobody_up_for_long(tmp_path: Path) -> None:
    RateBudget(tmp_path, "vendor", "key", now=lambda: 1e6).reserve("customers", 5)
    assert RateBudget(tmp_path, "vendor", "key", now=lambda: 1000.0).reserve("customers", 5) <= 60


def test_taking_a_turn_waits_for_it(tmp_path: Path) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))

    async def take() -> None:
        budget = RateBudget(tmp_path, "vendor", "key", sleep=sleep, now=lambda: 1000.0)
        for _ in range(3):
            await budget.take("customers", 1)

    asyncio.run(take())
    assert slept == [1.0, 2.0]


def test_at_a_fast_pace_several_turns_are_taken_at_once_and_each_is_given_once_at_its_time(tmp_path: Path) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))

    async def take(turns: int) -> float:
        budget = RateBudget(tmp_path, "vendor", "key", sleep=sleep, now=lambda: 1000.0)
        for _ in range(turns):
            await budget.take("customers", 100)
        return round(budget.reserve("customers", 100), 6)

    assert asyncio.run(take(101)) == 0.06, "21 blocks of five are taken, and the next turn is behind them"
    assert slept == [0.01, 0.02, 0.03, 0.04] * 20 + [0.01]


def test_processes_share_one_budget(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from activation.destinations.rates import RateBudget;"
        "b = RateBudget(Path(sys.argv[1]), 'vendor', 'key', now=lambda: 1000.0);"
        f"print(max(b.reserve('customers', 10) for _ in range({CALLS})))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    waits = [float(process.communicate(timeout=60)[0]) for process in processes]
    assert round(max(waits), 6) == (2 * CALLS - 10) / 10, "no turn is given twice"
