"""From CRM and support to raw: counted in few calls, read where it differs, and every row that differs by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import httpx
import pytest

import ingestion.crm
import ingestion.http
import ingestion.reconcile_vendor
import ingestion.support
import sandbox.hubspot
from governance.reconcile import Comparison, RowDifference
from ingestion.load import load_source, replay_quarantine
from ingestion.reconcile import reconcile_loads
from ingestion.reconcile_vendor import reconcile_vendor
from ingestion.state import SourceMemory
from ingestion.tables import TABLES
from lendloop.clock import Clock
from lendloop.errors import LendloopError
from lendloop.settings import Settings
from tests.ingestion.conftest import NOW, Vendors, Warehouse
from tests.ingestion.test_crm import contact
from tests.ingestion.test_support import event, ticket, user

MakeSettings = Callable[..., Settings]
DAY, NEXT, LAST = date(2024, 2, 1), date(2024, 2, 2), date(2024, 2, 29)
KINDS: dict[str, tuple[Literal["crm", "support"], str, Callable[..., dict[str, Any]]]] = {
    "contacts": ("crm", "crm_contacts", contact),
    "deals": ("crm", "crm_deals", contact),
    "tickets": ("support", "support_tickets", ticket),
    "users": ("support", "support_users", user),
}


@dataclass
class Desk:
    """One table of a vendor, loaded; `rows` are the lender's, `warehouse` is raw's."""

    name: str
    vendors: Vendors
    settings: Settings
    warehouse: Warehouse
    clock: Clock

    @property
    def source(self) -> Literal["crm", "support"]:
        return KINDS[self.name][0]

    @property
    def relation(self) -> str:
        return f"raw_{self.source}.{self.name}"

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.vendors.lender.rows.setdefault(KINDS[self.name][1], [])

    def add(self, identifier: int, created: datetime, changed: datetime | None = None, **values: Any) -> None:
        moment = changed or created + timedelta(hours=1)
        made = KINDS[self.name][2](identifier, created_at=created, updated_at=moment, **values)
        if self.name == "tickets":
            made["generated_timestamp"] = int(moment.timestamp())
        self.rows.append(made)

    def fill(self, days: int = 2, each: int = 5) -> None:
        """Some rows a day from the first on, and one of yesterday, so that the others were read for good."""
        for number in range(days * each):
            created = datetime(2024, 2, 1, 9, number % 60, tzinfo=UTC) + timedelta(days=number // each)
            self.add(number + 1, created, amount=f"{number}.50", sms_consent="true", status="open")
        self.add(900, datetime(2024, 2, 29, 9, tzinfo=UTC), status="open")
        self.load()

    def load(self) -> None:
        self.vendors.lender.changed()
        load_source(self.source, self.settings, self.clock)

    def compare(self, *, whole: bool = True, on: date | None = None, clock: Clock | None = None) -> Comparison:
        found = reconcile_vendor(self.source, self.settings, clock or self.clock, whole=whole and not on, on=on)
        return next(one for one in found if one.right == self.relation)

    def in_both_ways(self) -> list[Comparison]:
        return [
            *reconcile_vendor(self.source, self.settings, self.clock, whole=True),
            *reconcile_loads(self.settings, [self.source]),
        ]

    def calls(self) -> int:
        """How many calls the vendor has answered so far."""
        answered = httpx.get(f"{self.vendors.sandbox.base_url}/arrivals.json").json()["calls"]
        return int(answered["hubspot" if self.source == "crm" else "zendesk"].get("total", 0))


@pytest.fixture
def make_desk(
    vendors: Vendors, make_settings: MakeSettings, warehouse: Warehouse, clock: Clock
) -> Callable[[str], Desk]:
    settings = make_settings(**vendors.settings())
    return lambda name: Desk(name, vendors, settings, warehouse, clock)


@pytest.fixture(params=["deals", "tickets"])
def desk(request: pytest.FixtureRequest, make_desk: Callable[[str], Desk]) -> Desk:
    """A table of each vendor, loaded: five rows on each of two days, and one of yesterday."""
    desk = make_desk(request.param)
    desk.fill()
    return desk


@pytest.fixture(params=["deals", "tickets"])
def month(request: pytest.FixtureRequest, make_desk: Callable[[str], Desk], few: None) -> Desk:
    """The same with twenty days, more than are read at once."""
    desk = make_desk(request.param)
    desk.fill(days=20)
    return desk


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few rows at once that a month's must be counted."""
    monkeypatch.setattr(ingestion.reconcile_vendor, "READ_ROWS", 20)
    monkeypatch.setattr(ingestion.reconcile_vendor, "READ_IN_PASS", 10)
    monkeypatch.setattr(ingestion.reconcile_vendor, "FEW_ROWS", 5)


