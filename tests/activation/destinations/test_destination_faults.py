"""Every declared fault at Blueshift: each row is accounted for, arrives once, and is not claimed before. Outcomes:
docs/faults.yaml."""

from __future__ import annotations

import aiohttp
import pytest

import activation.destinations.http
from activation.audiences import DestinationReport
from tests.activation.destinations.conftest import Marketing
from tests.faults import Case, declared

PEOPLE = 60


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation.destinations.http, "_TIMEOUT", aiohttp.ClientTimeout(total=0.5))


def held(outcome: str, marketing: Marketing) -> None:
    """A pass, and what must be true of it."""
    report = marketing.sync()
    part = report.destinations["blueshift"]
    assert part.added == part.accepted + part.rejected + part.unknown + part.unsent
    assert len(marketing.members()) >= part.accepted, "success is never claimed for what did not arrive"
    if outcome == "sent":
        assert (part.outcome, len(marketing.members())) == ("done", PEOPLE)
        return
    assert part.errors
    if outcome == "waiting":
        assert (part.outcome, part.accepted, part.rejected) == ("failed", 0, 0)
    elif outcome == "failed":
        assert "LENDLOOP_BLUESHIFT_KEY" in report.errors[0]
        assert part.accepted < PEOPLE
    else:
        assert (outcome, part.outcome) == ("rejected", "partial")
        assert part.rejected > 0


def settled(marketing: Marketing) -> DestinationReport:
    marketing.lender.move_on(1.1)
    marketing.sync()
    return marketing.sync().destinations["blueshift"]


@pytest.mark.parametrize("case", declared("blueshift"), ids=str)
def test_a_fault_has_its_declared_outcome_and_nobody_is_lost_or_doubled(case: Case, marketing: Marketing) -> None:
    marketing.crowd(PEOPLE)
    marketing.sandbox.add_fault(**case.fault)
    held(case.lasting, marketing)
    marketing.sandbox.faults.clear()
    if case.lasting == "waiting":
        marketing.sandbox.add_fault(**case.fault, count=1)
        held(case.passing, marketing)
        marketing.sandbox.faults.clear()
    last = settled(marketing)
    assert (last.outcome, last.requests) == ("unchanged", 0)
    assert marketing.members() == [f"p{number:04}" for number in range(PEOPLE)]
    assert len(marketing.sandbox.arrivals.profiles()) == PEOPLE
    assert len(marketing.lists()) == 1
