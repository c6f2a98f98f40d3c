"""A pass as the schedule or the command line starts it: from process start to exit, checks included.

Beside each stands what no pass can be faster than: starting Python with the same imports.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import ROUNDS, Peer, Row, Size, Timing, timed_command
from benchmarks.sandbox import history_of
from orchestration.sandbox_process import call, sandbox_server

TITLE = "A pass: `lendloop run` on the pretend lender"
CUSTOMERS: dict[Size, tuple[int, ...]] = {"small": (1_000,), "full": (20_000, 1_000_000)}
IMPORTS = "import dagster, dlt, duckdb, pandas, sqlalchemy; from dbt.cli.main import dbtRunner"
RUN = [sys.executable, "-m", "orchestration.cli", "run", "--json"]
TICK_TIMEOUT_S = 1800.0
NO_CHANGE_AIM_S = {20_000: 15.0}
PACE = (
    " One first pass was run. Vendors set most of its pace: the stand-in of the helpdesk exports 200 pages a minute, and the"
    " marketing tool is sent five bulk calls a second, as its vendor asks for."
)


def measure(size: Size) -> Iterator[Row]:
    for customers in CUSTOMERS[size]:
        yield from _measure(customers, rounds=1 if size == "small" or customers > 100_000 else ROUNDS)


def _measure(customers: int, rounds: int) -> Iterator[Row]:
    """A first pass a round; passes without change and after a day at least `ROUNDS` in all."""
    found: dict[str, list[Timing]] = {"first pass": [], "pass without change": [], "pass after one day": []}
    bare: list[Timing] = []
    history = ""
    for _ in range(rounds):
        folder = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            with sandbox_server(folder / "sandbox", customers) as sandbox:
                settings = {name: value for name, value in sandbox.items() if name.startswith("LENDLOOP_")}
                environment = {**os.environ, **settings, "LENDLOOP_HOME": str(folder / "home")}
                history = history_of(folder / "sandbox", customers)
                found["first pass"].append(timed_command(RUN, environment))
                for _ in range(1 if rounds > 1 else ROUNDS):
                    bare.append(timed_command([sys.executable, "-c", IMPORTS], environment))
                    found["pass without change"].append(timed_command(RUN, environment))
                    call(sandbox["base_url"], "/tick", {"days": 1}, timeout_s=TICK_TIMEOUT_S)
                    found["pass after one day"].append(timed_command(RUN, environment))
        finally:
            shutil.rmtree(folder)
    for name, timings in found.items():
        yield Row(
            f"{customers:,} customers: {name}",
            timings,
            [Peer("bare start", bare)],
            aim_s=NO_CHANGE_AIM_S.get(customers) if name == "pass without change" else None,
            note=history + (PACE if rounds == 1 else "") if name == "first pass" else "",
        )