def differences(comparison: Comparison) -> set[RowDifference]:
    return {row for day in comparison.unexplained for row in day.differences}


@pytest.mark.parametrize("name", list(KINDS))
def test_a_load_agrees_and_a_row_lost_doubled_altered_or_added_in_raw_is_named(
    make_desk: Callable[[str], Desk], name: str
) -> None:
    desk = make_desk(name)
    desk.fill()
    comparison = desk.compare()
    assert comparison.not_compared == ""
    found = [(day.day, day.state, day.left.rows, day.right.rows, day.since) for day in comparison.days]
    assert found == [(DAY, "agreed", 5, 5, None), (NEXT, "agreed", 5, 5, None), (LAST, "agreed", 1, 1, None)]
    column, other = {
        "contacts": ("sms_consent", "false"),
        "deals": ("requested_amount", "7"),
        "tickets": ("status", "'closed'"),
        "users": ("updated_at", "updated_at + interval 1 second"),
    }[desk.name]
    for change, difference in (
        ("DELETE FROM {t} WHERE id = '3'", RowDifference("3", "lost")),
        ("UPDATE {t} SET _deleted_at = now() WHERE id = '3'", RowDifference("3", "lost")),
        ("INSERT INTO {t} SELECT * FROM {t} WHERE id = '4'", RowDifference("4", "doubled")),
        (f"UPDATE {{t}} SET {column} = {other} WHERE id = '5'", RowDifference("5", "altered", (column,))),
        ("INSERT INTO {t} SELECT * REPLACE ('77' AS id) FROM {t} WHERE id = '1'", RowDifference("77", "added")),
    ):
        desk.warehouse.rows(f"CREATE OR REPLACE TABLE before AS FROM {desk.relation}")
        desk.warehouse.rows(change.format(t=desk.relation))
        for comparison in (desk.compare(), desk.compare(on=DAY)):
            assert differences(comparison) == {difference}
            assert f"{difference.kind} {difference.key}" in comparison.faults()[0]
        assert desk.compare(on=NEXT).unexplained == []
        desk.warehouse.rows(f"DELETE FROM {desk.relation}")
        desk.warehouse.rows(f"INSERT INTO {desk.relation} FROM before")
    assert desk.compare().unexplained == []


def test_a_row_whose_day_was_altered_is_named_once_on_both(make_desk: Callable[[str], Desk]) -> None:
    desk = make_desk("deals")
    desk.fill()
    desk.warehouse.rows(f"UPDATE {desk.relation} SET created_at = created_at + interval 1 day WHERE id = '2'")
    comparison = desk.compare()
    assert {day.day for day in comparison.unexplained} == {DAY, NEXT}
    assert differences(comparison) == {RowDifference("2", "altered", ("created_at",))}


def test_amounts_are_added_up_by_day_on_both_sides(make_desk: Callable[[str], Desk]) -> None:
    desk = make_desk("deals")
    desk.fill()
    comparison = desk.compare()
    assert comparison.columns == ("requested_amount", "approved_amount")
    assert [(day.left.sums, day.right.sums) for day in comparison.days[:1]] == [((12.5, 0), (12.5, 0))]


def test_what_the_vendor_changed_since_it_was_read_is_explained(desk: Desk) -> None:
    just_now = NOW - timedelta(minutes=1)
    desk.rows[0].update(updated_at=just_now, generated_timestamp=int(just_now.timestamp()), status="pending")
    desk.add(50, datetime(2024, 2, 1, 10, tzinfo=UTC), just_now)
    desk.vendors.lender.changed()
    comparison = desk.compare()
    assert comparison.unexplained == []
    assert comparison.days[0].explained == {"changed_since_read": 2}


