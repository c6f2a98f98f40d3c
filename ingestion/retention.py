"""Forgetting what sources deleted long ago, and refused rows that nobody mended.

What belongs here: which deleted rows nothing reads any more. What does not: when pruning runs.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ingestion.contract import quoted
from ingestion.tables import TABLES, RawTable
from lendloop.clock import Clock
from lendloop.retention import Pruned, cut_off, older_than, remove
from lendloop.settings import Settings
from lendloop.warehouse import open_warehouse

if TYPE_CHECKING:
    import duckdb

KEPT_DELETED = frozenset({"m_client", "users", "contacts", "response"})
"""Tables of people: a deleted record still says who is who, and a withdrawal or a do-not-contact on it still forbids."""


def forgettable_tables() -> list[RawTable]:
    """The tables whose deleted rows no model reads; the CRM lists its archived rows again each time."""
    return [
        table
        for source, tables in TABLES.items()
        for table in tables
        if source != "crm" and table.name not in KEPT_DELETED
    ]


def prune_raw(settings: Settings, clock: Clock, *, dry_run: bool) -> list[Pruned]:
    """Delete raw rows that their source deleted more than `keep_deleted_days` before the business clock.

    The next load counts anew what is left, and the next pass builds again. Raises LockTimeoutError.
    """
    before = cut_off(clock.as_of, settings.keep_deleted_days)
    removed = 0
    if before is not None and settings.home.warehouse.exists():
        with open_warehouse(settings.home, "prune raw", settings.lock_timeout_s) as connection:
            removed = sum(_prune_table(connection, table, before, dry_run) for table in forgettable_tables())
    return [Pruned(what="raw rows that their source deleted", removed=removed)]


def _prune_table(connection: duckdb.DuckDBPyConnection, table: RawTable, before: datetime, dry_run: bool) -> int:
    exists = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?", [table.schema, table.name]
    ).fetchall()
    if not exists:
        return 0
    place = f"{table.schema}.{quoted(table.name)} WHERE _deleted_at < ?"
    [(rows,)] = connection.execute(f"SELECT count(*) FROM {place}", [before]).fetchall()
    if rows and not dry_run:
        connection.execute(f"DELETE FROM {place}", [before])
    return int(rows)


def prune_quarantine(settings: Settings, wall: datetime, *, dry_run: bool) -> Pruned:
    """Delete files of refused rows. What was replayed stays noted: without it the source's row would count as new."""
    files = older_than(settings.home.quarantine.glob("*/*/*.parquet"), cut_off(wall, settings.keep_quarantine_days))
    return remove("files of refused rows", files, dry_run=dry_run)
