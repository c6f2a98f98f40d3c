"""A thousand malformed rows of every kind in a ledger whose columns take anything: none costs another row, each is in
quarantine with its column, what is legal is loaded as it is, and what is mended comes in."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestion import quarantine
from ingestion.load import load_source, replay_quarantine
from ingestion.scratch import DUPLICATE_KEY
from ingestion.tables import LEDGER
from lendloop.clock import Clock, parse_clock
from lendloop.settings import Settings
from tests.ingestion.conftest import Warehouse

LOANS = next(table for table in LEDGER if table.name == "m_loan")
SPOILT = 1000
DUPLICATE = "a second row of the key"
COLUMNS = (*LOANS.columns, "photo")


@dataclass(frozen=True)
class Text:
    """Bytes that the ledger holds as text, whatever they are."""

    bytes: bytes


REFUSED: dict[str, list[Any]] = {
    "id": [None, "", b"", "x", 1.5, 1e300, b"\xff", Text(b"7\xff"), "9223372036854775808"],
    DUPLICATE: [None],
    "account_no": [Text(b"Jos\xe9"), Text(b"\xc3"), Text(b"\xed\xa0\x80"), Text(b"a\xff" * 500), b"\xff\xfe", "G\0H", "\0"],
    "client_id": ["seven", 1.5, b"\x01\x02", "9223372036854775808", 1e19, "1e3", "", "0x10", "NaN", 1e999],
    "principal_amount": ["12,50", "NaN", "Infinity", "-inf", 1e999, -1e999, 1e300, "1" * 14, "9" * 5000, "10000000000000",
                         "-10000000000000.5", "0.0000001", "--5", "1e5", b"\xff", "", "5 USD", "½"],
    "is_npa": ["perhaps", 2, 0.5, -1, b"\x01", "", "10"],
    "disbursedon_date": ["2024-02-30", "0000-00-00", "1899-12-31", "2200-01-01", "31/01/2024", 20240131, "2024-13-01",
                         "infinity", "tomorrow", 45000.5, "2024-01-31 10:00:00", "24-01-31", ""],
    "created_on_utc": ["2024-02-30 10:00:00", "noon", "2024-01-01 25:00:00", "9999-01-01 00:00:00", 1706700000, "now",
                       "0000-00-00 00:00:00", Text(b"2024-01-01 10:00:00\xff"), "2024-01-01 10:00:00 Mars/Olympus"],
    "last_modified_on_utc": ["yesterday", "2024-02-30 10:00:00", "1899-12-31 23:59:59", "9999-12-31 00:00:00", 5],
}  # fmt: skip
"""What stands in a column of a row that stays out."""
LEGAL: list[tuple[str, Any, Any]] = [
    ("account_no", "é" * 1_000_000, "é" * 1_000_000),
    ("account_no", "\x01\x02\x1b[31m\x7f\r\n\t\x1e", "\x01\x02\x1b[31m\x7f\r\n\t\x1e"),
    ("account_no", "‮🎉' \"; DROP TABLE m_loan --", "‮🎉' \"; DROP TABLE m_loan --"),
    ("account_no", "", ""),
    ("account_no", 5, "5"),
    ("account_no", b"bytes of text", "bytes of text"),
    ("client_id", "9223372036854775807", 2**63 - 1),
    ("client_id", 7.0, 7),
    ("client_id", " +7 ", 7),
    ("principal_amount", "9999999999999.999999", Decimal("9999999999999.999999")),
    ("principal_amount", " -.000001 ", Decimal("-0.000001")),
    ("principal_amount", 0.1, Decimal("0.1")),
    ("principal_amount", None, None),
    ("is_npa", "Yes", True),
    ("is_npa", "f", False),
    ("disbursedon_date", "2024-01-31T00:00:00Z", date(2024, 1, 31)),
    ("disbursedon_date", "1900-01-01", date(1900, 1, 1)),
    ("created_on_utc", "2024-01-31", datetime(2024, 1, 31, tzinfo=UTC)),
    ("created_on_utc", "2024-01-31T12:00:00+02:00", datetime(2024, 1, 31, 10, tzinfo=UTC)),
    ("photo", b"\xff\xd8\x00", "FFD800"),
    ("id", 2**63 - 1, 2**63 - 1),
    ("id", 2**63 - 2, 2**63 - 2),
]
"""A column, what stands there, and what raw has then."""


@dataclass
class Bank:
    """A ledger in SQLite; `spoilt` says of each malformed row, by its external id, which kind of fault it has."""

    path: Path
    spoilt: dict[str, str] = field(default_factory=dict)
    legal: dict[str, tuple[str, Any]] = field(default_factory=dict)
    good: set[str] = field(default_factory=set)

    def run(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        with sqlite3.connect(self.path) as connection:
            connection.execute(statement, values)
        connection.close()

    def fill(self) -> None:
        """Malformed rows and others by turns."""
        chosen, rows = random.Random(7), []
        for number in range(1, 2 * SPOILT + 1):
            row = _loan(number)
            name = row["external_id"]
            if number % 2:
                kind = self.spoilt[name] = chosen.choice(list(REFUSED))
                if kind == DUPLICATE:
                    row["id"] = number + 1
                else:
                    row[kind] = chosen.choice(REFUSED[kind])
            elif len(self.legal) < len(LEGAL) and self.spoilt[f"L{number - 1}"] != DUPLICATE:
                column, row[column], held = LEGAL[len(self.legal)]
                self.legal[name] = (column, held)
            else:
                self.good.add(name)
            rows.append(row)
        with sqlite3.connect(self.path) as connection:
            connection.execute("CREATE TABLE m_client (id integer PRIMARY KEY)")
            connection.execute(f"CREATE TABLE m_loan (id int, {', '.join(COLUMNS[1:-1])}, photo blob)")
            for row in rows:
                marks = ", ".join("CAST(? AS TEXT)" if isinstance(row[name], Text) else "?" for name in COLUMNS)
                values = [one.bytes if isinstance(one, Text) else one for one in map(row.get, COLUMNS)]
                connection.execute(f"INSERT INTO m_loan VALUES ({marks})", values)
        connection.close()


def _loan(number: int, day: str = "01") -> dict[str, Any]:
    stamp = f"2024-02-{day} 10:00:00.000000"
    given = {
        "id": number,
        "account_no": f"{number:09}",
        "external_id": f"L{number}",
        "client_id": 1,
        "principal_amount": f"{number}.5",
        "is_npa": 0,
        "disbursedon_date": "2024-01-31",
        "created_on_utc": stamp,
        "last_modified_on_utc": stamp,
    }
    return {**dict.fromkeys(COLUMNS), **given}


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    bank = Bank(tmp_path / "ledger.sqlite")
    bank.fill()
    return bank


@pytest.fixture
def settings(bank: Bank, make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(ledger_url=f"sqlite:///{bank.path}")


def entries(settings: Settings) -> dict[str, dict[str, Any]]:
    """What waits in quarantine, by external id."""
    waiting = quarantine.waiting(settings.home, "ledger", "m_loan").to_pylist()
    return {json.loads(one["raw_text"])["external_id"]: one for one in waiting}


def test_a_thousand_malformed_rows_stay_out_and_cost_nobody_else(
    bank: Bank, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    assert set(bank.spoilt.values()) == set(REFUSED)
    assert len(bank.legal) == len(LEGAL)
    report = load_source("ledger", settings, clock)
    found = entries(settings)
    assert set(found) == set(bank.spoilt)
    for name, kind in bank.spoilt.items():
        column = "id" if kind == DUPLICATE else kind
        entry = found[name]
        assert entry["column"] == column, (kind, entry)
        reasons = {
            DUPLICATE: (DUPLICATE_KEY,),
            "id": ("no key: id is empty", "wrong type: id does not hold a valid bigint"),
        }
        expected = reasons.get(kind, (f"wrong type: {column} does not hold a valid {LOANS.columns[column]}",))
        assert entry["reason"] in expected, entry
    held = {row[0]: row[1:] for row in warehouse.rows(
        f"SELECT external_id, {', '.join(COLUMNS)} FROM raw_ledger.m_loan"
    )}  # fmt: skip
    assert set(held) == bank.good | set(bank.legal)
    for name, (column, value) in bank.legal.items():
        assert held[name][COLUMNS.index(column)] == value, column
    money = COLUMNS.index("principal_amount")
    assert all(held[name][money] == Decimal(f"{name[1:]}.5") for name in bank.good)
    assert (report.new, report.quarantined) == (SPOILT, SPOILT)
    for later in (clock, parse_clock("2024-03-02T12:00:00Z")):
        again = load_source("ledger", settings, later)
        assert (again.changed, again.quarantined) == (False, 0)


def test_rows_mended_in_the_source_or_in_quarantine_come_in(
    bank: Bank, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    load_source("ledger", settings, clock)
    numbers = [int(name[1:]) for name, kind in bank.spoilt.items() if kind != DUPLICATE]
    at_source, here = numbers[::2], numbers[1::2]
    for number in at_source:
        row = _loan(number, day="20")
        values = ", ".join(f"{name} = ?" for name in COLUMNS)
        bank.run(f"UPDATE m_loan SET {values} WHERE external_id = 'L{number}'", tuple(row[name] for name in COLUMNS))
    report = load_source("ledger", settings, clock)
    assert (report.new, report.rows_changed, report.deleted, report.quarantined) == (len(at_source), 0, 0, 0)
    for path in quarantine.folder(settings.home, "ledger", "m_loan").glob("*.parquet"):
        rows = pq.read_table(path)
        texts = []
        for one in rows.to_pylist():
            row = json.loads(one["raw_text"])
            number = int(row["external_id"][1:])
            texts.append(json.dumps({**row, **_loan(number)}) if number in here else one["raw_text"])
        pq.write_table(rows.set_column(rows.column_names.index("raw_text"), "raw_text", pa.array(texts)), path)
    replayed = replay_quarantine("ledger", settings, clock)
    assert (replayed.new, replayed.rows_changed) == (len(here), 0)
    held = dict(warehouse.rows("SELECT external_id, principal_amount FROM raw_ledger.m_loan WHERE _deleted_at IS NULL"))
    assert all(held[f"L{number}"] == Decimal(f"{number}.5") for number in numbers)
    assert len(held) == SPOILT + len(numbers)
    assert load_source("ledger", settings, clock).rows_changed == 0
