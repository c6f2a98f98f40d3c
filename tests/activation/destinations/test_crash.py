"""Processes that are killed in the middle: the next pass ends where an undisturbed one would."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from typing import Any

import pytest

from lendloop.home import CHECKOUT
from tests.activation.audiences.conftest import DEFINITIONS
from tests.activation.destinations.conftest import Marketing

KILLS = 10


def start(marketing: Marketing, die_at: str = "never") -> subprocess.Popen[str]:
    """A sync in another process, past its imports."""
    lender = marketing.lender
    order = {
        "definitions": str(DEFINITIONS),
        "audience": marketing.audience.name,
        "as_of": lender.as_of.isoformat(),
        "die_at": die_at,
        "settings": {
            "LENDLOOP_HOME": str(lender.home),
            "hash_key": "test-key",
            "lock_timeout_s": 60,
            **lender.overrides,
        },
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.activation.destinations.crashing_sync", json.dumps(order)],
        cwd=CHECKOUT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> int:
    """Its exit status, within a bound."""
    try:
        process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode


def exported(marketing: Marketing) -> list[str]:
    folder = marketing.lender.home / "exports" / marketing.audience.name
    manifest = json.loads((folder / "manifest.json").read_text())
    rows = [json.loads(line)["person_key"] for line in (folder / f"{folder.name}.jsonl").read_text().splitlines()]
    assert manifest["rows"] == len(rows)
    return rows


@pytest.mark.parametrize("die_at", ["answer", "file"])
def test_a_crash_between_sending_and_writing_the_answer_down_repeats_and_doubles_nothing(
    marketing: Marketing, die_at: str
) -> None:
    marketing.crowd(30)
    marketing.lender.publish()
    assert finish(start(marketing, die_at)) == -9
    report = marketing.sync()
    assert report.outcome == "done"
    assert report.destinations["drop"].added == 30, "the files count anew what was in flight"
    assert len(marketing.lists()) == 1
    assert marketing.members() == exported(marketing) == [f"p{number:04}" for number in range(30)]
    assert sorted(marketing.profiles()) == marketing.members()
    assert marketing.sync().outcome == "unchanged"


@pytest.mark.slow
def test_killed_at_random_moments_the_stand_in_ends_as_if_nothing_had_happened(marketing: Marketing) -> None:
    draw = random.Random(20260630)
    marketing.sandbox.add_fault(system="blueshift", kind="delay", delay_s=0.05)
    wanted: list[str] = []
    killed = 0
    for turn in range(KILLS):
        names = [f"t{turn}n{number:03}" for number in range(60)]
        marketing.people(*names)
        if wanted:
            gone = draw.sample(wanted, 5)
            for name in gone:
                marketing.lender.drop("trusted.fct_application", person_key=name)
            wanted = [name for name in wanted if name not in gone]
        wanted = sorted([*wanted, *names])
        marketing.lender.publish()
        process = start(marketing)
        time.sleep(draw.uniform(0.05, 1.6))
        process.kill()
        killed += finish(process) == -9
    marketing.sandbox.faults.clear()
    report = marketing.sync()
    assert report.errors == []
    assert killed >= KILLS // 2, "most kills hit a running pass"
    assert marketing.members() == exported(marketing) == wanted
    assert len(marketing.lists()) == 1
    profiles = [profile["customer_id"] for profile in marketing.sandbox.arrivals.profiles()]
    assert len(profiles) == len(set(profiles)), "nobody arrived twice"
    before: list[dict[str, Any]] = marketing.calls()
    assert (marketing.sync().outcome, marketing.calls()) == ("unchanged", before)
