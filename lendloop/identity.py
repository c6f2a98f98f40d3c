"""What people decide about who is who, and the questions they are asked.

What belongs here: the log of decisions, the review queue and the merges and splits as the last build left them, and what
undoing one decides. What does not: how records are joined (dbt_project/models/gray/identity).

A record is `source:id` (`crm:101`), a pair two of them with a comma between, in the order of text.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

import duckdb
from pydantic import BaseModel, Field

from lendloop.errors import ConfigurationError
from lendloop.formats import read_json, write_json
from lendloop.home import Home
from lendloop.locks import file_lock
from lendloop.settings import Settings
from lendloop.warehouse import open_warehouse

Verdict = Literal["same", "different", "open"]
"""One person, two people, or nothing any more."""


class Decision(BaseModel):
    """What somebody decided of a pair of records, `one` before `other`; `decided_at` is the wall clock's."""

    one: str
    other: str
    verdict: Verdict
    decided_by: str
    because: str
    decided_at: datetime


class DecisionLog(BaseModel):
    """Every decision in the order they were taken; the last one of a pair holds. Nothing is ever removed."""

    format: int = 1
    decisions: list[Decision] = Field(default_factory=list)


class Question(BaseModel):
    """A pair that waits for a decision; what is shown of its records is masked."""

    pair: str
    probability: Decimal
    because: str
    one_shown: str
    other_shown: str


class Event(BaseModel):
    """Records that went from one person to another: a `merge` when nothing was left of the first, else a `split`."""

    event: str
    kind: Literal["merge", "split"]
    happened_on: date
    from_person: str
    to_person: str
    records: list[str]


def read_decisions(home: Home) -> list[Decision]:
    """The log, oldest first. Raises ConfigurationError for a newer file."""
    return read_json(home.decisions, DecisionLog).decisions if home.decisions.exists() else []


RAW_COLUMNS = {
    "number": "integer",
    "one": "varchar",
    "other": "varchar",
    "verdict": "varchar",
    "decided_by": "varchar",
    "because": "varchar",
    "decided_at": "timestamptz",
}
"""The columns of `raw_identity.decision`: a decision, behind its place in the log."""


def write_raw_decisions(connection: duckdb.DuckDBPyConnection, home: Home) -> None:
    """Bring the log into raw, whole. The caller holds the warehouse's lock."""
    connection.execute("create schema if not exists raw_identity")
    columns = ", ".join(f"{name} {kind}" for name, kind in RAW_COLUMNS.items())
    connection.execute(f"create or replace table raw_identity.decision ({columns})")
    for number, decision in enumerate(read_decisions(home), start=1):
        connection.execute(
            "insert into raw_identity.decision values (?, ?, ?, ?, ?, ?, ?)", [number, *decision.model_dump().values()]
        )


def review(settings: Settings) -> list[Question]:
    """The pairs that wait, the surest first. Empty before the first build."""
    rows = _rows(
        settings,
        "select pair, probability, because, one_shown, other_shown from gray.int_identity_review order by probability desc, pair",
    )
    names = ("pair", "probability", "because", "one_shown", "other_shown")
    return [Question.model_validate(dict(zip(names, row, strict=True))) for row in rows]


def events(settings: Settings) -> list[Event]:
    """Merges and splits, the latest first. Empty before the first build."""
    rows = _rows(
        settings,
        "select event, kind, happened_on, from_person, to_person, string_split(records, ',') from gray.int_identity_event"
        " order by happened_on desc, event",
    )
    return [Event.model_validate(dict(zip(Event.model_fields, row, strict=True))) for row in rows]


def decide(settings: Settings, pair: str, verdict: Verdict, *, by: str, because: str) -> Decision:
    """Write down that a pair is one person or two; the next build follows.

    Raises ConfigurationError for a pair that is none, records that are unknown, or a decision without name or reason.
    """
    one, comma, other = pair.partition(",")
    if not comma or one == other:
        raise ConfigurationError(f"{pair!r} is no pair of records: give two, such as crm:101,ledger:7")
    known = {
        record
        for (record,) in _rows(
            settings, "select record_key from gray.int_identity_record where record_key in (?, ?)", one, other
        )
    }
    if unknown := sorted({one, other} - known):
        raise ConfigurationError(
            f"no record {' and no record '.join(unknown)}: the review queue lists pairs as they are given here"
        )
    [decision] = _append(settings.home, [(one, other)], verdict, by=by, because=because)
    return decision


def undo(settings: Settings, event: str, *, by: str, because: str) -> list[Decision]:
    """Take a merge or a split back by decisions; the next build follows, and people have the keys they had before.

    What was merged is decided to be different from all it was merged with; what was split off, the same as what it was
    split from. `event` may be cut short as long as it names one. Raises ConfigurationError when it does not.
    """
    found = [one for one in events(settings) if event and one.event.startswith(event)]
    if len(found) != 1:
        raise ConfigurationError(f"{len(found)} events begin with {event!r}: `lendloop identity events` lists them")
    moved = found[0]
    people = dict(
        _rows(
            settings,
            "select record_key, person_key from gray.int_person_record where person_key in (?, ?)",
            moved.from_person,
            moved.to_person,
        )
    )
    from_there = {
        record
        for (record,) in _rows(
            settings,
            "select distinct source || ':' || source_id from trusted.map_customer_source where person_key = ? and valid_to is not null",
            moved.from_person,
        )
    }
    records = sorted(from_there & {record for record, person in people.items() if person == moved.to_person})
    company = moved.to_person if moved.kind == "merge" else moved.from_person
    others = sorted(record for record, person in people.items() if person == company and record not in records)
    if not records or not others:
        raise ConfigurationError(f"{moved.kind} {moved.event} can't be undone any more: its records have moved on")
    pairs = [(record, other) for record in records for other in others]
    verdict: Verdict = "different" if moved.kind == "merge" else "same"
    return _append(settings.home, pairs, verdict, by=by, because=f"{because} (undo of {moved.kind} {moved.event})")


def _rows(settings: Settings, query: str, *values: object) -> list[tuple[Any, ...]]:
    if not settings.home.warehouse.exists():
        return []
    with open_warehouse(settings.home, "identity", settings.lock_timeout_s) as connection:
        try:
            return connection.execute(query, values).fetchall()
        except duckdb.CatalogException:
            return []


def _append(home: Home, pairs: Iterable[tuple[str, str]], verdict: Verdict, *, by: str, because: str) -> list[Decision]:
    if not by.strip() or not because.strip():
        raise ConfigurationError("a decision needs who took it (--by) and why (--because)")
    now = datetime.now(UTC)
    taken = [
        Decision(
            one=min(pair),
            other=max(pair),
            verdict=verdict,
            decided_by=by.strip(),
            because=because.strip(),
            decided_at=now,
        )
        for pair in pairs
    ]
    home.prepare()
    with file_lock(home.locks / "decisions.lock", "writing decisions", 60):
        log = DecisionLog(decisions=[*read_decisions(home), *taken])
        write_json(home.decisions, log, mode=0o600)
    return taken
