"""A thousand malformed rows of every kind in the files that people keep, costs and surveys: none costs another row, each is
in quarantine with its column, what is legal is loaded as it is, and what is mended comes in."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestion import quarantine
from ingestion.load import load_source, replay_quarantine
from ingestion.tables import TABLES, Source
from lendloop.clock import Clock
from lendloop.errors import PermanentError, TransientError
from lendloop.settings import Settings
from tests.ingestion.conftest import Warehouse

SPOILT = 1000
TOO_MANY, TOO_FEW = "too many values", "too few values"
Row = dict[str, str]
Refused = dict[str, list[str]]
"""What stands in a column of a malformed row; under TOO_MANY and TOO_FEW the end of its line."""
Legal = list[tuple[str, str, Any]]
"""A column, what stands there, and what raw has then."""

MONEY = ["12,50", "1.000,50", "(100)", "NaN", "-inf", "1e5", "1" * 14, "9" * 5000, "10000000000000", "0.0000001", "--5",
         "5 USD", "½", "٣", "0x10", "", "5\0"]  # fmt: skip
DAYS = ["2024-13-01", "2024-02-30", "0000-00-00", "1899-12-31", "2200-01-01", "31/01/2024", "45292", "January", "24-01-31",
        "infinity", "2024-01-31 10:00:00", "2024-1-1", "2024-01-01\0"]  # fmt: skip
STRANGE = "\x01\x1b[31m\x7f\t‮🎉' \"; DROP TABLE cost --\nand a line"

COSTS_HEADING = ["product", "month", "market", "currency", "kind", "amount"]
COSTS: Refused = {
    "month": [*DAYS, "2024-13", "2200-01", "1899-12", ""],
    "market": ["", "  ", "N\0G"],
    "currency": ["", "\0"],
    "kind": ["", "fund\0ing"],
    "amount": MONEY,
    TOO_MANY: ["1,234.50", "5,x", "5,,,x", ",5"],
    TOO_FEW: ["", ",2024-01", ",2024-01,NG,NGN", ",2024-01,NG,NGN,funding"],
}
COSTS_LEGAL: Legal = [
    ("kind", "é" * 1_000_000, "é" * 1_000_000),
    ("kind", STRANGE, STRANGE.lower()),
    ("month", "2024-02", date(2024, 2, 1)),
    ("month", "1900-01-01", date(1900, 1, 1)),
    ("amount", "9999999999999.999999", Decimal("9999999999999.999999")),
    ("amount", " -.000001 ", Decimal("-0.000001")),
    ("amount", "+5.", Decimal(5)),
    (TOO_MANY, "5,, ,", Decimal(5)),
]

SURVEY_HEADING = [
    "record",
    "phone",
    "email",
    "date_of_birth",
    "answered_at",
    "score",
    "wants_contact",
    "do_not_contact",
]
SURVEY: Refused = {
    "phone": ["2.34803E+12", "1e300", "0803\0", "\0"],
    "email": ["ama\0@example.org"],
    "date_of_birth": DAYS,
    "answered_at": ["noon", "2024-02-30 10:00", "2024-01-01 25:00", "9999-01-01", "1706700000", "2024-01-01 10:00 Mars/Olympus"],
    "score": ["ten", "9.5", "1e3", "9223372036854775808", "9" * 5000, "NaN", "٣", "½"],
    "wants_contact": ["perhaps", "2", "-1", "ja", "yes\0"],
    "do_not_contact": ["perhaps", "x", "10", "no!", "no\0"],
    TOO_MANY: [",,yes", ",,,x", "no,no,,,,no"],
}  # fmt: skip
SURVEY_LEGAL: Legal = [
    ("email", "é" * 1_000_000, "é" * 1_000_000),
    ("email", STRANGE, STRANGE),
    ("date_of_birth", "", None),
    ("date_of_birth", "1900-01-01T00:00:00Z", date(1900, 1, 1)),
    ("answered_at", "2024-01-31T12:00:00+02:00", datetime(2024, 1, 31, 10, tzinfo=UTC)),
    ("score", " +7.0 ", 7),
    ("score", "9223372036854775807", 2**63 - 1),
    ("do_not_contact", "N", False),
    ("wants_contact", "T", True),
    (TOO_FEW, "", None),
]


class File:
    """A file of 2,000 rows, every second of them malformed: by name, of which kind each is."""

    def __init__(self, source: Source, path: Path, heading: list[str], refused: Refused, legal: Legal) -> None:
        self.source, self.path, self.heading, self.refused = source, path, heading, refused
        self.table = TABLES[source][0]
        self.spoilt: dict[str, tuple[str, str]] = {}
        self.legal: dict[str, tuple[str, Any]] = {}
        self.lines: dict[str, str] = {}
        chosen, waiting = random.Random(7), list(legal)
        kinds = [(kind, text) for kind, texts in refused.items() for text in texts]
        for number in range(1, 2 * SPOILT + 1):
            name = f"R{number}"
            kind, text, held = "", "", None
            if number % 2:
                kind, text = self.spoilt[name] = (
                    kinds[number // 2] if number // 2 < len(kinds) else chosen.choice(kinds)
                )
            elif waiting:
                kind, text, held = waiting.pop()
                self.legal[name] = (kind, held)
            self.lines[name] = self.line(name, kind, text)
        assert {kind for kind, _ in self.spoilt.values()} == set(refused)
        self.good = set(self.lines) - set(self.spoilt) - set(self.legal)
        self.write()

    def row(self, name: str) -> Row:
        """A proper row."""
        if self.source == "costs":
            values = [name, "2024-01", "ng", "NGN", "Funding", f"{name[1:]}.5"]
        else:
            values = [name, "0803", "a@example.org", "1990-05-17", "2024-02-01 10:00", "9", "yes", "no"]
        return dict(zip(self.heading, values, strict=True))

    def as_loaded(self, name: str) -> dict[str, Any]:
        """What raw has of a proper row."""
        if self.source == "costs":
            values = [name, date(2024, 1, 1), "NG", "NGN", "funding", Decimal(f"{name[1:]}.5")]
        else:
            moment = datetime(2024, 2, 1, 10, tzinfo=UTC)
            values = [name, "0803", "a@example.org", date(1990, 5, 17), moment, 9, True, False]
        return dict(zip(self.heading, values, strict=True))

    def line(self, name: str, kind: str, text: str) -> str:
        row = self.row(name)
        if kind == TOO_FEW:
            return f"{name}{text}"
        if kind == TOO_MANY:
            *cells, _ = row.values()
            return f"{','.join(cells)},{text}"
        values = [text if column == kind else value for column, value in row.items()]
        return ",".join('"' + value.replace('"', '""') + '"' for value in values)

    def write(self) -> None:
        self.path.write_text(
            "\n".join([",".join(self.heading), *self.lines.values()]) + "\n", encoding="utf-8", newline=""
        )

    def mend_here(self, settings: Settings, names: list[str]) -> None:
        """Write proper values over what is in quarantine, as somebody would who edits it."""
        for path in quarantine.folder(settings.home, self.source, self.table.name).glob("*.parquet"):
            rows = pq.read_table(path)
            texts = []
            for one in rows.to_pylist():
                row = json.loads(one["raw_text"])
                proper = self._as_read(row) if self._name(row) in names else {}
                texts.append(json.dumps({**row, **proper}))
            pq.write_table(rows.set_column(rows.column_names.index("raw_text"), "raw_text", pa.array(texts)), path)

    def _as_read(self, row: Row) -> Row:
        """The values of a proper row in place of those of a refused one."""
        proper = self.row(self._name(row))
        if self.source == "costs":
            proper |= {"month": "2024-01-01", "market": "NG", "kind": "funding"}
        return proper

    def _name(self, row: dict[str, Any]) -> str:
        return str(row["values"][0] if "values" in row else row[self.heading[0]])

    def entries(self, settings: Settings) -> dict[str, dict[str, Any]]:
        waiting = quarantine.waiting(settings.home, self.source, self.table.name).to_pylist()
        return {self._name(json.loads(one["raw_text"])): one for one in waiting}

    def held(self, warehouse: Warehouse) -> dict[str, dict[str, Any]]:
        """What raw has, by name."""
        found = warehouse.rows(
            f"SELECT {', '.join(self.heading)} FROM {self.table.schema}.{self.table.name} WHERE _deleted_at IS NULL"
        )
        return {str(values[0]): dict(zip(self.heading, values, strict=True)) for values in found}

    def raw(self, warehouse: Warehouse) -> list[tuple[Any, ...]]:
        """All that raw has of the file, with when it came."""
        return warehouse.rows(f"SELECT * FROM {self.table.schema}.{self.table.name} ORDER BY ALL")


@pytest.fixture(params=["costs", "survey"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> File:
    if request.param == "costs":
        return File("costs", tmp_path / "costs.csv", COSTS_HEADING, COSTS, COSTS_LEGAL)
    (tmp_path / "surveys").mkdir()
    return File("survey", tmp_path / "surveys" / "a.csv", SURVEY_HEADING, SURVEY, SURVEY_LEGAL)


@pytest.fixture
def settings(file: File, make_settings: Callable[..., Settings]) -> Settings:
    is_costs = file.source == "costs"
    return make_settings(**({"costs_file": file.path} if is_costs else {"survey_folder": file.path.parent}))


def load(file: File, settings: Settings, clock: Clock) -> None:
    """Load the file. A survey's load fails as long as it has lines in which a no may stand where no column is."""
    if file.source == "costs":
        load_source(file.source, settings, clock)
        return
    longer = [kind for kind, _ in file.spoilt.values()].count(TOO_MANY)
    with pytest.raises(PermanentError, match=rf"^a\.csv has {longer} line\(s\) of more values than columns"):
        load_source(file.source, settings, clock)


