"""One suite over every destination: whatever it is, this is what it must do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from activation.audiences import DestinationReport
from activation.audiences.definition import Destinations
from activation.destinations import Contract, Row, Rows, open_destination
from activation.destinations.blueshift import CONTRACT as BLUESHIFT
from activation.destinations.drop import CONTRACT as DROP
from activation.destinations.registry import NETWORK_DESTINATIONS
from tests.activation.destinations.conftest import Marketing

CONTRACTS: dict[str, Contract] = {"blueshift": BLUESHIFT, "drop": DROP}
FAULTS = {
    "blueshift": {
        "partial failure in a 200": {"kind": "partial", "share": 0.3, "path": "customers/bulk", "count": 1},
        "partial failure of the list": {"kind": "partial", "share": 0.3, "path": "bulk_add", "count": 1},
        "429 without Retry-After": {"kind": "status", "status": 429, "count": 6},
        "429 for good": {"kind": "status", "status": 429, "path": "customers/bulk"},
        "500 for good": {"kind": "status", "status": 500, "path": "bulk_add"},
        "answer cut off before the work": {"kind": "cut", "path": "customers/bulk", "count": 7},
        "answer cut off after the work": {"kind": "cut", "path": "bulk_add", "after_effect": True, "count": 7},
        "reset after the work": {"kind": "reset", "path": "customers/bulk", "after_effect": True, "count": 7},
        "a page instead of JSON": {"kind": "wrong_type", "status": 200, "path": "customers/bulk"},
        "no list can be made": {"kind": "status", "status": 500, "path": "create"},
        "403": {"kind": "status", "status": 403, "path": "bulk_add"},
    },
    "drop": {"a disk that refuses": {}},
}
CASES = [(name, fault) for name, faults in FAULTS.items() for fault in faults]


class Case:
    """One destination of the audience, alone."""

    def __init__(self, marketing: Marketing, name: str) -> None:
        self.marketing = marketing
        self.name = name
        query, target = marketing.audience.query, getattr(marketing.audience.destinations, name)
        marketing.audience = marketing.audience.model_copy(
            update={"destinations": Destinations.model_validate({name: target.model_dump()})}
        )
        marketing.audience._query = query
        self.folder = marketing.lender.home / "exports" / marketing.audience.name

    def sync(self) -> DestinationReport:
        return self.marketing.sync().destinations[self.name]

    def break_it(self, fault: str) -> None:
        if self.name == "drop":
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.folder.write_text("in the way")
        else:
            self.marketing.sandbox.add_fault(system=self.name, **FAULTS[self.name][fault])

    def mend_it(self) -> None:
        if self.name == "drop":
            self.folder.unlink()
        else:
            self.marketing.sandbox.faults.clear()

    def arrived(self) -> list[str]:
        if self.name == "drop":
            path = self.folder / f"{self.folder.name}.jsonl"
            return [json.loads(line)["person_key"] for line in path.read_text().splitlines()] if path.exists() else []
        return self.marketing.members()

    def traces(self) -> int:
        """Anything at all that reached the destination."""
        return len(list(self.folder.glob("*"))) if self.name == "drop" else len(self.marketing.calls())


@pytest.fixture
def case(request: pytest.FixtureRequest, marketing: Marketing) -> Case:
    return Case(marketing, request.param)


every_destination = pytest.mark.parametrize("case", CONTRACTS, indirect=True)


def test_every_destination_that_a_definition_can_name_is_in_this_suite() -> None:
    assert set(CONTRACTS) == set(Destinations.model_fields) == {*NETWORK_DESTINATIONS, "drop"}


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_a_contract_is_whole(contract: Contract) -> None:
    assert contract.can_remove
    assert contract.idempotent, "a crash repeats rows in flight; another kind needs a look-up before"
    assert 0 < contract.batch_rows <= contract.wave_rows
    assert list(contract.backoff_s) == sorted(contract.backoff_s)


def test_rows_are_parted_and_chosen_whole_and_in_order() -> None:
    p, q, r = Row("p", "1", '{"a":1}', True), Row("q", "2", "{}", False), Row("r", "3", '{"a":3}', True)
    rows = Rows(["p", "q", "r"], ["1", "2", "3"], ['{"a":1}', "{}", '{"a":3}'], [True, False, True])
    assert [list(part) for part in rows.parts(2)] == [[p, q], [r]]
    assert list(rows.where(rows.membership_unsure)) == list(rows.of(["r", "p"])) == [p, r]
    assert list(rows.of(rows.person_keys)) == list(rows.where([True] * 3)) == [p, q, r]
    assert not rows.of([])


@pytest.mark.parametrize("name", NETWORK_DESTINATIONS)
def test_an_empty_batch_makes_no_request(marketing: Marketing, name: str) -> None:
    async def call() -> int:
        destination = open_destination(name, marketing.lender.settings)
        assert destination is not None
        nobody = Rows([], [], [], [])
        assert await destination.upsert("1", nobody) == []
        assert await destination.remove("1", nobody) == []
        await destination.close()
        return destination.requests

    assert asyncio.run(call()) == 0


@every_destination
def test_nobody_to_send_leaves_no_trace(case: Case) -> None:
    case.marketing.people("refuses")
    case.marketing.lender.rows["trusted.dim_contact_permission"][0]["is_permitted"] = False
    assert case.sync().outcome == "unchanged"
    assert case.traces() == 0


@every_destination
def test_members_arrive_change_and_leave_and_a_rerun_does_nothing(case: Case) -> None:
    case.marketing.crowd(60)
    assert case.sync().added == 60
    assert case.arrived() == [f"p{number:04}" for number in range(60)]
    case.marketing.lender.drop("trusted.fct_application", person_key="p0000")
    assert case.sync().removed == 1
    assert case.arrived() == [f"p{number:04}" for number in range(1, 60)]
    traces = case.traces()
    assert case.sync().outcome == "unchanged"
    assert case.traces() == traces


@pytest.mark.parametrize(("case", "fault"), CASES, indirect=["case"], ids=[f"{name}-{fault}" for name, fault in CASES])
def test_every_row_is_accounted_for_under_a_fault_and_arrives_when_it_is_over(case: Case, fault: str) -> None:
    case.marketing.crowd(60)
    case.break_it(fault)
    report = case.sync()
    assert report.added == 60 == report.accepted + report.confirmed + report.rejected + report.unknown + report.unsent
    assert len(case.arrived()) >= report.accepted + report.confirmed, "success is never claimed for what did not arrive"
    if report.accepted + report.confirmed < 60:
        assert report.errors
        assert report.outcome in ("partial", "failed")
    case.mend_it()
    case.marketing.lender.move_on(1.1)
    case.sync()
    assert case.arrived() == [f"p{number:04}" for number in range(60)]
    assert case.sync().outcome == "unchanged"


@every_destination
def test_a_removal_whose_answer_was_lost_is_repeated_from_what_was_sent(case: Case) -> None:
    case.marketing.crowd(3)
    case.sync()
    case.marketing.lender.rows["trusted.dim_contact_permission"][1]["is_permitted"] = False
    if case.name == "drop":
        (case.folder / "manifest.json").unlink()
        (case.folder / "manifest.json").mkdir()
    else:
        case.marketing.sandbox.add_fault(system=case.name, kind="cut", path="bulk_remove", after_effect=True)
    assert case.sync().unknown == 1
    if case.name == "drop":
        Path(case.folder / "manifest.json").rmdir()
    else:
        case.mend_it()
    assert case.sync().removed == 1
    assert case.arrived() == ["p0000", "p0002"]
