"""The raw schemas in the warehouse: making them, reading what they hold, merging a file of rows into a table.

What belongs here: SQL on raw tables, on a connection that the caller opened under the lock.
What does not: sources, and when rows are written (that is the loader's).

What is exchanged with a load's scratch goes through Parquet files, so that no table is ever in memory as a whole.
`_totals` of each raw schema says what its tables hold; it is written in the transaction that writes the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion.contract import LOAD_COLUMNS, SQL_TYPES, literal, quoted, type_of_sql, weight
from ingestion.tables import TABLES, TECHNICAL_COLUMNS, ColumnType, RawTable
from lendloop.settings import Settings
from lendloop.warehouse import open_warehouse

if TYPE_CHECKING:
    import duckdb

FUTURE_TOLERANCE = timedelta(days=1)
"""A cursor further ahead of the clock than this is a mistake in the source and does not move the window."""
MEMORY_LIMIT = "3GB"
"""Of each DuckDB that a load opens; beyond it they spill beside their file."""

_TOTALS = (
    "table_name VARCHAR, rows BIGINT, live BIGINT, live_weight HUGEINT, top_cursor BIGINT, "
    "last_loaded_at TIMESTAMP WITH TIME ZONE, load_id VARCHAR"
)


@dataclass(frozen=True)
class TableState:
    """What raw holds of a table: where its cursor stands, live rows, columns beyond the declared ones.

    `live_weight` sums `ingestion.contract.weight` over the live rows, to compare with the source's.
    `floor` is the cursor from which to read again (None: from the start). `known` is a Parquet file with
    the key columns, `_row_hash` and `is_deleted` of the rows that will be read again; None where there are none.
    """

    floor: datetime | int | None
    live: int
    live_weight: int
    total: int
    extra_columns: dict[str, ColumnType]
    last_loaded_at: datetime | None
    known: Path | None


@dataclass(frozen=True)
class _Totals:
    rows: int
    live: int
    live_weight: int
    top_cursor: int | None
    last_loaded_at: datetime | None
    load_id: str | None


def prepare_raw(settings: Settings) -> None:
    """Create every declared schema, table and column of raw, also of sources that are not configured. Idempotent."""
    settings.home.prepare()
    with open_warehouse(settings.home, "prepare raw", settings.lock_timeout_s) as connection:
        create_tables(connection)


def create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """The work of `prepare_raw` on an open connection."""
    connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
    existing: dict[str, set[str]] = {}
    for schema, table, column in connection.execute(
        "SELECT schema_name, table_name, column_name FROM duckdb_columns() WHERE schema_name LIKE 'raw_%'"
    ).fetchall():
        existing.setdefault(f"{schema}.{table}", set()).add(column)
    for tables in TABLES.values():
        for table in tables:
            _create_table(connection, table, existing.get(f"{table.schema}.{table.name}"))
        if f"{tables[0].schema}._totals" not in existing:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {tables[0].schema}._totals ({_TOTALS})")


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


def _name(table: RawTable) -> str:
    return f"{table.schema}.{table.name}"


def _same_key(table: RawTable, left: str, right: str) -> str:
    return " AND ".join(f"{left}.{quoted(key)} = {right}.{quoted(key)}" for key in table.key)


def _file(path: Path) -> str:
    return f"read_parquet({literal(str(path))})"


def read_table_state(
    connection: duckdb.DuckDBPyConnection,
    table: RawTable,
    folder: Path,
    *,
    as_of: datetime,
    lag_minutes: int,
    whole: bool,
    recount: bool = False,
) -> TableState:
    """The state of one raw table; with `whole`, every row counts as read again. `known` is written to `folder`.

    With `recount` the totals are not believed but counted, and mended where they are wrong.
    """
    extra = {
        column: type_of_sql(kind)
        for column, kind in connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = ? AND table_name = ?",
            [table.schema, table.name],
        ).fetchall()
        if column not in table.columns and column not in TECHNICAL_COLUMNS and column not in LOAD_COLUMNS
    }
    totals = _totals(connection, table, as_of, recount=recount)
    floor = None if whole else _floor(connection, table, totals, as_of, lag_minutes)
    known = None
    if totals.rows:
        condition = "true"
        if floor is not None:
            cursor = quoted(str(table.cursor))
            moment = f"TIMESTAMPTZ {literal(floor.isoformat())}" if isinstance(floor, datetime) else str(floor)
            condition = f"({cursor} >= {moment} OR {cursor} IS NULL)"
            if table.source == "crm":
                condition = f"({condition} OR _deleted_at IS NOT NULL)"
        known = folder / f"known_{table.name}.parquet"
        keys = ", ".join(quoted(key) for key in table.key)
        _write(
            connection,
            f"SELECT {keys}, _row_hash, _deleted_at IS NOT NULL AS is_deleted FROM {_name(table)} WHERE {condition}",
            known,
        )
    return TableState(floor, totals.live, totals.live_weight, totals.rows, extra, totals.last_loaded_at, known)


def holds(connection: duckdb.DuckDBPyConnection, table: RawTable, column: str | None = None) -> bool:
    """Whether any live row is there, or any that has a value in a column."""
    filled = f" AND {quoted(column)} IS NOT NULL" if column else ""
    found = connection.execute(f"SELECT 1 FROM {_name(table)} WHERE _deleted_at IS NULL{filled} LIMIT 1").fetchall()
    return bool(found)


def _write(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    [(rows,)] = connection.execute(f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet)").fetchall()
    return int(rows)


def _totals(connection: duckdb.DuckDBPyConnection, table: RawTable, as_of: datetime, *, recount: bool) -> _Totals:
    """What the table holds. Counted where nothing is written down, or where it can't be right."""
    found = connection.execute(
        f"SELECT * EXCLUDE (table_name) FROM {table.schema}._totals WHERE table_name = ?", [table.name]
    ).fetchall()
    [(rows,)] = connection.execute(f"SELECT count(*) FROM {_name(table)}").fetchall()
    kept = _Totals(*found[0]) if len(found) == 1 else None
    if kept is not None and kept.rows == rows and not recount:
        return kept
    if not rows and kept is None:
        return _Totals(0, 0, 0, None, None, None)
    counted = _count(connection, table, _name(table), as_of, kept.load_id if kept else None)
    if counted != kept:
        _keep_totals(connection, table, counted)
    return counted


