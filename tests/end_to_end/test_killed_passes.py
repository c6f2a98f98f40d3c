"""Passes killed at any moment: the next one ends as if nothing had happened, as the vendors and readers see it.

Three lenders live the same days. One installation is left alone; the others are killed, with all their
processes, again and again, before each may finish a pass. What arrived and what is published must be the same.
`python -m benchmarks.kills` does the same with more of everything.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Installation
from tests.end_to_end.killing import (
    BUILD,
    BULK,
    END,
    LIST,
    LOADS,
    MEMBERS,
    POST,
    PUBLISH,
    SYNC,
    Aim,
    Victim,
    after,
    lenders,
)
from tests.end_to_end.likeness import assert_nothing_left_to_do, assert_same, sent

pytestmark = pytest.mark.slow

CUSTOMERS, SEED, MIN_KILLS = 250, 41, 17
DAYS = 5
CRM, LEDGER, SUPPORT = LOADS
ROUNDS = (
    (
        (Aim("start"), CRM, LEDGER, BUILD, LIST, POST),
        (SUPPORT, PUBLISH, after(BULK), MEMBERS, after(POST)),
    ),
    (
        (LEDGER, PUBLISH, BULK, SYNC, Aim("notify"), END),
        (CRM, BUILD, after(MEMBERS), SYNC, POST),
    ),
)
"""What is aimed at in each round, for each victim; each pass may come as far as the one before."""


@pytest.fixture
def installations(tmp_path: Path) -> Iterator[list[Installation]]:
    with lenders(tmp_path, ("left_alone", "killed", "killed_too"), CUSTOMERS) as found:
        yield found


@pytest.mark.timeout(1800)
def test_killed_at_any_moment_the_next_pass_ends_as_if_nothing_had_happened(installations: list[Installation]) -> None:
    twin, *others = installations
    victims = [Victim(other, random.Random(SEED + number)) for number, other in enumerate(others)]
    with ThreadPoolExecutor(len(installations)) as pool:
        for number, aims in enumerate(ROUNDS):
            if number:
                list(pool.map(Installation.sandbox, installations, ["/tick"] * 3, [{"days": DAYS}] * 3))
            undisturbed = pool.submit(twin.run)
            work = [pool.submit(victim.suffer, own) for victim, own in zip(victims, aims, strict=True)]
            expected = undisturbed.result()
            for victim, report in zip(victims, [one.result() for one in work], strict=True):
                assert_same(victim.installation, report, twin, expected)
        list(pool.map(assert_nothing_left_to_do, others))
    hits = victims[0].hits + victims[1].hits
    assert hits["kills"] >= MIN_KILLS, hits
    for part, least in {"load": 4, "build": 1, "publish": 1, "sync": 4, "notify": 2}.items():
        assert hits[part] >= least, hits
    assert hits["in flight to blueshift"] >= 3, hits
    assert hits["in flight to slack"] >= 2, hits
    logging.getLogger(__name__).info("what the kills met: %s", dict(hits))
    arrived = sent(twin)
    assert arrived["slack"]
    assert arrived["mails"]
    assert any(member for _, member in arrived["lists"])