def test_a_change_that_no_load_will_bring_is_no_explanation(desk: Desk) -> None:
    late = NOW - timedelta(days=3)
    desk.rows[0].update(updated_at=late, generated_timestamp=int(late.timestamp()))
    # newer than all that raw has, and older than the last load
    desk.add(50, NOW - timedelta(hours=5), NOW - timedelta(hours=4))
    desk.vendors.lender.changed()
    found = {RowDifference("1", "altered", ("updated_at",)), RowDifference("50", "lost")}
    assert differences(desk.compare()) == found
    assert RowDifference("50", "lost") in differences(desk.compare(whole=False)), "a pass counts it"


def test_what_search_may_not_show_yet_is_explained_for_some_minutes(desk: Desk) -> None:
    desk.add(60, NOW - timedelta(minutes=6), NOW - timedelta(minutes=5))
    desk.load()
    desk.rows.pop()
    desk.vendors.lender.changed()
    assert [day.explained for day in desk.compare().days if day.explained] == [{"not_indexed_yet": 1}]
    later = Clock(NOW + timedelta(minutes=6))
    assert differences(desk.compare(clock=later)) == {RowDifference("60", "added")}


def test_deleted_rows_are_on_neither_side(desk: Desk) -> None:
    gone = {"archived": True, "archived_at": NOW, "status": "deleted", "active": False}
    moment = NOW - timedelta(minutes=3)
    desk.rows[0].update(**gone, updated_at=moment, generated_timestamp=int(moment.timestamp()))
    desk.vendors.lender.changed()
    assert differences(desk.compare()) == {RowDifference("1", "added")}, "until the next load"
    desk.load()
    comparison = desk.compare()
    assert (comparison.unexplained, comparison.days[0].left.rows) == ([], 4)


def test_a_row_in_quarantine_is_explained(make_desk: Callable[[str], Desk]) -> None:
    desk = make_desk("contacts")
    desk.add(70, datetime(2024, 2, 1, 9, tzinfo=UTC), do_not_contact="perhaps")
    desk.fill()
    comparison = desk.compare()
    assert (comparison.unexplained, comparison.days[0].explained) == ([], {"quarantined": 1})


def test_a_bad_value_explains_itself_and_not_what_else_became_of_its_row(make_desk: Callable[[str], Desk]) -> None:
    desk = make_desk("contacts")
    desk.add(70, datetime(2024, 2, 1, 9, tzinfo=UTC), date_of_birth="someday", do_not_contact="perhaps")
    desk.fill()
    desk.warehouse.rows(f"UPDATE {desk.relation} SET sms_consent = true WHERE id = '70'")
    assert differences(desk.compare()) == {RowDifference("70", "altered", ("do_not_contact", "sms_consent"))}
    desk.warehouse.rows(f"DELETE FROM {desk.relation} WHERE id = '70'")
    assert differences(desk.compare()) == {RowDifference("70", "lost")}


def test_a_row_that_was_mended_in_quarantine_is_explained(
    make_desk: Callable[[str], Desk], warehouse: Warehouse
) -> None:
    desk = make_desk("deals")
    desk.add(70, datetime(2024, 2, 1, 9, tzinfo=UTC), amount="much")
    desk.fill()
    [file] = (desk.settings.home.quarantine / "crm" / "deals").glob("*.parquet")
    mended = file.with_suffix(".mended")
    warehouse.rows(
        f"COPY (SELECT * REPLACE (replace(raw_text, 'much', '5') AS raw_text) FROM read_parquet('{file}'))"
        f" TO '{mended}' (FORMAT parquet)"
    )
    mended.replace(file)
    replay_quarantine("crm", desk.settings, desk.clock)
    comparison = desk.compare()
    assert (comparison.unexplained, comparison.days[0].explained) == ([], {"mended": 1})


def test_of_many_days_the_newest_are_read_and_the_others_counted_together(month: Desk) -> None:
    comparison = month.compare()
    read = [day.day for day in comparison.days if day.since is None]
    assert read == [date(2024, 2, 18), date(2024, 2, 19), date(2024, 2, 20), LAST]
    [together] = [day for day in comparison.days if day.since]
    assert (together.since, together.day, together.state) == (DAY, date(2024, 2, 17), "agreed")
    assert (together.left.rows, together.right.rows) == (85, 85)


