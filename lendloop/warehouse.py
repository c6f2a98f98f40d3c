"""The one door to `warehouse.duckdb`.

DuckDB lets one process open the file. Every opening goes through `open_warehouse`, or through
`warehouse_lock` for a tool that opens it itself (dlt, dbt) while the lock is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from lendloop.home import Home
from lendloop.locks import file_lock

DEFAULT_TIMEOUT_S = 600.0


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
    with warehouse_lock(home, purpose, timeout_s):
        connection = duckdb.connect(str(home.warehouse))
        try:
            connection.execute("set timezone = 'UTC'")
            yield connection
        finally:
            connection.close()
