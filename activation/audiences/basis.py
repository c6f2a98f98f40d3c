"""What a selection rests on, so that one whose every ground stands is taken as it was, and not made again.

Belongs here: naming the grounds, keeping and recognising them. Not here: selecting.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import duckdb

from activation.audiences.definition import Audience
from activation.audiences.readers import Stamp, business_dates, has_table, market_zones
from lendloop.clock import Clock
from lendloop.settings import Settings


def basis_of(
    connection: duckdb.DuckDBPyConnection,
    audience: Audience,
    settings: Settings,
    clock: Clock,
    *,
    stamp: Stamp,
    freshness: Mapping[str, str],
    rules: object,
) -> str:
    """A digest of everything that decides who is desired and with which payload, but the validity of links.

    The catalogue's files, the definition, the key, how fresh each source is, what the audience remembers, and the
    clock as far as SQL or offer look at it. `rules` is whatever of the code's own constants takes part.
    """
    dated = audience.offer is not None or "business_dates" in audience.query.parameters
    memory = connection.execute(
        "select (select count(*) from state.engagement), (select count(left_as_of) from state.engagement),"
        " (select count(*) from state.quote), (select count(*) from state.arm)"
    ).fetchone()
    grounds = {
        "rules": rules,
        "definition": audience.model_dump_json(),
        "sql": audience.query.sql,
        "key": hashlib.sha256(settings.identifier_key()).hexdigest(),
        "catalogue": stamp,
        "freshness": dict(freshness),
        "memory": memory,
        "dates": {k: str(v) for k, v in business_dates(clock, market_zones(connection)).items()} if dated else None,
        "as_of": clock.as_of.isoformat() if "as_of" in audience.query.parameters else None,
    }
    return hashlib.sha256(json.dumps(grounds, sort_keys=True).encode()).hexdigest()


def keep_selection(
    connection: duckdb.DuckDBPyConnection,
    clock: Clock,
    basis: str,
    *,
    candidates: int,
    desired: int,
    held_back: Mapping[str, int],
    notes: list[str],
) -> None:
    """Remember what was found on these grounds, until the first link that was valid ends."""
    until = None
    if has_table(connection, "published", "trusted", "map_customer_source"):
        [(until,)] = connection.execute(
            "select min(cast(valid_to as timestamptz)) from published.trusted.map_customer_source"
            " where cast(valid_to as timestamptz) > $as_of",
            {"as_of": clock.as_of},
        ).fetchall()
    connection.execute(
        "insert into state.selection values (?, ?, ?, ?, ?, ?, ?)",
        [basis, clock.as_of, until, candidates, desired, json.dumps(dict(held_back)), json.dumps(notes)],
    )


def kept_selection(
    connection: duckdb.DuckDBPyConnection, clock: Clock, basis: str
) -> tuple[int, int, dict[str, int], list[str]] | None:
    """Candidates, desired, held back and notes of the frozen selection, when it rests on these very grounds."""
    row = connection.execute(
        "select candidates, desired, held_back, notes from state.selection"
        " where basis = $basis and as_of <= $as_of and (until is null or until > $as_of)",
        {"basis": basis, "as_of": clock.as_of},
    ).fetchone()
    return (row[0], row[1], json.loads(row[2]), json.loads(row[3])) if row else None
