"""Small real sources for tests of ingestion: a SQLite ledger, a PostgreSQL, HubSpot and Zendesk over HTTP."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from ingestion.stream import Stream
from lendloop.clock import Clock, parse_clock
from lendloop.settings import Settings, load_settings
from sandbox.serve import Options, Running, running
from tests.postgres import postgres_over_tcp

NOW = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    return parse_clock("2024-03-01T12:00:00Z")


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings with a home of their own; every argument is a field."""

    def make(**fields: Any) -> Settings:
        return load_settings(**{"_env_file": None, "LENDLOOP_HOME": tmp_path / "home", "lock_timeout_s": 60, **fields})

    return make


@dataclass
class Warehouse:
    """Questions to a warehouse that nobody has open."""

    path: Path

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.path)) as connection:
            connection.execute("SET timezone = 'UTC'")
            return connection.execute(query).fetchall()

    def one(self, query: str) -> Any:
        return self.rows(query)[0][0]


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "home" / "warehouse.duckdb")


def taken_whole(given: pa.Table | Stream) -> pa.Table:
    """What a reader gave, read to its end."""
    if isinstance(given, pa.Table):
        return given
    reader = given.open()
    if reader is None:
        raise AssertionError(f"the stream could not be opened: {given.error}")
    return reader.read_all()


class Ledger:
    """A ledger in SQLite with a client and a loan table, edited by SQL."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.run(
            "CREATE TABLE m_client (id integer primary key, firstname text, mobile_no text, date_of_birth text, "
            "created_on_utc text, last_modified_on_utc text)"
        )
        self.run(
            "CREATE TABLE m_loan (id int, client_id int, principal_amount text, is_npa int, disbursedon_date text, "
            "last_modified_on_utc text)"
        )
        self.run("CREATE TABLE m_loan_arrears_aging (loan_id integer primary key, total_overdue_derived text)")

    def run(self, statement: str, *values: Any) -> None:
        with sqlite3.connect(self.path) as connection:
            connection.execute(statement, values)
        connection.close()

    def add_client(self, identifier: int, modified: str = "2024-02-01 10:00:00.000000", name: str = "Ama") -> None:
        self.run("INSERT INTO m_client VALUES (?, ?, '0803', '1990-01-01', ?, ?)", identifier, name, modified, modified)

    def add_loan(self, identifier: Any, amount: Any = "100.5", modified: str = "2024-02-01 10:00:00.000000") -> None:
        self.run("INSERT INTO m_loan VALUES (?, 1, ?, 0, '2024-01-31', ?)", identifier, amount, modified)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_over_tcp() as url:
        yield url


_STAMPED = ("created_at", "updated_at", "archived_at")
_NESTED = ("via", "tags", "custom_fields", "satisfaction_rating", "user_fields", "child_events")


@dataclass
class Lender:
    """A lender whose tables a test edits as lists of rows; call `changed` afterwards."""

    as_of: datetime = NOW
    version: int = 1
    ledger_url: str = "sqlite:///nowhere.sqlite"
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)

    def tick(self, days: int) -> dict[str, Any]:
        return {"days": days}

    def truth(self) -> dict[str, Any]:
        return {}

    def changed(self) -> None:
        self.version += 1

    def table(self, name: str) -> pa.Table:
        rows = self.rows.get(name, [])
        columns = {}
        for column in self.columns[name]:
            values = [row.get(column) for row in rows]
            if column in _STAMPED:
                columns[column] = pa.array(values, pa.timestamp("us", "UTC"))
            elif column in ("archived", "active", "suspended"):
                columns[column] = pa.array([bool(value) for value in values])
            elif column in _NESTED:
                columns[column] = pa.array([None if value is None else json.dumps(value) for value in values])
            elif column.endswith("_timestamp") or (name.startswith("support") and column.endswith("id")):
                kind = pa.string() if column == "external_id" else pa.int64()
                columns[column] = pa.array(values, kind)
            else:
                columns[column] = pa.array(values, pa.string())
        return pa.table(columns)


def new_lender() -> Lender:
    """A lender whose tables have their columns and no rows."""
    meta = ["id", "created_at", "updated_at", "archived", "archived_at"]
    contacts = "firstname lastname phone email country date_of_birth national_id ledger_client_id sms_consent "
    contacts += "sms_consent_at email_consent email_consent_at do_not_contact fraud_flag deceased in_dispute "
    contacts += "hs_language lifecyclestage eligible_at offered_at"
    deals = "dealname contact_id ledger_loan_id loan_product country deal_currency_code dealstage amount "
    deals += "approved_amount applied_at kyc_completed_at approved_at declined_at accepted_at disbursed_at"
    tickets = "id external_id requester_id submitter_id assignee_id group_id organization_id status priority type "
    tickets += (
        "subject description via tags custom_fields satisfaction_rating created_at updated_at generated_timestamp"
    )
    users = "id external_id name email phone role active suspended tags user_fields created_at updated_at"
    return Lender(
        columns={
            "crm_contacts": [*meta, *contacts.split()],
            "crm_deals": [*meta, *deals.split()],
            "support_tickets": tickets.split(),
            "support_users": users.split(),
            "support_ticket_events": [
                "id",
                "ticket_id",
                "event_type",
                "updater_id",
                "via",
                "status",
                "created_at",
                "child_events",
            ],
        }
    )


@dataclass
class Vendors:
    """HubSpot and Zendesk over HTTP, for a lender that a test edits."""

    lender: Lender
    sandbox: Running

    def settings(self) -> dict[str, Any]:
        """The fields of Settings that point at them."""
        wanted = ("crm_url", "crm_token", "support_url", "support_user", "support_token")
        return {name: self.sandbox.settings[f"LENDLOOP_{name.upper()}"] for name in wanted}


@pytest.fixture
def vendors(tmp_path: Path) -> Iterator[Vendors]:
    lender = new_lender()
    folder = tmp_path / "sandbox"
    folder.mkdir()
    with running(Options(folder), lender) as sandbox:
        yield Vendors(lender, sandbox)
