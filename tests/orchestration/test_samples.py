"""Rows that the Dagster UI shows of a dataset: what people may see of them, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from lendloop.home import Home
from lendloop.publish import Catalog, PublishedTable
from orchestration.zones import _look

LOAN, TICKET, CONTACT = "trusted.fct_loan", "trusted.fct_ticket", "contacts.customer_contact"
CLASSES = {"loan_id": "none", "account_no": "pseudonym", "amount": "none", "is_new": "none"}


def node(key: str, columns: dict[str, str], row_key: str) -> dict[str, Any]:
    schema, _, name = key.partition(".")
    return {
        "schema": schema, "alias": name, "config": {"meta": {"key": [row_key]}},
        "columns": {column: {"config": {"meta": {"pii": pii}}} for column, pii in columns.items()},
    }  # fmt: skip


def test_samples_show_no_pseudonym_but_a_key_and_nothing_of_contacts(tmp_path: Path) -> None:
    """A kept version may lack a column that is declared by now."""
    home = Home(tmp_path).prepare()
    with duckdb.connect(str(home.published)) as connection:
        connection.execute(
            "create schema trusted; create table trusted.fct_loan as select 7 as loan_id, 'A-1' as account_no, 5 as amount"
        )
        connection.execute("create table trusted.fct_ticket as select 'p1' as person_key, 3 as priority")
    published = {
        key: PublishedTable(
            group="g", contact_data=key == CONTACT, rows=1, files=[], published_as_of=datetime.now(UTC), version=1
        )
        for key in (LOAN, TICKET, CONTACT, "trusted.gone")
    }
    nodes = {
        "loan": node(LOAN, CLASSES, "loan_id"),
        "ticket": node(TICKET, {"person_key": "pseudonym"}, "person_key"),
        "contact": node(CONTACT, {"address": "contact"}, "address"),
    }
    shown = _look(home, Catalog(tables=published), nodes)
    assert shown.keys() == {LOAN, TICKET}
    assert shown[LOAN]["sample"].value == "| loan_id | amount |\n|---|---|\n| 7 | 5 |"
    assert shown[TICKET]["sample"].value == "| person_key |\n|---|\n| p1 |", "what no declaration classes is not shown"