def _count(
    connection: duckdb.DuckDBPyConnection, table: RawTable, relation: str, as_of: datetime, load_id: str | None
) -> _Totals:
    top = "CAST(NULL AS BIGINT)"
    if table.cursor is not None:
        cursor, ahead = quoted(table.cursor), as_of + FUTURE_TOLERANCE
        number = f"epoch_us({cursor})" if table.columns[table.cursor] == "timestamp" else cursor
        top = f"max({number}) FILTER ({number} <= {_as_number(table, ahead)})"
    [row] = connection.execute(
        f"SELECT count(*), count(*) FILTER (_deleted_at IS NULL), "
        f"coalesce(sum({weight(table)}) FILTER (_deleted_at IS NULL), 0), {top}, max(_loaded_at) FROM {relation}"
    ).fetchall()
    rows, live, live_weight, top_cursor, last_loaded_at = row
    return _Totals(rows, live, live_weight, top_cursor, last_loaded_at, load_id)


def _as_number(table: RawTable, moment: datetime) -> int:
    is_time = table.columns[str(table.cursor)] == "timestamp"
    return round(moment.timestamp() * 1_000_000) if is_time else int(moment.timestamp())


def _keep_totals(connection: duckdb.DuckDBPyConnection, table: RawTable, totals: _Totals) -> None:
    connection.execute(f"DELETE FROM {table.schema}._totals WHERE table_name = ?", [table.name])
    connection.execute(
        f"INSERT INTO {table.schema}._totals VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            table.name,
            totals.rows,
            totals.live,
            totals.live_weight,
            totals.top_cursor,
            totals.last_loaded_at,
            totals.load_id,
        ],
    )