def test_a_count_that_differs_is_narrowed_down_to_its_rows(month: Desk) -> None:
    month.warehouse.rows(f"DELETE FROM {month.relation} WHERE id = '12'")
    month.warehouse.rows(f"INSERT INTO {month.relation} SELECT * FROM {month.relation} WHERE id IN ('41', '42')")
    before = month.calls()
    comparison = month.compare()
    assert differences(comparison) == {
        RowDifference("12", "lost"),
        RowDifference("41", "doubled"),
        RowDifference("42", "doubled"),
    }
    assert [day.day for day in comparison.unexplained] == [date(2024, 2, 3), date(2024, 2, 9)]
    assert sum(day.left.rows for day in comparison.days) == 101
    assert month.calls() - before < 40


def test_a_row_that_raw_has_twice_does_not_make_up_for_one_that_it_lost(month: Desk) -> None:
    month.warehouse.rows(f"DELETE FROM {month.relation} WHERE id = '12'")
    month.warehouse.rows(f"INSERT INTO {month.relation} SELECT * FROM {month.relation} WHERE id = '41'")
    found = {RowDifference("12", "lost"), RowDifference("41", "doubled")}
    assert differences(month.compare()) == found
    assert differences(month.compare(whole=False)) == found


def test_days_in_question_are_read_by_the_command_too_and_none_is_forgotten(
    month: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    column, other = ("requested_amount", "7") if month.name == "deals" else ("status", "'closed'")
    month.warehouse.rows(f"UPDATE {month.relation} SET {column} = {other} WHERE id = '12'")
    assert month.compare().unexplained == [], "it has its rows, and is none of the newest"
    memory = SourceMemory.read(month.settings.home, month.source)
    memory.open_days[month.name] = [DAY + timedelta(days=days) for days in range(20)]
    memory.write(month.settings.home, month.source)
    monkeypatch.setattr(ingestion.reconcile_vendor, "SEARCHED_DAYS", 10)
    assert month.compare().unexplained == [], "the newest ten first"
    assert differences(month.compare()) == {RowDifference("12", "altered", (column,))}
    assert SourceMemory.read(month.settings.home, month.source).open_days[month.name] == [date(2024, 2, 3)]


def test_where_the_calls_are_used_up_the_difference_is_counted(
    make_desk: Callable[[str], Desk], few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion.reconcile_vendor, "COUNTS", 1)
    desk = make_desk("deals")
    desk.fill(days=20)
    desk.warehouse.rows(f"DELETE FROM {desk.relation} WHERE id = '12'")
    [outcome] = desk.compare().unexplained
    assert (outcome.since, outcome.unexplained, outcome.differences) == (DAY, 1, [])
    assert "from 2024-02-01 to 2024-02-09: 1 row(s) differ: not searched" in desk.compare().faults()[0]


def test_a_table_that_raw_lost_whole_is_no_agreement(make_desk: Callable[[str], Desk], few: None) -> None:
    desk = make_desk("contacts")
    desk.fill(days=20)
    for lose in (lambda: desk.warehouse.rows(f"DELETE FROM {desk.relation}"), desk.warehouse.path.unlink):
        lose()
        [outcome] = desk.compare().unexplained
        assert (outcome.since, outcome.unexplained) == (date(1970, 1, 1), 101)


def test_a_pass_counts_all_and_reads_what_was_written_or_differed(make_desk: Callable[[str], Desk], few: None) -> None:
    desk = make_desk("deals")
    desk.fill(days=20)
    desk.rows[2].update(amount="9", updated_at=NOW - timedelta(minutes=30))
    desk.load()
    before = desk.calls()
    comparison = desk.compare(whole=False)
    assert [(day.day, day.since, day.state) for day in comparison.days] == [
        (DAY, None, "agreed"),
        (LAST, NEXT, "agreed"),
    ]
    assert sum(day.left.rows for day in comparison.days) == 101
    assert desk.calls() - before <= 6, "the properties of two objects, a total of each, and a day"

    desk.warehouse.rows(f"UPDATE {desk.relation} SET requested_amount = 0 WHERE id = '7'")
    assert desk.compare(whole=False).unexplained == [], "its day was not written and has its rows"
    desk.warehouse.rows(f"DELETE FROM {desk.relation} WHERE id = '8'")
    assert differences(desk.compare(whole=False)) == {
        RowDifference("7", "altered", ("requested_amount",)),
        RowDifference("8", "lost"),
    }
    desk.warehouse.rows(f"INSERT INTO {desk.relation} SELECT * REPLACE ('8' AS id) FROM {desk.relation} WHERE id = '9'")
    assert NEXT in {day.day for day in desk.compare(whole=False).unexplained}, "in question until it agrees"


def test_reading_goes_around_the_ceiling_of_a_search(
    make_desk: Callable[[str], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = make_desk("contacts")
    for number in range(101, 126):
        desk.add(number, datetime(2024, 2, 1, 9, tzinfo=UTC))
    desk.fill()
    monkeypatch.setattr(ingestion.crm, "SEARCH_LIMIT", 5)
    for module in (ingestion.crm, sandbox.hubspot):
        monkeypatch.setattr(module, "SEARCH_CEILING", 10)
    assert desk.compare(on=DAY).days[0].left.rows == 30


@pytest.mark.parametrize("kind", ["rate_limit", "status", "reset"])
def test_a_hiccup_is_waited_out_and_a_vendor_that_does_not_answer_is_said(
    desk: Desk, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion.http, "BACKOFF_S", 0.01)
    monkeypatch.setattr(ingestion.http, "LONGEST_WAIT_S", 0.01)
    system = "hubspot" if desk.source == "crm" else "zendesk"
    fault = {"system": system, "kind": kind, "path": "search", **({"status": 500} if kind == "status" else {})}
    desk.vendors.sandbox.add_fault(**fault, count=2)
    assert (desk.compare().not_compared, desk.compare().unexplained) == ("", [])
    desk.warehouse.rows(f"DELETE FROM {desk.relation}")
    desk.vendors.sandbox.add_fault(**fault)
    for comparison in (desk.compare(), desk.compare(whole=False), desk.compare(on=DAY)):
        assert "try again" in comparison.not_compared
        assert not comparison.is_reached
        assert (comparison.days, comparison.faults()) == ([], [])


def test_a_page_that_is_missing_makes_no_row_look_lost(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion.crm, "SEARCH_LIMIT", 2)
    monkeypatch.setattr(ingestion.support, "SEARCH_ROWS", 2)
    system = "hubspot" if desk.source == "crm" else "zendesk"
    desk.vendors.sandbox.add_fault(system=system, kind="page_missing", path="search")
    comparison = desk.compare(on=DAY)
    assert "a page is missing" in comparison.not_compared or comparison.unexplained == []


def test_a_pass_does_not_ask_a_vendor_that_its_load_could_not_read(
    make_desk: Callable[[str], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion.http, "BACKOFF_S", 0.01)
    desk = make_desk("contacts")
    desk.fill()
    desk.vendors.sandbox.add_fault(system="hubspot", kind="status", status=503)
    with pytest.raises(LendloopError):
        desk.load()
    before = desk.calls()
    assert desk.compare(whole=False).not_compared.startswith("its last load failed: HubSpot")
    assert desk.calls() == before


def test_what_was_never_loaded_is_not_compared(make_desk: Callable[[str], Desk]) -> None:
    desk = make_desk("tickets")
    for source in ("crm", "survey"):
        assert {one.not_compared for one in desk.in_both_ways()} == {"nothing was loaded yet"}
        load_source(source, desk.settings, desk.clock)


def test_a_load_that_brought_nothing_is_compared(make_desk: Callable[[str], Desk]) -> None:
    desk = make_desk("tickets")
    desk.load()
    assert (desk.compare().not_compared, desk.compare().days) == ("", [])
    desk.add(1, NOW - timedelta(days=1))
    desk.vendors.lender.changed()
    assert differences(desk.compare()) == {RowDifference("1", "lost")}


def test_what_a_vendor_cannot_count_is_compared_with_what_the_loads_counted(make_desk: Callable[[str], Desk]) -> None:
    desk = make_desk("tickets")
    desk.vendors.lender.rows["support_ticket_events"] = [event(1), event(2)]
    desk.fill()
    [events] = reconcile_loads(desk.settings, ["support"])
    assert (events.left, events.right, events.faults()) == (
        "loads of support.ticket_events",
        "raw_support.ticket_events",
        [],
    )
    desk.warehouse.rows("DELETE FROM raw_support.ticket_events WHERE id = 1")
    [events] = reconcile_loads(desk.settings, ["support"])
    assert events.unexplained[0].unexplained == 1


def test_every_table_of_these_sources_is_compared_in_one_way(make_desk: Callable[[str], Desk]) -> None:
    desk = make_desk("deals")
    desk.fill()
    assert [one.right for one in desk.in_both_ways()] == [f"raw_crm.{table.name}" for table in TABLES["crm"]]
