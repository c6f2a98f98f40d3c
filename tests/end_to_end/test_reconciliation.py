"""A pretend lender's stages agree after its passes, and the command says so."""

from __future__ import annotations

import json

import duckdb
import pytest

from tests.end_to_end.installation import Installation

pytestmark = pytest.mark.slow


def test_the_pretend_lenders_stages_agree_or_the_difference_is_explained(loaded: Installation) -> None:
    done = loaded.lendloop("reconcile", "--json")
    compared = {one["to"]: one for one in json.loads(done.stdout)["compared"]}
    assert done.returncode == 0, [day for one in compared.values() for day in one["days"]]
    assert not [one["not compared"] for one in compared.values() if one["not compared"]]
    assert compared["raw_ledger.m_loan_transaction"]["agreed"] > 100
    assert compared["trusted.fct_loan_transaction"]["agreed"] > 100
    assert {"raw_crm.contacts", "raw_support.tickets", "trusted.fct_application", "trusted.fct_ticket"} <= set(compared)
    for table in ("raw_crm.contacts", "raw_crm.deals", "raw_support.tickets", "raw_support.users"):
        assert compared[table]["rows"] == compared[table]["rows there"] > 0


def test_rows_that_raw_lost_doubled_or_altered_are_named_by_the_command(loaded: Installation) -> None:
    changes = {
        "raw_crm.deals": ("lost", "delete from {t} where id = '{id}'"),
        "raw_crm.contacts": (
            "altered",
            "update {t} set sms_consent = not coalesce(sms_consent, false) where id = '{id}'",
        ),
        "raw_support.tickets": ("doubled", "insert into {t} select * from {t} where id = '{id}'"),
    }
    keys = {}
    with duckdb.connect(str(loaded.home / "warehouse.duckdb")) as connection:
        for table, (_, change) in changes.items():
            [(key,)] = connection.execute(
                f"select id from {table} where _deleted_at is null order by created_at limit 1"
            ).fetchall()
            connection.execute(change.format(t=table, id=key))
            keys[table] = str(key)
    done = loaded.lendloop("reconcile", "--json")
    assert done.returncode == 1
    compared = {one["to"]: one for one in json.loads(done.stdout)["compared"]}
    for table, (kind, _) in changes.items():
        [day] = [day for day in compared[table]["days"] if day["state"] == "unexplained"]
        assert [(row["key"], row["kind"]) for row in day["differences"]] == [(keys[table], kind)]
