"""A new SQLite ledger, written whole: Arrow's own driver takes columns as they are, with no Python object for a value.

What belongs here: filling a file that nobody reads yet, and moving it to its place. What changes in it later is
written by `ledger_db`, since rows that readers see need a journal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from lendloop.errors import ConfigurationError
from sandbox.world.ledger_schema import MARKER, described, index_statements
from sandbox.world.ledger_values import batches, for_sqlite

if TYPE_CHECKING:
    from adbc_driver_sqlite.dbapi import Cursor

_BATCH = 50_000
_SETTINGS = ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -65536")
"""Worth nothing after a crash, which leaves a draft that the next attempt removes."""


def write_new(file: Path, tables: Iterable[tuple[str, pa.Table]], marker: Mapping[str, Any]) -> None:
    """Write the tables as they come, and the marker, beside `file`; then replace it.

    Raises ConfigurationError when it can't be written.
    """
    from adbc_driver_sqlite import dbapi  # its import costs what opening a world that is there does

    draft = file.with_name(f"{file.name}.draft")
    draft.unlink(missing_ok=True)
    try:
        with dbapi.connect(str(draft), autocommit=True) as connection, connection.cursor() as cursor:
            for setting in _SETTINGS:
                cursor.execute(f"PRAGMA {setting}")
            cursor.execute(f"CREATE TABLE {MARKER} (state TEXT NOT NULL)")
            for name, table in tables:
                _write(cursor, name, table)
            _mark(cursor, marker)
    except dbapi.Error as error:
        raise ConfigurationError(f"the sandbox's ledger {file} could not be written: {error}") from error
    draft.replace(file)


def _write(cursor: Cursor, name: str, table: pa.Table) -> None:
    in_sql = described(name, table.schema)
    cursor.execute(str(CreateTable(in_sql).compile(dialect=sqlite.dialect())))
    for batch in batches(table, _BATCH):
        cursor.adbc_ingest(name, for_sqlite(batch), mode="append")
    for statement in index_statements(in_sql):
        cursor.execute(statement)


def _mark(cursor: Cursor, marker: Mapping[str, Any]) -> None:
    cursor.execute(f"INSERT INTO {MARKER} (state) VALUES (?)", (json.dumps(dict(marker)),))
