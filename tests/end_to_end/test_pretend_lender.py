"""Passes over the pretend lender, held against its truth and against what its vendors received."""

from __future__ import annotations

import stat
from collections import Counter
from decimal import Decimal
from itertools import combinations
from typing import Any

import duckdb
import pytest

from lendloop.errors import LendloopError
from lendloop.home import Home
from lendloop.warehouse import open_warehouse
from tests.end_to_end.conftest import Installation

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def truth(loaded: Installation) -> dict[str, list[dict[str, Any]]]:
    answer: dict[str, list[dict[str, Any]]] = loaded.sandbox("/truth.json")
    return answer


def test_status_balance_and_days_past_due_of_every_loan_are_exact(loaded: Installation, truth: dict[str, Any]) -> None:
    said = {
        row[0]: (row[1], row[2], row[3], row[4])
        for row in loaded.query(
            "select loan_id, status, principal_outstanding, days_past_due, oldest_unpaid_due_on::varchar from trusted.fct_loan"
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
    for path in [home.warehouse, home.contacts, home.ops_sqlite, *home.delivery.glob("*.duckdb")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(home.contacts_files.stat().st_mode) == 0o700


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


def test_a_second_pass_without_change_writes_nothing_and_calls_no_destination(lender: Installation) -> None:
    first = lender.run()
    assert first["failures"] == []
    before = lender.arrivals
    files = {path: path.stat().st_mtime_ns for path in (lender.home / "exports").rglob("*") if path.is_file()}
    second = lender.run()
    assert (second["changed"], second["version"]) == (False, first["version"])
    assert [(s["new"], s["changed"], s["deleted"]) for s in second["sources"]] == [(0, 0, 0)] * 3
    assert all(audience["requests"] == 0 for audience in second["audiences"])
    after = lender.arrivals
    assert after["blueshift"]["requests"] == before["blueshift"]["requests"]
    assert after["slack"] == before["slack"]
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_a_source_that_is_down_is_named_the_others_go_on_and_the_next_pass_heals(lender: Installation) -> None:
    lender.run()
    lender.sandbox("/tick", {"days": 1})
    lender.sandbox("/faults", {"system": "hubspot", "kind": "status", "status": 401, "count": 10_000})
    report = lender.run(expect=1)
    assert any(line.startswith("source crm") for line in report["failures"])
    states = {source["source"]: source["state"] for source in report["sources"]}
    assert states == {"crm": "failed", "ledger": "ok", "support": "ok"}
    assert lender.query("select max(as_of_date)::varchar from trusted.agg_portfolio_daily where loan_count > 0") == [
        ("2026-07-01",)
    ]
    assert "crm" in str(lender.arrivals["slack"]["messages"])
    _clear_faults(lender)
    healed = lender.run()
    assert healed["failures"] == []
    assert {source["state"] for source in healed["sources"]} == {"ok"}


def test_a_failed_audit_of_support_keeps_its_yesterday_and_lets_the_portfolio_go_on(lender: Installation) -> None:
    lender.run()
    yesterday = lender.query("from trusted.fct_ticket order by ticket_id")
    lender.sandbox("/tick", {"days": 1})
    home = Home(lender.home)
    with open_warehouse(home, "breaking support", 30) as connection:
        connection.execute("create table raw_support.kept as from raw_support.tickets")
        connection.execute(
            "update raw_support.tickets set status = 'bogus', _loaded_at = _loaded_at + interval 1 second"
        )
    report = lender.run(expect=1)
    assert [line for line in report["failures"] if line.startswith("group support is stale")]
    assert lender.query("from trusted.fct_ticket order by ticket_id") == yesterday
    groups = dict(lender.query("select name, state from publication.consistency_group"))
    assert groups["support"] == "stale"
    assert groups["portfolio"] == "fresh"
    assert lender.query(
        "select count(*) > 0 from trusted.agg_portfolio_daily where as_of_date = '2026-07-01' and loan_count > 0"
    ) == [(True,)]
    assert "fct_ticket" in str(lender.arrivals["slack"]["messages"])
    with open_warehouse(home, "mending support", 30) as connection:
        connection.execute(
            "update raw_support.tickets as t set status = k.status, _loaded_at = t._loaded_at + interval 1 second"
            " from raw_support.kept as k where k.id = t.id"
        )
        connection.execute("drop table raw_support.kept")
    healed = lender.run()
    assert healed["failures"] == []
    assert lender.query("select count(*) from trusted.fct_ticket where status = 'bogus'") == [(0,)]
    assert dict(lender.query("select name, state from publication.consistency_group"))["support"] == "fresh"


def test_over_ten_days_what_is_incremental_equals_a_full_rebuild(lender: Installation) -> None:
    lender.run()
    for _ in range(3):
        lender.sandbox("/tick", {"days": 3})
        lender.run()
    facts = ("fct_loan_transaction", "fct_account_transaction", "fct_installment")
    incremental = {fact: Counter(lender.query(f"from trusted.{fact}")) for fact in facts}
    with open_warehouse(Home(lender.home), "forgetting the facts", 30) as connection:
        for fact in facts:
            connection.execute(f"drop table trusted.{fact}")
    (lender.home / "published" / "catalog.json").unlink()
    lender.run()
    for fact in facts:
        assert Counter(lender.query(f"from trusted.{fact}")) == incremental[fact], fact


def _clear_faults(lender: Installation) -> None:
    import urllib.request

    request = urllib.request.Request(lender.base_url + "/faults", method="DELETE")
    try:
        urllib.request.urlopen(request, timeout=30).read()
    except OSError as error:
        raise LendloopError(f"the sandbox kept its faults: {error}") from error
