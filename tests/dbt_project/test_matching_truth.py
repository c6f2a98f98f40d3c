"""Against the sandbox's truth: who is who, who may be contacted, and how every loan stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import duckdb
import pytest
from dbt_lab import Lab
from world_raw import load_world

from sandbox.world import World


@pytest.fixture(scope="module")
def judged(make_lab: Callable[[str], Lab]) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse with the truth beside it; `known` holds each live record with its true person and its key."""
    lab = make_lab("world")
    world = World.open(lab.folder / "world", customers=3_000, seed=11)
    load_world(lab, world)
    lab.build()
    with lab.connect() as con:
        for name, table in world.truth().items():
            con.register(f"truth_{name}", table)
        con.execute(
            "create temp table known as select p.person_id, m.person_key, m.source, m.source_id"
            " from truth_person_sources as p left join trusted.map_customer_source as m"
            " on m.source = p.source and m.source_id = p.source_id and m.valid_to is null where p.is_live"
        )
        yield con


def one(con: duckdb.DuckDBPyConnection, sql: str) -> object:
    ((value,),) = con.execute(sql).fetchall()
    return value


@pytest.mark.slow
def test_no_two_people_are_merged(judged: duckdb.DuckDBPyConnection) -> None:
    assert one(judged, "select count(*) from known where person_key is null") == 0
    assert (
        judged.execute("select person_key from known group by 1 having count(distinct person_id) > 1").fetchall() == []
    )


@pytest.mark.slow
def test_twins_sharers_of_a_phone_and_later_owners_of_a_number_stay_people_of_their_own(
    judged: duckdb.DuckDBPyConnection,
) -> None:
    for column in ("twin_of", "shares_phone_with", "phone_recycled_from"):
        together, pairs = judged.execute(
            f"select count(*) filter (a.person_key = b.person_key), count(*) from truth_people t"
            f" join known a on a.person_id = t.person_id join known b on b.person_id = t.{column}"
        ).fetchall()[0]
        assert pairs > 0, column
        assert together == 0, column


@pytest.mark.slow
def test_nearly_all_pairs_of_one_persons_records_are_found(judged: duckdb.DuckDBPyConnection) -> None:
    pairs, found = judged.execute(
        "select count(*), count(*) filter (a.person_key = b.person_key) from known a join known b"
        " on a.person_id = b.person_id and a.source || a.source_id < b.source || b.source_id"
    ).fetchall()[0]
    assert pairs > 3_000
    assert found / pairs >= 0.97


@pytest.mark.slow
def test_people_in_files_are_found_as_well_as_others_and_nobody_else_is_taken_for_them(
    judged: duckdb.DuckDBPyConnection,
) -> None:
    pairs, found = judged.execute(
        "select count(*), count(*) filter (a.person_key = b.person_key) from known a join known b"
        " on a.person_id = b.person_id and a.source = 'survey' and b.source <> 'survey'"
    ).fetchall()[0]
    assert pairs > 100
    assert found / pairs >= 0.97
    joined, right = judged.execute(
        "select count(*), count(*) filter (a.person_id = b.person_id) from known a join known b"
        " on a.person_key = b.person_key and a.source = 'survey' and a.source || a.source_id <> b.source || b.source_id"
    ).fetchall()[0]
    assert right / joined >= 0.999


@pytest.mark.slow
def test_who_is_in_a_file_only_is_no_customer(judged: duckdb.DuckDBPyConnection) -> None:
    only = (
        "select person_key from known group by person_key having bool_and(source = 'survey')"
        " and bool_and(person_id not in (select person_id from known where source <> 'survey'))"
    )
    assert one(judged, f"select count(*) from ({only})") != 0
    for table in ("trusted.dim_customer", "contacts.customer_contact", "contacts.customer_profile"):
        assert one(judged, f"select count(*) from {table} where person_key in ({only})") == 0, table


@pytest.mark.slow
def test_a_no_in_a_file_holds_back_whom_nothing_else_would(judged: duckdb.DuckDBPyConnection) -> None:
    said = "select source_id from known join raw_survey.response r on source = 'survey' and source_id = r.id"
    no = f"{said} where r.do_not_contact or not r.wants_contact"
    assert one(judged, f"select count(*) from ({no})") != 0
    missed = judged.execute(
        f"select person_id from known where person_id in (select person_id from known where source_id in ({no}))"
        " and person_key not in (select person_key from trusted.fct_suppression where reason = 'opt_out')"
    ).fetchall()
    assert missed == []
    by_file_alone = (
        "select count(*) from truth_contactability t where t.why_not = 'opt_out' and t.person_id in"
        " (select person_id from known join trusted.fct_suppression s using (person_key) where s.source = 'survey')"
        " and t.person_id not in (select person_id from known join trusted.fct_suppression s using (person_key)"
        " where s.source = 'crm')"
    )
    assert one(judged, by_file_alone) != 0


@pytest.mark.slow
def test_what_is_asked_of_people_is_worth_asking(judged: duckdb.DuckDBPyConnection) -> None:
    right, asked = judged.execute(
        "select count(*) filter (a.person_id = b.person_id), count(*) from gray.int_identity_review r"
        " join truth_person_sources a on a.source || ':' || a.source_id = r.one"
        " join truth_person_sources b on b.source || ':' || b.source_id = r.other"
    ).fetchall()[0]
    assert asked <= 100
    assert asked == 0 or right / asked >= 0.5


@pytest.mark.slow
def test_every_loans_balance_status_and_days_past_due_are_exact(judged: duckdb.DuckDBPyConnection) -> None:
    columns = "loan_status, principal_outstanding, days_past_due, oldest_unpaid_due_on, market, currency"
    assert one(judged, "select count(*) from truth_loans where days_past_due > 0") != 0
    wrong = judged.execute(
        "with truth as (select *, status as loan_status from truth_loans)"
        f" (select loan_id, {columns} from truth except select loan_id, {columns} from trusted.fct_loan)"
        f" union all (select loan_id, {columns} from trusted.fct_loan except select loan_id, {columns} from truth)"
    ).fetchall()
    assert wrong == []


@pytest.mark.slow
def test_nobody_is_contacted_who_must_not_be(judged: duckdb.DuckDBPyConnection) -> None:
    judged.execute(
        "create or replace temp table contactable as select distinct k.person_id, p.channel"
        " from trusted.dim_contact_permission p join known k using (person_key)"
        " where p.is_permitted"
        " and exists (select 1 from contacts.customer_contact c where c.person_key = p.person_key and c.channel = p.channel)"
        " and not exists (select 1 from trusted.fct_suppression s where s.person_key = p.person_key)"
    )
    # a misspelt mailbox is an address as far as anyone can tell
    forbidden = judged.execute(
        "select t.person_id, t.channel, t.why_not from truth_contactability t join contactable using (person_id, channel)"
        " where not t.may_contact and t.why_not <> 'no_address'"
    ).fetchall()
    assert forbidden == []
    may, do = judged.execute(
        "select count(*) filter (t.may_contact), count(*) filter (t.may_contact and c.person_id is not null)"
        " from truth_contactability t left join contactable c using (person_id, channel)"
    ).fetchall()[0]
    assert do / may > 0.97


@pytest.mark.slow
def test_open_tickets_that_hold_back_reach_their_person(judged: duckdb.DuckDBPyConnection) -> None:
    missed = judged.execute(
        "select distinct t.person_id from truth_contactability t join known k using (person_id)"
        " where t.has_open_ticket and t.person_id not in"
        " (select person_id from known join trusted.fct_ticket_suppression using (person_key))"
    ).fetchall()
    assert missed == []
