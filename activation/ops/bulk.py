"""Changing many rows with few statements: one for all rows whose same columns change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, bindparam, update


def update_rows(connection: Connection, table: Table, changes: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
    """Write each row's changed columns. `changes`: id, and new values by column; a row without any is left alone."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row_id, values in changes:
        names = tuple(sorted(values))
        alike[names].append({"_id": row_id, **{f"_{name}": values[name] for name in names}})
    for names, rows in alike.items():
        if names:
            columns = {name: bindparam(f"_{name}", type_=table.c[name].type) for name in names}
            connection.execute(update(table).where(table.c.id == bindparam("_id")).values(columns), rows)
