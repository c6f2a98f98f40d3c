"""The one door to `warehouse.duckdb`.

DuckDB lets one process open the file. Every opening goes through `open_warehouse`, or through
`warehouse_lock` for a tool that opens it itself (dlt, dbt) while the lock is held.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from lendloop.formats import upgrade
from lendloop.home import Home
from lendloop.locks import file_lock

DEFAULT_TIMEOUT_S = 600.0
VERSIONS = ("create schema if not exists raw_meta",)
"""What makes each version of the warehouse's bookkeeping out of the one before (`lendloop.formats.upgrade`).

A step that changes a raw table of the loader's or a zone's table that dbt keeps goes here too.
"""


def memory_limit() -> str:
    """What DuckDB may hold before it spills beside the warehouse: half of the machine's memory, at most 8 GB."""
    half_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**21
    return f"{min(half_mb, 8192)}MiB"


@contextmanager
def warehouse_lock(home: Home, purpose: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> Iterator[None]:
    """Hold the right to open the warehouse. Keep it short: extract and normalise outside.

    Raises LockTimeoutError, naming the holder.
    """
    with file_lock(home.locks / "warehouse.lock", purpose, timeout_s):
        yield
        if home.warehouse.exists():
            home.warehouse.chmod(0o600)


@contextmanager
def open_warehouse(
    home: Home, purpose: str, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the warehouse, under its lock; the session's time zone is UTC."""
    with warehouse_lock(home, purpose, timeout_s), connect_warehouse(home) as connection:
        yield connection


@contextmanager
def connect_warehouse(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the warehouse for a caller that holds its lock.

    Raises ConfigurationError when the file is of a newer version than this code.
    """
    connection = duckdb.connect(str(home.warehouse), config={"memory_limit": memory_limit()})
    try:
        connection.execute("set timezone = 'UTC'")
        upgrade(connection, "raw_meta", VERSIONS, str(home.warehouse))
        yield connection
    finally:
        connection.close()
