"""Passes killed at any moment: the next one ends as if nothing had happened, as the vendors and readers see it.

Three lenders live the same days. One installation is `undisturbed`; the others are killed, with all their processes,
again and again, before each may finish a pass. What arrived and what is published must be the same.
`python -m benchmarks.kills` does the same with more of everything.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.end_to_end.installation import Installation, Kept
from tests.end_to_end.killing import (
    BUILD,
    BULK,
    END,
    LIST,
    LOADS,
    MEMBERS,
    POST,
    PUBLISH,
    RECONCILE,
    SYNC,
    TWIN_CUSTOMERS,
    TWIN_DAYS,
    Aim,
    Victim,
    after,
    lenders,
)
from tests.end_to_end.likeness import assert_nothing_left_to_do, assert_same, sent

pytestmark = pytest.mark.slow

SEED, MIN_KILLS = 41, 18
CRM, LEDGER, SUPPORT, SURVEY = LOADS
ROUNDS = (
    (
        (Aim("start"), CRM, LEDGER, BUILD, LIST, POST),
        (SUPPORT, PUBLISH, after(BULK), MEMBERS, after(POST)),
    ),
    (
        (LEDGER, PUBLISH, RECONCILE, BULK, Aim("notify"), END),
        (SURVEY, BUILD, RECONCILE, after(MEMBERS), SYNC, POST),
    ),
)
"""What is aimed at in each round, for each victim; each pass may come as far as the one before."""


@pytest.fixture
def installations(tmp_path: Path) -> Iterator[list[Installation]]:
    with lenders(tmp_path, ("killed", "killed_too"), TWIN_CUSTOMERS) as found:
        yield found


@pytest.mark.timeout(1800)
def test_killed_at_any_moment_the_next_pass_ends_as_if_nothing_had_happened(
    installations: list[Installation], undisturbed: list[Kept]
) -> None:
    victims = [Victim(one, random.Random(SEED + number)) for number, one in enumerate(installations)]
    with ThreadPoolExecutor(len(installations)) as pool:
        for number, (aims, twin) in enumerate(zip(ROUNDS, undisturbed, strict=True)):
            if number:
                for one in installations:
                    one.sandbox("/tick", {"days": TWIN_DAYS})
            for victim, report in zip(victims, pool.map(Victim.suffer, victims, aims), strict=True):
                assert_same(victim.installation, report, twin, twin.report)
        list(pool.map(assert_nothing_left_to_do, installations))
    hits = victims[0].hits + victims[1].hits
    assert hits["kills"] >= MIN_KILLS, hits
    for part, least in {"load": 4, "build": 1, "publish": 1, "reconcile": 1, "sync": 4, "notify": 2}.items():
        assert hits[part] >= least, hits
    assert hits["in flight to blueshift"] >= 3, hits
    assert hits["in flight to slack"] >= 2, hits
    logging.getLogger(__name__).info("what the kills met: %s", dict(hits))
    arrived = sent(undisturbed[-1])
    assert arrived["slack"]
    assert arrived["mails"]
    assert any(member for _, member in arrived["lists"])
