"""A thousand malformed rows of every kind between good ones, over HTTP: none takes its page with it, each is in
quarantine with its reason, what it is loaded without fails closed, and a mended row comes back whole."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ingestion.http
from ingestion import quarantine
from ingestion.answers import Unread, read_answer
from ingestion.load import load_source, replay_quarantine
from lendloop.clock import Clock
from lendloop.errors import TransientError
from lendloop.settings import Settings
from sandbox.wire import Reply
from tests.ingestion.conftest import NOW, Vendors, Warehouse
from tests.ingestion.test_crm import contact
from tests.ingestion.test_support import ticket

YESTERDAY = NOW - timedelta(days=1)
SPOILT = 1000
DEEP = [b"[" * 300 + b"]" * 300, b'{"a":' * 2000 + b"1" + b"}" * 2000]
DATES = [b'"0001-01-01"', b'"9999-12-31"', b'"2023-02-30"', b'"1990-13-01"', b'"31/02/1990"', b"17", b"[1990]", b"true"]
MOMENTS = [b'"9999-01-01T00:00:00Z"', b'"2023-02-30T10:00:00Z"', b'"noon"', b"1e400", b"-1e999", b"[]"]
LARGE = [b"1e400", b"1" + b"0" * 40, b"9" * 5000, b"NaN", b"-Infinity"]
HALVES = [rb'"Jos\ud800"', rb'"\udfff\udfff"', b'"Jos\xe9"', b'"\xff\xfe"', b'"\xc3"', rb'"G\u0000H"']
NO_OBJECTS = [b"7", b'"text"', b"null", b"[1]", b'{"id": 5000, }']
WHOLE = ""


@dataclass(frozen=True)
class Kind:
    """A field of the vendor's row, what stands there, and the column of raw with what it holds then."""

    field: str
    texts: list[bytes]
    column: str
    held: Any = None


CRM = [
    Kind("date_of_birth", DATES, "date_of_birth"),
    Kind("sms_consent", [b'"perhaps"', b"{}", b"[true]", b"NaN", b"2"], "sms_consent", False),
    Kind("sms_consent", [b'"false","sms_consent":"true"', b'"true","sms_consent":"false"'], "sms_consent", False),
    Kind("do_not_contact", [b'"unclear"', b"2", b"NaN", b"[]", rb'"\ud800"'], "do_not_contact", True),
    Kind("do_not_contact", [b'"true","do_not_contact":"false"', b'"","do_not_contact":"x"'], "do_not_contact", True),
    Kind("fraud_flag", [b"1e400", b'{"a":1}', DEEP[1]], "is_fraud", True),
    Kind("firstname", HALVES, "first_name"),
    Kind("sms_consent_at", MOMENTS, "sms_consent_at"),
    Kind("national_id", DEEP, "national_id"),
    Kind("phone", [b'"1","phone":"2"', rb'"+1\u0000"'], "phone"),
    Kind("id", [b"null", b'""', b"1.5e300", b"[]"], "id"),
    Kind(WHOLE, NO_OBJECTS, "id"),
]
SUPPORT = [
    Kind("tags", [b'["a",7]', b'"dispute"', b"{}", b"NaN", b'["a"],"tags":[]', rb'["\ud800"]', DEEP[0]], "is_dispute", True),
    Kind("subject", HALVES, "subject"),
    Kind("requester_id", [*LARGE, b"1.5", b'"seven"', b"[]"], "requester_id"),
    Kind("created_at", MOMENTS, "created_at"),
    Kind("custom_fields", [*DEEP, rb'[{"id":"\ud800"}]', b'{"a":1,"a":2}'], "custom_fields"),
    Kind("external_id", [b'"1","external_id":"2"', rb'"1\u0000"'], "external_id"),
    Kind("id", [b"null", b'""', b"1.5e300", b'"x"'], "id"),
    Kind(WHOLE, NO_OBJECTS, "id"),
]  # fmt: skip


