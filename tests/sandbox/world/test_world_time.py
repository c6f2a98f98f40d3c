"""The world follows from its seed and its clock alone, and says when anything changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from world_lab import MakeWorld, all_tables

from lendloop.errors import ConfigurationError
from sandbox.world import World
from sandbox.world.changes import compare
from sandbox.world.view import view_world
from sandbox.world.world import LARGE_YEARS, years_of

START = datetime(2026, 6, 30, 18, tzinfo=UTC)
HISTORY = ("m_loan", "m_loan_repayment_schedule", "m_loan_transaction", "m_savings_account_transaction")
MODIFIED = {
    "m_client": "last_modified_on_utc",
    "m_loan": "last_modified_on_utc",
    "m_loan_transaction": "last_modified_on_utc",
    "m_loan_repayment_schedule": "last_modified_on_utc",
    "m_savings_account": "last_modified_on_utc",
    "m_savings_account_transaction": "last_modified_on_utc",
    "crm_contacts": "updated_at",
    "crm_deals": "updated_at",
    "support_tickets": "updated_at",
    "support_users": "updated_at",
    "support_ticket_events": "created_at",
}


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def test_a_new_world_starts_at_its_fixed_moment(world: World) -> None:
    assert world.as_of == START
    assert world.version == 1


def test_the_same_seed_gives_the_same_world_and_another_seed_another(world: World, make_world: MakeWorld) -> None:
    again, other = all_tables(make_world("again")), all_tables(make_world("other", seed=8))
    for name, table in all_tables(world).items():
        assert table.equals(again[name]), name
    assert not other["crm_contacts"].equals(again["crm_contacts"])


def test_a_large_lender_has_years_of_history_in_proportion_and_a_small_one_has_one(make_world: MakeWorld) -> None:
    assert (years_of(20_000), years_of(1_000_000)) == (1, LARGE_YEARS)
    large = make_world("large", years=years_of(1_000_000))
    assert sum(large.table(name).num_rows for name in HISTORY) >= 20 * large.customers


def test_three_ticks_of_a_day_equal_one_of_three(make_world: MakeWorld) -> None:
    slow, quick = make_world("slow"), make_world("quick")
    for _ in range(3):
        slow.tick(1)
    quick.tick(3)
    assert slow.as_of == quick.as_of == START + timedelta(days=3)
    assert slow.version == quick.version == 4
    of_quick = all_tables(quick)
    for name, table in all_tables(slow).items():
        assert table.equals(of_quick[name]), name


def test_a_tick_reports_what_changed(make_world: MakeWorld) -> None:
    world = make_world()
    before = world.table("m_client").num_rows
    report = world.tick(10)
    counts = report["changes"]["m_client"]
    assert world.table("m_client").num_rows == before + counts["new"] - counts["deleted"]
    assert report["version"] == world.version == 11
    assert datetime.fromisoformat(report["as_of"]) == world.as_of
    assert all(report["changes"][name]["new"] for name in MODIFIED)


def test_reopening_finds_the_world_where_it_was(make_world: MakeWorld) -> None:
    first = make_world()
    first.tick(2)
    again = make_world()
    assert (again.as_of, again.version) == (first.as_of, first.version)
    assert all(table.equals(all_tables(first)[name]) for name, table in all_tables(again).items())


def test_another_process_tick_is_seen_after_refresh(make_world: MakeWorld) -> None:
    here, there = make_world(), make_world()
    there.tick(1)
    assert here.version == 1
    assert here.refresh()
    assert here.version == 2
    assert here.table("m_loan").equals(there.table("m_loan"))
    assert not here.refresh()


def test_two_holders_of_a_world_tick_after_one_another(make_world: MakeWorld) -> None:
    here, there = make_world(), make_world()
    there.tick(1)
    here.tick(1)
    assert here.version == 3


@pytest.mark.slow
def test_no_row_changes_without_its_time_of_change_saying_so() -> None:
    """Whatever is new or changed on a day was modified after the day before, or up to 30 minutes earlier."""
    before: dict[str, pa.Table] = {}
    late = 0
    for day in range(15):
        now = START + timedelta(days=day)
        tables = {name: table for name, table in view_world(2_000, 7, _micros(now)) if name in MODIFIED}
        changes = {name: compare(name, before[name], table) for name, table in tables.items()} if before else {}
        for name, change in changes.items():
            for modified in change.upserts.column(MODIFIED[name]).to_pylist():
                told = modified.replace(tzinfo=UTC)
                assert told > now - timedelta(days=1, minutes=30), f"{name} changed silently on day {day}"
                late += told <= now - timedelta(days=1)
        for name, table in tables.items():
            newest = pc.max(table.column(MODIFIED[name])).as_py().replace(tzinfo=UTC)
            assert newest <= now, f"{name} knows the future"
        before = tables
    assert late, "no row was committed late"


def test_an_id_names_the_same_row_for_ever(make_world: MakeWorld) -> None:
    """Ids stay with what they name: created_on_utc of an id never changes."""
    world = make_world()
    tables = ("m_client", "m_loan", "m_loan_transaction", "m_savings_account_transaction")
    before = {
        name: dict(zip(*(world.table(name).column(c).to_pylist() for c in ("id", "created_on_utc")), strict=True))
        for name in tables
    }
    world.tick(20)
    for name in tables:
        after = dict(zip(*(world.table(name).column(c).to_pylist() for c in ("id", "created_on_utc")), strict=True))
        assert all(after.get(key, made) == made for key, made in before[name].items()), name


def test_wrong_use_is_said_in_one_line(make_world: MakeWorld) -> None:
    world = make_world()
    with pytest.raises(ConfigurationError, match="at least 1"):
        world.tick(0)
    with pytest.raises(ConfigurationError, match="500 customers with seed 7"):
        make_world(customers=501)
    with pytest.raises(ConfigurationError, match="500 customers with seed 7"):
        make_world(seed=8)
    with pytest.raises(KeyError, match="crm_deals"):
        world.table("crm_companies")
