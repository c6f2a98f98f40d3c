"""A first pass over the pretend lender, held against its truth and against what its vendors received."""

from __future__ import annotations

import stat
from decimal import Decimal
from itertools import combinations
from typing import Any

import duckdb
import pytest

from lendloop.home import Home
from tests.end_to_end.installation import Installation
from tests.servers import on_servers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def truth(loaded: Installation) -> dict[str, list[dict[str, Any]]]:
    answer: dict[str, list[dict[str, Any]]] = loaded.sandbox("/truth.json")
    return answer


def test_status_balance_and_days_past_due_of_every_loan_are_exact(loaded: Installation, truth: dict[str, Any]) -> None:
    said = {
        row[0]: (row[1], row[2], row[3], row[4])
        for row in loaded.query(
            "select loan_id, loan_status, principal_outstanding, days_past_due, oldest_unpaid_due_on::varchar from trusted.fct_loan"
        )
    }
    true = {
        loan["loan_id"]: (
            loan["status"],
            Decimal(loan["principal_outstanding"]),
            loan["days_past_due"],
            loan["oldest_unpaid_due_on"],
        )
        for loan in truth["loans"]
    }
    assert len(true) > 100
    assert said.keys() == true.keys()
    wrong = {loan: (said[loan], true[loan]) for loan in true if said[loan][:3] != true[loan][:3]}
    assert not wrong


def test_no_two_people_are_taken_for_one_and_most_records_of_a_person_are_joined(
    loaded: Installation, truth: dict[str, Any]
) -> None:
    person_of = {
        (row["source"], str(row["source_id"])): row["person_id"] for row in truth["person_sources"] if row["is_live"]
    }
    key_of = {
        (source, source_id): key
        for key, source, source_id in loaded.query(
            "select person_key, source, source_id from trusted.map_customer_source where valid_to is null"
        )
    }
    people_behind: dict[str, set[int]] = {}
    for record, key in key_of.items():
        if record in person_of:
            people_behind.setdefault(key, set()).add(person_of[record])
    assert [people for people in people_behind.values() if len(people) > 1] == []
    records: dict[int, list[str]] = {}
    for record, person in person_of.items():
        if record in key_of:
            records.setdefault(person, []).append(key_of[record])
    pairs = [pair for keys in records.values() for pair in combinations(keys, 2)]
    assert len(pairs) > 100
    assert sum(a == b for a, b in pairs) / len(pairs) >= 0.9


def test_nobody_is_in_an_audience_who_may_not_be_contacted(loaded: Installation, truth: dict[str, Any]) -> None:
    forbidden = {
        person["person_id"]: person["why_not"]
        for person in truth["contactability"]
        if person["channel"] == "sms" and not person["may_contact"]
    }
    person_of = {(row["source"], str(row["source_id"])): row["person_id"] for row in truth["person_sources"]}
    people_of: dict[str, set[int]] = {}
    for key, source, source_id in loaded.query("select person_key, source, source_id from trusted.map_customer_source"):
        if (source, source_id) in person_of:
            people_of.setdefault(key, set()).add(person_of[source, source_id])
    members = {member for listing in loaded.arrivals["blueshift"]["lists"] for member in listing["members"]}
    assert members
    wrong = {member: forbidden[p] for member in members for p in people_of[member] if p in forbidden}
    assert wrong == {}


def test_every_audience_is_a_list_and_a_file_with_the_same_people(loaded: Installation) -> None:
    lists = {entry["name"]: set(entry["members"]) for entry in loaded.arrivals["blueshift"]["lists"]}
    exports = loaded.home / "exports"
    files = {}
    for folder in exports.iterdir():
        rows = duckdb.sql(f"select person_key from read_json('{next(folder.glob('*.jsonl'))}')").fetchall()
        files[folder.name] = {key for (key,) in rows}
    assert sorted(map(len, lists.values())) == sorted(map(len, files.values()))
    assert set().union(*lists.values()) == set().union(*files.values())


def test_personal_data_stay_in_files_that_only_their_owner_reads(loaded: Installation) -> None:
    home = Home(loaded.home)
    state = [] if on_servers() else [home.ops_sqlite]
    for path in [home.warehouse, home.contacts, *state, *home.delivery.glob("*.duckdb")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(home.contacts_files.stat().st_mode) == 0o700


def test_nothing_is_written_outside_the_home(loaded: Installation) -> None:
    assert list(loaded.person.rglob("*")) == []


def test_a_first_load_is_a_baseline_told_in_few_messages_without_personal_data(loaded: Installation) -> None:
    messages = loaded.arrivals["slack"]["messages"]
    assert len(messages) <= 10
    with duckdb.connect() as connection:
        connection.execute(f"attach '{loaded.home}/contacts.duckdb' as private (read_only)")
        addresses = [
            row[0] for row in connection.execute("select address from private.contacts.customer_contact").fetchall()
        ]
    assert addresses
    assert not [address for address in addresses if address in str(messages)]
