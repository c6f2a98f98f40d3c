"""A tiny published lender for tests: real DuckDB catalogues with a few people whose facts a test sets."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from lendloop.clock import Clock
from lendloop.settings import Settings, load_settings
from lendloop.source_status import SourceStatus

AS_OF = datetime(2026, 6, 30, 9, 0, tzinfo=UTC)
_TABLES = {
    "trusted.dim_market": "market varchar, market_name varchar, currency varchar, time_zone varchar, phone_region varchar,"
    " business_date date",
    "trusted.map_customer_source": "person_key varchar, source varchar, source_id varchar, rule varchar, probability decimal(5, 4),"
    " valid_from timestamptz, valid_to timestamptz",
    "trusted.dim_contact_permission": "person_key varchar, channel varchar, is_permitted boolean, basis varchar, decided_at timestamptz",
    "trusted.fct_suppression": "person_key varchar, reason varchar, via varchar, source varchar, source_id varchar, since timestamptz",
    "trusted.fct_ticket_suppression": "person_key varchar, reason varchar, via varchar, ticket_id bigint, since timestamptz",
    "trusted.fct_application": "application_id varchar, person_key varchar, market varchar, product_name varchar, currency varchar,"
    " requested_amount decimal(19, 6), approved_amount decimal(19, 6), application_status varchar, applied_at timestamptz, approved_at timestamptz,"
    " accepted_at timestamptz, disbursed_at timestamptz, loan_id bigint",
    "trusted.fct_installment": "installment_id bigint, loan_id bigint, installment_number integer, due_on date, met_on date, days_late integer",
    "trusted.fct_loan": "loan_id bigint, person_key varchar, market varchar, currency varchar, loan_status varchar,"
    " principal_disbursed decimal(19, 6), principal_repaid decimal(19, 6), principal_outstanding decimal(19, 6),"
    " principal_written_off decimal(19, 6), total_outstanding decimal(19, 6), total_recovered decimal(19, 6), submitted_on date,"
    " closed_on date, written_off_on date, days_past_due integer",
    "contacts.customer_contact": "person_key varchar, channel varchar, address varchar, address_hash varchar, source varchar,"
    " source_id varchar, is_primary boolean",
    "contacts.customer_profile": "person_key varchar, market varchar, first_name varchar, last_name varchar, language varchar",
}


class PublishedLender:
    """Rows by table; `publish` writes them as `published.duckdb` and `contacts.duckdb`, replaced atomically."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.as_of = AS_OF
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _TABLES}
        self.version = 0
        self.absent: set[str] = set()
        self.groups: dict[str, tuple[str, datetime | None]] = {}
        """State and age of consistency groups, as the publisher leaves them."""
        self.overrides: dict[str, Any] = {}
        self.status = {
            name: SourceStatus(source=name, configured=True, succeeded_as_of=AS_OF)  # type: ignore[arg-type]
            for name in ("crm", "ledger", "support")
        }
        for market, currency, zone in (("NG", "NGN", "Africa/Lagos"), ("CI", "XOF", "Africa/Abidjan")):
            self.add(
                "trusted.dim_market", market=market, currency=currency, time_zone=zone, phone_region=market,
                business_date=AS_OF.date(),
            )  # fmt: skip

    @property
    def settings(self) -> Settings:
        return load_settings(
            **{
                "_env_file": None,
                "LENDLOOP_HOME": self.home,
                "hash_key": "test-key",
                "lock_timeout_s": 60,
                **self.overrides,
            }
        )

    @property
    def clock(self) -> Clock:
        return Clock(self.as_of)

    def move_on(self, days: float = 1) -> None:
        """Let the clock run on, with every source read again."""
        self.as_of += timedelta(days=days)
        for status in self.status.values():
            status.succeeded_as_of = self.as_of
        for market in self.rows["trusted.dim_market"]:
            market["business_date"] = self.as_of.date()

    def add(self, table: str, **row: Any) -> None:
        self.rows[table].append(row)

    def drop(self, table: str, **match: Any) -> None:
        self.rows[table] = [
            row for row in self.rows[table] if not all(row.get(name) == value for name, value in match.items())
        ]

    def person(self, key: str, *, market: str = "NG", sms: bool | None = True, phone: bool = True) -> str:
        """Someone with a phone, a sure link and a consent."""
        number = f"+23480{abs(hash_of(key)) % 10**8:08d}"
        self.add(
            "trusted.map_customer_source", person_key=key, source="crm", source_id=f"c-{key}", probability=Decimal(1)
        )
        self.add(
            "trusted.map_customer_source", person_key=key, source="ledger", source_id=f"l-{key}", probability=Decimal(1)
        )
        self.add("contacts.customer_profile", person_key=key, market=market, first_name=f"N{key}", language="en")
        if phone:
            self.add(
                "contacts.customer_contact", person_key=key, channel="sms", address=number, address_hash=f"h{number}",
                source="crm", source_id=f"c-{key}", is_primary=True,
            )  # fmt: skip
        if sms is not None:
            self.add(
                "trusted.dim_contact_permission", person_key=key, channel="sms", is_permitted=sms, basis="crm:sms_consent",
                decided_at=AS_OF - timedelta(days=90),
            )  # fmt: skip
        return key

    def written_off(
        self, key: str, owed: str = "1000", *, market: str = "NG", currency: str = "NGN", loan_id: int | None = None
    ) -> None:
        self.add(
            "trusted.fct_loan", loan_id=loan_id or abs(hash_of(key)), person_key=key, market=market, currency=currency,
            loan_status="written_off", principal_disbursed=Decimal(owed) * 2, principal_repaid=Decimal(owed),
            principal_outstanding=Decimal(0), principal_written_off=Decimal(owed), total_outstanding=Decimal(0),
            total_recovered=Decimal(0), submitted_on=date(2026, 1, 1), written_off_on=date(2026, 4, 1), days_past_due=0,
        )  # fmt: skip

    def approved(self, key: str, days_ago: float = 5, amount: str = "250.000000", **more: Any) -> None:
        self.add(
            "trusted.fct_application",
            **{
                "application_id": f"a-{key}", "person_key": key, "market": "NG", "product_name": "Flex 30", "currency": "NGN",
                "approved_amount": Decimal(amount), "application_status": "approved", "applied_at": self.as_of - timedelta(days=days_ago + 1),
                "approved_at": self.as_of - timedelta(days=days_ago), **more,
            },
        )  # fmt: skip

    def publish(self) -> None:
        """Write both catalogues in place of the last ones."""
        self.version += 1
        self.home.mkdir(parents=True, exist_ok=True)
        for file, schemas in (("contacts.duckdb", ("contacts",)), ("published.duckdb", ("trusted", "kpi"))):
            draft = self.home / "draft.tmp"
            draft.unlink(missing_ok=True)
            with duckdb.connect(str(draft)) as connection:
                connection.execute("set timezone = 'UTC'")
                for schema in (*schemas, "publication"):
                    connection.execute(f"create schema {schema}")
                for name, columns in _TABLES.items():
                    if name.split(".")[0] in schemas and name not in self.absent:
                        connection.execute(f"create table {name} ({columns})")
                        _insert(connection, name, self.rows[name])
                connection.execute("create table publication.version as select ? as version", [self.version])
                connection.execute(
                    "create table publication.consistency_group (name varchar, state varchar, published_as_of timestamptz)"
                )
                for group, (state, since) in self.groups.items():
                    connection.execute(
                        "insert into publication.consistency_group values (?, ?, ?)", [group, state, since]
                    )
            os.replace(draft, self.home / file)


def _insert(connection: duckdb.DuckDBPyConnection, name: str, rows: Iterable[dict[str, Any]]) -> None:
    names = [row[0] for row in connection.execute(f"describe {name}").fetchall()]
    for batch in itertools.groupby(rows, key=lambda row: sorted(row)):
        table = pa.Table.from_pylist(list(batch[1]))
        connection.register("_rows", table)
        given = [column for column in names if column in table.column_names]
        connection.execute(f"insert into {name} ({', '.join(given)}) select {', '.join(given)} from _rows")


def hash_of(key: str) -> int:
    """The same number for a key in every process."""
    import zlib

    return zlib.crc32(key.encode())