class Spoiler:
    """Spoils the rows of answers on their way out: by id, the kind and the text in place of the value."""

    def __init__(self, rows: str, kinds: list[Kind], ids: list[str]) -> None:
        chosen = random.Random(7)
        self.rows = rows
        self.spoilt = {one: (kind := chosen.choice(kinds), chosen.choice(kind.texts)) for one in ids}

    def content(self, reply: Reply) -> bytes:
        body = reply.body
        if not isinstance(body, dict) or not isinstance(body.get(self.rows), list):
            return b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        rows = b",".join(self._row(row) for row in body[self.rows])
        rest = orjson.dumps({name: value for name, value in body.items() if name != self.rows})
        return b'{"%s":[%s]%s' % (self.rows.encode(), rows, b"," + rest[1:] if len(rest) > 2 else b"}")

    def _row(self, row: dict[str, Any]) -> bytes:
        if str(row.get("id")) not in self.spoilt:
            return orjson.dumps(row)
        kind, text = self.spoilt[str(row["id"])]
        if kind.field == WHOLE:
            return text
        place = row if kind.field in row or "properties" not in row else row["properties"]
        return orjson.dumps({**row, kind.field: "@@"} if place is row else {
            **row, "properties": {**row["properties"], kind.field: "@@"}
        }).replace(b'"@@"', text)  # fmt: skip

    def of(self, *fields: str) -> list[str]:
        return [one for one, (kind, _) in self.spoilt.items() if kind.field in fields]

    @property
    def in_quarantine(self) -> int:
        """Each row once; rows that are no objects are one where they say the same."""
        without_body = {text for kind, text in self.spoilt.values() if kind.field == WHOLE}
        return len(self.spoilt) - len(self.of(WHOLE)) + len(without_body)


@pytest.fixture
def settings(vendors: Vendors, make_settings: Callable[..., Settings]) -> Iterator[Settings]:
    return make_settings(**vendors.settings())


@pytest.fixture(params=["crm", "support"])
def spoiler(request: pytest.FixtureRequest, vendors: Vendors, monkeypatch: pytest.MonkeyPatch) -> Spoiler:
    """Every second row of the table is spoilt."""
    numbers = range(1, 2 * SPOILT + 1)
    if request.param == "crm":
        spoiler = Spoiler("results", CRM, [str(n) for n in numbers[::2]])
        given = {"sms_consent": "true", "do_not_contact": "false", "phone": "+233"}
        vendors.lender.rows["crm_contacts"] = [contact(n, email=f"p{n}@mail.example", **given) for n in numbers]
    else:
        spoiler = Spoiler("tickets", SUPPORT, [str(n) for n in numbers[::2]])
        vendors.lender.rows["support_tickets"] = [ticket(n, description=f"words {n}") for n in numbers]
    monkeypatch.setattr(Reply, "content", lambda reply: spoiler.content(reply))
    return spoiler


