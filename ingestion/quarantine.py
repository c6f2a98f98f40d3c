"""Rows that the contract refused, kept as Parquet until somebody mends them.

`<home>/quarantine/<source>/<table>/<load id>.parquet`, one file a load, written once and atomically;
`replayed/<load id>.parquet` beside them says which were taken in later. The id of a row follows from
its content, so that reading it again does not double it.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ingestion.contract import literal
from lendloop.home import Home

COLUMNS = ("quarantine_id", "source", "table", "key", "reason", "column", "load_id", "quarantined_at", "raw_text")

_WITHOUT_NULLS = """regexp_replace(raw_text, '"[^"]+":null,?', '', 'g')"""
"""A column that appears without a value makes no other row."""


def folder(home: Home, source: str, table: str) -> Path:
    """Where the refused rows of a table lie."""
    return home.quarantine / source / table


def _connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    connection.execute("SET timezone = 'UTC'")
    return connection


def store(home: Home, source: str, table: str, bad: pa.Table, *, load_id: str, quarantined_at: datetime) -> int:
    """Keep the rows of `bad` (key, reason, fault, raw_text) that are not kept yet; returns how many were new."""
    if not bad.num_rows:
        return 0
    place = folder(home, source, table)
    with _connect() as connection:
        connection.register("bad", bad)
        known = (
            f"SELECT quarantine_id FROM read_parquet({literal(str(place / '*.parquet'))})"
            if any(place.glob("*.parquet"))
            else "SELECT '' AS quarantine_id"
        )
        rows = connection.sql(
            f"""SELECT * FROM (SELECT DISTINCT
                    md5(concat_ws(chr(31), ?, ?, key, reason, {_WITHOUT_NULLS})) AS quarantine_id, ? AS source, ? AS "table",
                    key, reason, fault AS "column", ? AS load_id, CAST(? AS TIMESTAMPTZ) AS quarantined_at, raw_text FROM bad)
                WHERE quarantine_id NOT IN ({known}) ORDER BY quarantine_id""",
            params=[source, table, source, table, load_id, quarantined_at],
        ).to_arrow_table()
    if rows.num_rows:
        _write(place / f"{load_id}.parquet", rows)
    return int(rows.num_rows)


def waiting(home: Home, source: str, table: str) -> pa.Table:
    """The refused rows of a table that were not replayed yet, oldest first; empty where there are none."""
    place = folder(home, source, table)
    if not any(place.glob("*.parquet")):
        return pa.table({name: pa.array([], pa.string()) for name in COLUMNS})
    replayed = (
        f"SELECT quarantine_id FROM read_parquet({literal(str(place / 'replayed' / '*.parquet'))})"
        if any((place / "replayed").glob("*.parquet"))
        else "SELECT '' AS quarantine_id"
    )
    with _connect() as connection:
        return connection.sql(
            f"SELECT * FROM read_parquet({literal(str(place / '*.parquet'))}, union_by_name = true) "
            f"WHERE quarantine_id NOT IN ({replayed}) ORDER BY quarantined_at, quarantine_id"
        ).to_arrow_table()


def mark_replayed(
    home: Home, source: str, table: str, outcomes: dict[str, str], *, load_id: str, replayed_at: datetime
) -> None:
    """Say of each quarantine id that it was `loaded` or `superseded` by a newer row."""
    if outcomes:
        rows = pa.table(
            {
                "quarantine_id": list(outcomes),
                "outcome": list(outcomes.values()),
                "load_id": [load_id] * len(outcomes),
                "replayed_at": pa.array([replayed_at] * len(outcomes), pa.timestamp("us", "UTC")),
            }
        )
        _write(folder(home, source, table) / "replayed" / f"{load_id}.parquet", rows)


def _write(path: Path, rows: pa.Table) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    pq.write_table(rows, draft)
    draft.chmod(0o600)
    os.replace(draft, path)
