"""The raw schemas in the warehouse: making them, and reading what they hold.

What belongs here: SQL on raw tables, on a connection that the caller opened under the lock.
What does not: sources, and writing rows (that is the loader's).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from ingestion.contract import LOAD_COLUMNS, SQL_TYPES, quoted, type_of_sql, weight
from ingestion.tables import TABLES, TECHNICAL_COLUMNS, ColumnType, RawTable
from lendloop.settings import Settings
from lendloop.warehouse import open_warehouse

if TYPE_CHECKING:
    import duckdb

FUTURE_TOLERANCE = timedelta(days=1)
"""A cursor further ahead of the clock than this is a mistake in the source and does not move the window."""


@dataclass(frozen=True)
class TableState:
    """What raw holds of a table: where its cursor stands, live rows, columns beyond the declared ones.

    `live_weight` sums `ingestion.contract.weight` over the live rows, to compare with the source's.
    `floor` is the cursor from which to read again (None: from the start). `known` has the key
    columns, `_row_hash` and `is_deleted` of the rows that will be read again.
    """

    floor: datetime | int | None
    live: int
    live_weight: int
    total: int
    extra_columns: dict[str, ColumnType]
    last_loaded_at: datetime | None
    known: pa.Table = field(repr=False)


def prepare_raw(settings: Settings) -> None:
    """Create every declared schema, table and column of raw, also of sources that are not configured. Idempotent."""
    settings.home.prepare()
    with open_warehouse(settings.home, "prepare raw", settings.lock_timeout_s) as connection:
        create_tables(connection)


def create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """The work of `prepare_raw` on an open connection."""
    existing: dict[str, set[str]] = {}
    for schema, table, column in connection.execute(
        "SELECT schema_name, table_name, column_name FROM duckdb_columns() WHERE schema_name LIKE 'raw_%'"
    ).fetchall():
        existing.setdefault(f"{schema}.{table}", set()).add(column)
    for tables in TABLES.values():
        for table in tables:
            _create_table(connection, table, existing.get(f"{table.schema}.{table.name}"))


def _create_table(connection: duckdb.DuckDBPyConnection, table: RawTable, existing: set[str] | None) -> None:
    columns = {name: SQL_TYPES[kind] for name, kind in {**table.columns, **TECHNICAL_COLUMNS}.items()}
    columns |= dict.fromkeys(LOAD_COLUMNS, "VARCHAR")
    if existing is None:
        body = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {table.schema}")
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table.schema}.{table.name} ({body})")
        return
    for name, kind in columns.items():
        if name not in existing:
            connection.execute(
                f"ALTER TABLE {table.schema}.{table.name} ADD COLUMN IF NOT EXISTS {quoted(name)} {kind}"
            )


def read_table_state(
    connection: duckdb.DuckDBPyConnection, table: RawTable, *, as_of: datetime, lag_minutes: int, whole: bool
) -> TableState:
    """The state of one raw table; with `whole`, every row counts as read again."""
    name = f"{table.schema}.{table.name}"
    extra = {
        column: type_of_sql(kind)
        for column, kind in connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = ? AND table_name = ?",
            [table.schema, table.name],
        ).fetchall()
        if column not in table.columns and column not in TECHNICAL_COLUMNS and column not in LOAD_COLUMNS
    }
    total, live, live_weight, last_loaded_at = connection.execute(
        f"SELECT count(*), count(*) FILTER (_deleted_at IS NULL), "
        f"coalesce(sum({weight(table)}) FILTER (_deleted_at IS NULL), 0), max(_loaded_at) FROM {name}"
    ).fetchall()[0]
    floor = None if whole else _floor(connection, table, as_of, lag_minutes)
    keys = ", ".join(quoted(key) for key in table.key)
    condition, values = "true", []
    if floor is not None:
        condition, values = f"({quoted(str(table.cursor))} >= ? OR {quoted(str(table.cursor))} IS NULL)", [floor]
        if table.source == "crm":
            condition = f"({condition} OR _deleted_at IS NOT NULL)"
    known = connection.sql(
        f"SELECT {keys}, _row_hash, _deleted_at IS NOT NULL AS is_deleted FROM {name} WHERE {condition}", params=values
    ).to_arrow_table()
    return TableState(floor, int(live), int(live_weight), int(total), extra, last_loaded_at, known)


def _floor(
    connection: duckdb.DuckDBPyConnection, table: RawTable, as_of: datetime, lag_minutes: int
) -> datetime | int | None:
    if table.cursor is None:
        return None
    ahead = as_of + FUTURE_TOLERANCE
    is_time = table.columns[table.cursor] == "timestamp"
    [(top,)] = connection.execute(
        f"SELECT max({quoted(table.cursor)}) FROM {table.schema}.{table.name} WHERE {quoted(table.cursor)} <= ?",
        [ahead if is_time else int(ahead.timestamp())],
    ).fetchall()
    if top is None:
        return None
    # a source whose clock was ahead stamps later rows lower once it is right again
    if isinstance(top, datetime):
        return (min(top, as_of) - timedelta(minutes=lag_minutes)).replace(microsecond=0)
    return min(int(top), int(as_of.timestamp())) - lag_minutes * 60


def classify(connection: duckdb.DuckDBPyConnection, table: RawTable, candidates: pa.Table) -> pa.Table:
    """What raw has of each candidate (key columns, `_row_hash`, `is_deleted`, `_mended`): the key columns and `was`.

    `was` is new, same (also what a replay made of the row, `_mended`), live (other content, raw has it live) or gone
    (raw has it as deleted).
    """
    connection.register("candidates", candidates)
    same_key = " AND ".join(f"raw.{quoted(key)} = candidates.{quoted(key)}" for key in table.key)
    result = connection.sql(
        f"""SELECT {", ".join(f"candidates.{quoted(key)}" for key in table.key)},
            CASE WHEN raw._row_hash IS NULL THEN 'new'
                 WHEN (raw._row_hash = candidates._row_hash OR raw._row_hash = candidates._mended)
                      AND (raw._deleted_at IS NOT NULL) = candidates.is_deleted THEN 'same'
                 WHEN raw._deleted_at IS NULL THEN 'live' ELSE 'gone' END AS was
        FROM candidates LEFT JOIN {table.schema}.{table.name} AS raw ON {same_key}"""
    ).to_arrow_table()
    connection.unregister("candidates")
    return result


def rows_not_in(connection: duckdb.DuckDBPyConnection, table: RawTable, seen: pa.Table) -> pa.Table:
    """The live raw rows whose key is not among `seen`, with every column but the loader's."""
    connection.register("seen", seen)
    same_key = " AND ".join(f"raw.{quoted(key)} = seen.{quoted(key)}" for key in table.key)
    rows = connection.sql(
        f"SELECT * EXCLUDE ({', '.join(LOAD_COLUMNS)}) FROM {table.schema}.{table.name} AS raw "
        f"WHERE _deleted_at IS NULL AND NOT EXISTS (SELECT 1 FROM seen WHERE {same_key})"
    ).to_arrow_table()
    connection.unregister("seen")
    return rows


def keys_not_live(connection: duckdb.DuckDBPyConnection, table: RawTable, seen: pa.Table) -> pa.Table:
    """The keys among `seen` that raw does not hold live."""
    connection.register("seen", seen)
    same_key = " AND ".join(f"raw.{quoted(key)} = seen.{quoted(key)}" for key in table.key)
    keys = connection.sql(
        f"SELECT * FROM seen WHERE NOT EXISTS (SELECT 1 FROM {table.schema}.{table.name} AS raw "
        f"WHERE raw._deleted_at IS NULL AND {same_key})"
    ).to_arrow_table()
    connection.unregister("seen")
    return keys