def _floor(
    connection: duckdb.DuckDBPyConnection, table: RawTable, totals: _Totals, as_of: datetime, lag_minutes: int
) -> datetime | int | None:
    if table.cursor is None:
        return None
    top = totals.top_cursor
    if top is not None and top > _as_number(table, as_of + FUTURE_TOLERANCE):
        top = _count(connection, table, _name(table), as_of, None).top_cursor
    if top is None:
        return None
    # a source whose clock was ahead stamps later rows lower once it is right again
    top = min(top, _as_number(table, as_of))
    if table.columns[table.cursor] == "timestamp":
        return datetime.fromtimestamp(top // 1_000_000, UTC) - timedelta(minutes=lag_minutes)
    return top - lag_minutes * 60


def merge_file(
    connection: duckdb.DuckDBPyConnection,
    table: RawTable,
    file: Path,
    columns: list[str],
    *,
    load_id: str,
    loaded_at: datetime,
    as_of: datetime,
) -> None:
    """Write the rows of `file` (each key once) over those of the same key, and the totals; the caller holds a transaction.

    `columns` are those of the table that the file may have. Does nothing when this load wrote the table already, so
    that a load that was killed between its commit and its bookkeeping can be finished.
    """
    before = _totals(connection, table, as_of, recount=False)
    if before.load_id == load_id:
        return
    replaced = _Totals(0, 0, 0, None, None, None)
    if before.rows:
        held = f"{_name(table)} AS raw WHERE EXISTS (SELECT 1 FROM {_file(file)} AS new WHERE {_same_key(table, 'raw', 'new')})"
        replaced = _count(connection, table, held, as_of, None)
        if replaced.rows:
            connection.execute(f"DELETE FROM {held}")
    in_file = {str(row[0]) for row in connection.execute(f"DESCRIBE SELECT * FROM {_file(file)}").fetchall()}
    names = ", ".join(quoted(name) for name in columns if name in in_file)
    constants = {
        "_loaded_at": f"TIMESTAMPTZ {literal(loaded_at.isoformat())}",
        LOAD_COLUMNS[0]: literal(load_id),
    } | ({} if "_deleted_at" in in_file else {"_deleted_at": "CAST(NULL AS TIMESTAMPTZ)"})
    added = ", ".join(f"{value} AS {quoted(name)}" for name, value in constants.items())
    rows = f"(SELECT {names}, {added} FROM {_file(file)})"
    connection.execute(f"INSERT INTO {_name(table)} BY NAME SELECT * FROM {rows}")
    written = _count(connection, table, rows, as_of, None)
    tops = [top for top in (before.top_cursor, written.top_cursor) if top is not None]
    _keep_totals(
        connection,
        table,
        _Totals(
            before.rows - replaced.rows + written.rows,
            before.live - replaced.live + written.live,
            before.live_weight - replaced.live_weight + written.live_weight,
            max(tops, default=None),
            loaded_at,
            load_id,
        ),
    )


def classify(connection: duckdb.DuckDBPyConnection, table: RawTable, candidates: Path, verdicts: Path) -> None:
    """Say what raw has of each candidate (key columns, `_row_hash`, `is_deleted`, `_mended`): the key columns and `was`.

    `was` is same (also what a replay made of the row, `_mended`), live (other content, raw has it live) or gone
    (raw has it as deleted); a row that raw does not have is not mentioned.
    """
    keys = ", ".join(f"new.{quoted(key)}" for key in table.key)
    _write(
        connection,
        f"""SELECT {keys},
            CASE WHEN (raw._row_hash = new._row_hash OR raw._row_hash = new._mended)
                      AND (raw._deleted_at IS NOT NULL) = new.is_deleted THEN 'same'
                 WHEN raw._deleted_at IS NULL THEN 'live' ELSE 'gone' END AS was
        FROM {_file(candidates)} AS new JOIN {_name(table)} AS raw ON {_same_key(table, "raw", "new")}""",
        verdicts,
    )


def rows_not_in(connection: duckdb.DuckDBPyConnection, table: RawTable, seen: Path, gone: Path) -> int:
    """Write the live raw rows whose key is not among `seen`, with every column but the loader's; returns how many."""
    return _write(
        connection,
        f"SELECT * EXCLUDE ({', '.join(LOAD_COLUMNS)}) FROM {_name(table)} AS raw WHERE _deleted_at IS NULL "
        f"AND NOT EXISTS (SELECT 1 FROM {_file(seen)} AS seen WHERE {_same_key(table, 'raw', 'seen')})",
        gone,
    )


def keys_not_live(connection: duckdb.DuckDBPyConnection, table: RawTable, seen: Path, missing: Path) -> int:
    """Write the keys among `seen` that raw does not hold live; returns how many."""
    return _write(
        connection,
        f"SELECT * FROM {_file(seen)} AS seen WHERE NOT EXISTS (SELECT 1 FROM {_name(table)} AS raw "
        f"WHERE raw._deleted_at IS NULL AND {_same_key(table, 'raw', 'seen')})",
        missing,
    )


def cursors(connection: duckdb.DuckDBPyConnection, table: RawTable, held: Path) -> int:
    """Write the key columns, `cursor_in_raw` and `is_gone` of the rows that have a cursor value; returns how many.

    Deleted rows are among them only where the table keeps rows without their bad values.
    """
    keys = ", ".join(quoted(key) for key in table.key)
    cursor, live_only = quoted(str(table.cursor)), "" if table.keeps_rows else "AND _deleted_at IS NULL"
    return _write(
        connection,
        f"SELECT {keys}, {cursor} AS cursor_in_raw, _deleted_at IS NOT NULL AS is_gone FROM {_name(table)} "
        f"WHERE {cursor} IS NOT NULL {live_only}",
        held,
    )