def test_a_thousand_malformed_rows_cost_nobody_else_and_fail_closed(
    spoiler: Spoiler, vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    source, table, kinds = ("crm", "contacts", CRM) if spoiler.rows == "results" else ("support", "tickets", SUPPORT)
    report = load_source(source, settings, clock)  # type: ignore[arg-type]
    out = len(spoiler.of("id", WHOLE))
    assert (report.new, report.quarantined) == (2 * SPOILT - out, spoiler.in_quarantine)
    entries = {one["key"]: one for one in quarantine.waiting(settings.home, source, table).to_pylist() if one["key"]}
    found = {str(row[0]): dict(zip(("id", *names), row, strict=True)) for names in [sorted({k.column for k in kinds} - {"id"})]
             for row in warehouse.rows(f"SELECT id, {', '.join(names)} FROM raw_{source}.{table}")}  # fmt: skip
    for one, (kind, text) in spoiler.spoilt.items():
        if kind.column == "id":
            assert one not in found
            continue
        assert found[one][kind.column] is kind.held, (kind, text, found[one])
        column = "tags" if kind.field == "tags" else kind.column
        assert column in entries[one]["column"], (kind, text)
        assert entries[one]["reason"].startswith(f"wrong type: {column} does not hold a valid ")
    good = set(found) - set(spoiler.spoilt)
    assert len(good) == SPOILT
    closing = "do_not_contact" if source == "crm" else "is_dispute"
    assert not any(found[one][closing] for one in good)
    again = load_source(source, settings, clock)  # type: ignore[arg-type]
    assert (again.changed, again.quarantined) == (False, 0)


def test_mended_rows_come_back_whole(
    spoiler: Spoiler, vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    source, table = ("crm", "contacts") if spoiler.rows == "results" else ("support", "tickets")
    load_source(source, settings, clock)  # type: ignore[arg-type]
    field, column, value = {
        "crm": ("date_of_birth", "date_of_birth", "1990-02-28"),
        "support": ("tags", "tags", '["dispute"]'),
    }[source]
    mended = spoiler.of(field)
    for path in quarantine.folder(settings.home, source, table).glob("*.parquet"):
        rows = pq.read_table(path)
        texts = [
            json.dumps({**json.loads(one["raw_text"]), column: value})
            if one["key"] in mended and one["column"] == column
            else one["raw_text"]
            for one in rows.to_pylist()
        ]
        pq.write_table(rows.set_column(rows.column_names.index("raw_text"), "raw_text", pa.array(texts)), path)
    report = replay_quarantine(source, settings, clock)  # type: ignore[arg-type]
    assert report.rows_changed == len(mended)
    held = dict(warehouse.rows(f"SELECT CAST(id AS VARCHAR), CAST({column} AS VARCHAR) FROM raw_{source}.{table}"))
    assert {held[one] for one in mended} == {value}
    assert load_source(source, settings, clock).rows_changed == 0  # type: ignore[arg-type]


def test_a_note_of_five_megabytes_arrives_whole(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    note = "é" * 2_500_000
    vendors.lender.columns["crm_contacts"].append("note")
    vendors.lender.rows["crm_contacts"] = [contact(1, note=note), contact(2)]
    assert load_source("crm", settings, clock).quarantined == 0
    assert warehouse.one("SELECT length(note) FROM raw_crm.contacts WHERE id = '1'") == len(note)


@pytest.mark.parametrize(
    "answer", [b"{", b"<html>", b'{"results":[{"id":"1"}', b'{"results":[{"id":"1]}', b"", b"\xff"]
)
def test_an_answer_that_is_no_json_at_all_is_an_error_and_no_quarantine(
    answer: bytes,
    vendors: Vendors,
    settings: Settings,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingestion.http, "ATTEMPTS", 1)
    monkeypatch.setattr(Reply, "content", lambda reply: answer)
    with pytest.raises(TransientError, match="no JSON"):
        load_source("crm", settings, clock)
    assert quarantine.waiting(settings.home, "crm", "contacts").num_rows == 0


def test_what_is_proper_is_read_as_it_is_whatever_its_neighbour_does() -> None:
    text = b'{"results":[{"id":"1","t":"a\\"],[{:\\u00e9"}, {"id":"2","t":' + DEEP[1] + b'},{"id":"3",},"x"],"total":4}'
    body = read_answer(text, "results")
    assert body["total"] == 4
    first, deep, broken, word = body["results"]
    assert first == {"id": "1", "t": 'a"],[{:é'}
    assert deep["id"] == "2"
    assert "nested too deep" in json.dumps(deep)
    assert isinstance(broken, Unread)
    assert word == "x"
    assert read_answer(b'{"a": 1 , "a": 1, "b": [":-)", "x\\":"]}') == {"a": 1, "b": [":-)", 'x":']}
    with duckdb.connect() as connection:
        assert connection.execute("SELECT json_valid(?)", ["[" * 900 + "]" * 900]).fetchone() == (True,)
