"""Ingestion's part of a backup: what no source would say again.

That is what was refused (quarantine), what each source's last read was, and the deleted records of
people, whose withdrawals still forbid. What belongs here: copying them out and putting them back.
"""

from __future__ import annotations

import duckdb

from ingestion.contract import quoted
from ingestion.retention import KEPT_DELETED
from ingestion.tables import TABLES, RawTable


def keep_deleted_people(connection: duckdb.DuckDBPyConnection, target: str) -> None:
    """Copy the deleted records of people from raw into the attached file `target`, which becomes a warehouse.

    Without their cursor, so that the first load reads every table from its start.
    """
    for table in _people():
        if not _exists(connection, table):
            continue
        name = f"{table.schema}.{quoted(table.name)}"
        forgotten = f" REPLACE (NULL AS {quoted(table.cursor)})" if table.cursor else ""
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {target}.{table.schema}")
        connection.execute(f"CREATE TABLE {target}.{name} AS SELECT * FROM {name} WITH NO DATA")
        connection.execute(f"INSERT INTO {target}.{name} SELECT *{forgotten} FROM {name} WHERE _deleted_at IS NOT NULL")


def _people() -> list[RawTable]:
    return [table for tables in TABLES.values() for table in tables if table.name in KEPT_DELETED]


def _exists(connection: duckdb.DuckDBPyConnection, table: RawTable) -> bool:
    return bool(
        connection.execute(
            "SELECT 1 FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?"
            " AND database_name = current_database()",
            [table.schema, table.name],
        ).fetchall()
    )