def test_a_thousand_malformed_rows_are_told_and_cost_nobody_else(
    file: File, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    load(file, settings, clock)
    entries, held = file.entries(settings), file.held(warehouse)
    assert set(entries) == set(file.spoilt)
    assert len(entries) == SPOILT
    for name, (kind, text) in file.spoilt.items():
        entry = entries[name]
        if file.source == "survey" and kind == TOO_MANY:
            assert text.rpartition(",")[2] in json.loads(entry["raw_text"])["values"]
            continue
        if kind == TOO_FEW:
            lacking = file.heading[text.count(",") + 1 :]
            assert set(entry["column"].split(", ")) == set(lacking)
            continue
        column = "amount" if kind == TOO_MANY else kind
        assert entry["column"] == column, (kind, text)
        assert entry["reason"] == f"wrong type: {column} does not hold a valid {file.table.columns[column]}", text
    stays = {name for name, (kind, _) in file.spoilt.items() if file.source == "survey" and kind != TOO_MANY}
    assert set(held) == file.good | set(file.legal) | stays
    for name in stays:
        kind, text = file.spoilt[name]
        is_closed = kind in ("wants_contact", "do_not_contact")
        assert (held[name][kind], held[name]["do_not_contact"]) == (
            (True, True) if kind == "do_not_contact" else (None, is_closed)
        ), (kind, text)
    for name, (kind, value) in file.legal.items():
        assert held[name][file.heading[-1] if kind in (TOO_MANY, TOO_FEW) else kind] == value, kind
    assert all(held[name] == file.as_loaded(name) for name in file.good)
    before = file.raw(warehouse)
    load(file, settings, clock)
    assert (file.raw(warehouse), file.entries(settings)) == (before, entries)


def test_rows_mended_in_the_file_or_in_quarantine_come_in(
    file: File, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    load(file, settings, clock)
    names = [name for name, (kind, _) in file.spoilt.items() if kind not in (TOO_MANY, TOO_FEW)]
    in_file, here = names[::2], names[1::2]
    file.mend_here(settings, here)
    replayed = replay_quarantine(file.source, settings, clock)
    assert replayed.new + replayed.rows_changed == len(here)
    held = file.held(warehouse)
    assert all(held[name] == file.as_loaded(name) for name in here)
    before = len(held)
    file.lines |= {name: file.line(name, "", "") for name in in_file}
    file.write()
    waiting = file.entries(settings)
    load(file, settings, clock)
    assert file.entries(settings).items() <= waiting.items()
    held = file.held(warehouse)
    assert len(held) == (before + len(in_file) if file.source == "costs" else before)
    assert all(held[name] == file.as_loaded(name) for name in [*names, *file.good])
    raw = file.raw(warehouse)
    load(file, settings, clock)
    assert file.raw(warehouse) == raw


def test_a_file_of_costs_in_another_encoding_is_refused_whole_and_what_was_stands(
    tmp_path: Path, make_settings: Callable[..., Settings], clock: Clock, warehouse: Warehouse
) -> None:
    file = tmp_path / "costs.csv"
    settings = make_settings(costs_file=file)
    file.write_text(",".join(COSTS_HEADING) + "\nP,2024-01,NG,NGN,funding,5\n")
    load_source("costs", settings, clock)
    with file.open("ab") as opened:
        opened.write("Crédit,2024-01,NG,NGN,funding,5\n".encode("latin-1"))
    with pytest.raises(TransientError, match="is not in UTF-8: save it as CSV UTF-8; nothing was taken of it"):
        load_source("costs", settings, clock)
    assert warehouse.rows("SELECT product FROM raw_costs.cost WHERE _deleted_at IS NULL") == [("P",)]


BORN, SAID = date(1989, 3, 2), datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
PARQUET: dict[str, list[tuple[pa.Array, list[Any]]]] = {
    "date_of_birth": [
        (pa.array([7000, 10_000_000, -(2**31)], pa.int32()).cast(pa.date32()), [BORN, None, None]),
        (pa.array([7000 * 86_400_000, 2**62, None], pa.int64()).view(pa.date64()), [BORN, None, None]),
    ],
    "answered_at": [
        (pa.array([1_700_000_000 * 10**6, 2**62, None], pa.int64()).view(pa.timestamp("us")), [SAID, None, None]),
        (
            pa.array([1_700_000_000, 2**40, None], pa.int64()).view(pa.timestamp("s", "Mars/Olympus")),
            [SAID, None, None],
        ),
    ],
    "phone": [
        (pa.array([b"0803", b"\xff\xfe", b"\0"], pa.binary()).view(pa.string()), ["0803", None, None]),
        (pa.array([b"0803", b"\xc3", None], pa.large_binary()), ["0803", None, None]),
        (pa.array([{"a": b"0803"}, {"a": b"\xff"}, None]), [None, None, None]),
    ],
    "score": [
        (pa.array([9.0, float("-inf"), 1e300]), [9, None, None]),
        (pa.array([Decimal("9.0"), Decimal("9.5"), None]), [9, None, None]),
        (pa.array([9, 2**63, 0], pa.uint64()), [9, None, 0]),
    ],
    "do_not_contact": [
        (pa.array([["no"], [b"yes"], None]), [True, True, None]),
        (pa.array([0, 1, 7]), [False, True, True]),
    ],
}
"""Columns of any types, and what raw has of their three rows."""


def test_a_parquet_file_of_any_types_costs_only_the_values_that_are_none(
    tmp_path: Path, make_settings: Callable[..., Settings], clock: Clock, warehouse: Warehouse
) -> None:
    folder = tmp_path / "surveys"
    folder.mkdir()
    expected: dict[str, Any] = {}
    for column, variants in PARQUET.items():
        for number, (values, held) in enumerate(variants):
            names = [f"{column} {number} {row}" for row in range(len(held))]
            pq.write_table(
                pa.table({"record": names, "full_name": ["Ama Mensah"] * len(held), column: values}),
                folder / f"{column}{number}.parquet",
            )
            expected |= zip(names, held, strict=True)
    settings = make_settings(survey_folder=folder)
    assert load_source("survey", settings, clock).new == len(expected)
    found = {
        str(record): dict(zip(PARQUET, values, strict=True))
        for record, *values in warehouse.rows(f"SELECT record, {', '.join(PARQUET)} FROM raw_survey.response")
    }
    assert {name: found[name][name.split()[0]] for name in expected} == expected
    refused = quarantine.waiting(settings.home, "survey", "response").to_pylist()
    told = {json.loads(one["raw_text"])["record"]: one["column"] for one in refused}
    empty = {"date_of_birth 1 2", "answered_at 0 2", "answered_at 1 2", "phone 1 2", "phone 2 2", "score 1 2"}
    is_bad = {name for name, held in expected.items() if held is None} - empty - {"do_not_contact 0 2"}
    closed = {"do_not_contact 0 0", "do_not_contact 0 1", "do_not_contact 1 2"}
    assert told == {name: name.split()[0] for name in is_bad | closed}
