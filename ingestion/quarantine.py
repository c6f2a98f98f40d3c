"""Rows with values that the contract refused, kept as Parquet until somebody mends them.

`<home>/quarantine/<source>/<table>/<load id>.parquet`, one file a load, written once and atomically;
`replayed/<load id>.parquet` beside them says which were taken in later, or came mended from the source. The id of a
row follows from its content, so that reading it again does not double it.
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


def identity(source: str, table: str) -> str:
    """SQL of a row's id, from its `_key`, `_reason` and `_raw`; a column that appears without a value makes no other."""
    without_nulls = """regexp_replace(_raw, '"[^"]+":null,?', '', 'g')"""
    return f"md5(concat_ws(chr(31), {literal(source)}, {literal(table)}, _key, _reason, {without_nulls}))"


def folder(home: Home, source: str, table: str) -> Path:
    """Where the refused rows of a table lie."""
    return home.quarantine / source / table


def _connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    connection.execute("SET timezone = 'UTC'")
    return connection


def store(home: Home, source: str, table: str, bad: pa.Table, *, load_id: str, quarantined_at: datetime) -> int:
    """Keep the rows of `bad` (_key, _reason, _fault, _raw) that are not kept yet; returns how many were new."""
    if not bad.num_rows:
        return 0
    place = folder(home, source, table)
    with _connect() as connection:
        connection.register("bad", bad)
        known = f"SELECT quarantine_id FROM ({_entries(place, over='superseded')})"
        rows = connection.sql(
            f"""SELECT * FROM (SELECT DISTINCT
                    {identity(source, table)} AS quarantine_id, ? AS source, ? AS "table", _key AS key, _reason AS reason,
                    _fault AS "column", ? AS load_id, CAST(? AS TIMESTAMPTZ) AS quarantined_at, _raw AS raw_text FROM bad)
                WHERE quarantine_id NOT IN ({known}) ORDER BY quarantine_id""",
            params=[source, table, load_id, quarantined_at],
        ).to_arrow_table()
    if rows.num_rows:
        _write(place / f"{load_id}.parquet", rows)
    return int(rows.num_rows)


def waiting(home: Home, source: str, table: str) -> pa.Table:
    """The rows of a table in quarantine that were not taken in yet, oldest first; empty where there are none."""
    place = folder(home, source, table)
    if not any(place.glob("*.parquet")):
        return pa.table({name: pa.array([], pa.string()) for name in COLUMNS})
    with _connect() as connection:
        return connection.sql(f"{_entries(place)} ORDER BY quarantined_at, quarantine_id").to_arrow_table()


def _entries(place: Path, over: str = "") -> str:
    """A query of the entries of a folder that are not over: loaded, or superseded since they came; or only the latter."""
    if not any(place.glob("*.parquet")):
        return "SELECT '' AS quarantine_id"
    entries = f"SELECT * FROM read_parquet({literal(str(place / '*.parquet'))}, union_by_name = true) AS entry"
    if not any((place / "replayed").glob("*.parquet")):
        return entries
    ways = {"loaded": "true", "superseded": "replayed.replayed_at >= entry.quarantined_at"}
    ended = " OR ".join(
        f"(replayed.outcome = {literal(way)} AND {since})" for way, since in ways.items() if over in ("", way)
    )
    return (
        f"{entries} WHERE NOT EXISTS (SELECT 1 FROM read_parquet({literal(str(place / 'replayed' / '*.parquet'))},"
        f" union_by_name = true) AS replayed WHERE replayed.quarantine_id = entry.quarantine_id AND ({ended}))"
    )


def mended(home: Home, source: str, table: str) -> pa.Table:
    """The rows that were replayed and loaded: `quarantine_id`, and the `_row_hash` they got in raw."""
    files = [pq.read_table(path) for path in sorted((folder(home, source, table) / "replayed").glob("*.parquet"))]
    loaded = {
        entry: row_hash
        for rows in files
        if "row_hash" in rows.column_names
        for entry, row_hash in zip(
            *(rows.column(name).to_pylist() for name in ("quarantine_id", "row_hash")), strict=True
        )
        if row_hash is not None
    }
    return pa.table(
        {
            "quarantine_id": pa.array(list(loaded), pa.string()),
            "row_hash": pa.array(list(loaded.values()), pa.string()),
        }
    )


def mark_replayed(
    home: Home, source: str, table: str, outcomes: dict[str, str | None], *, load_id: str, replayed_at: datetime
) -> None:
    """Say of each quarantine id that it was `loaded`, with the `_row_hash` that raw has now, or `superseded` (None)."""
    if outcomes:
        rows = pa.table(
            {
                "quarantine_id": list(outcomes),
                "outcome": ["superseded" if row_hash is None else "loaded" for row_hash in outcomes.values()],
                "row_hash": pa.array(list(outcomes.values()), pa.string()),
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
