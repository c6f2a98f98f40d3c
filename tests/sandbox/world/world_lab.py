"""What the tests of the world share: SQL over its tables, and all of them by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa

from sandbox.world import LEDGER_TABLES, SYSTEM_TABLES, World

CUSTOMERS = 500
Query = Callable[[str], list[tuple[Any, ...]]]
MakeWorld = Callable[..., World]


def asker(tables: dict[str, pa.Table]) -> Query:
    """Answers SQL over Arrow tables; the truth's are called truth_*."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name, table in tables.items():
        connection.register(name, table)
    return lambda query: connection.execute(query).fetchall()


def all_tables(world: World) -> dict[str, pa.Table]:
    """Every table of a world, the truth's as truth_*."""
    systems = {name: world.table(name) for name in (*LEDGER_TABLES, *SYSTEM_TABLES)}
    return systems | {f"truth_{name}": table for name, table in world.truth().items()}
