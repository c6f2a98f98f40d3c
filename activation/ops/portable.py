"""Operational state as text: one JSON line a row, the same from SQLite and from PostgreSQL.

Rows are written with the version of their tables. They are read back into tables of that version, which
are then brought up, so that an older copy loads into a newer program and into the other kind of database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, MetaData, Table

from activation.ops import tables as t
from activation.ops.engine import reading, writing
from activation.ops.migrate import current_version, upgrade_to

BLOCK_ROWS = 1_000


def dump_ops(engine: Engine, folder: Path) -> str:
    """Write `<table>.jsonl` for each table, of one moment. Returns the version of the tables."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with reading(engine) as connection:
        for table in t.metadata.sorted_tables:
            rows = connection.execution_options(yield_per=BLOCK_ROWS).execute(sa.select(table))
            with open(folder / f"{table.name}.jsonl", "w", encoding="utf-8") as file:
                file.writelines(json.dumps(_plain(row._asdict()), ensure_ascii=False) + "\n" for row in rows)
        version = current_version(connection)
    if version is None:
        raise RuntimeError("operational state was opened without a version")
    return version


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _text(value) for name, value in row.items()}


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value if value is None or isinstance(value, bool | int | str | list | dict) else format(value, "f")


def is_empty(engine: Engine) -> bool:
    """Whether no table has a row."""
    with reading(engine) as connection:
        return all(connection.execute(sa.select(table).limit(1)).first() is None for table in t.metadata.sorted_tables)


def load_ops(engine: Engine, folder: Path, version: str) -> int:
    """Replace everything by what `dump_ops` wrote at `version`, in one transaction; returns the rows.

    `engine` is of a database that `open_ops` has not opened yet, or has: its tables are made anew at that version
    and brought up. What was planned is marked as of unknown outcome: it may have been sent after the copy was made,
    so it is looked up, where the channel can, before it is sent. Raises ConfigurationError for an unknown version.
    """
    with writing(engine) as connection:
        _drop_all(connection)
        upgrade_to(connection, version)
        found = MetaData()
        found.reflect(connection, only=lambda name, _: (folder / f"{name}.jsonl").exists())
        total = sum(_load(connection, table, folder) for table in found.sorted_tables)
        upgrade_to(connection, "head")
        connection.execute(
            sa.update(t.outbox)
            .where(t.outbox.c.state.in_(("planned", "in_flight")))
            .values(state="unknown", attempted_wall=datetime.now(UTC), reason="perhaps sent after the backup was made")
        )
    return total


def _drop_all(connection: Connection) -> None:
    ours = MetaData()
    names = {table.name for table in t.metadata.sorted_tables}
    ours.reflect(connection, only=lambda name, _: name in names)
    ours.drop_all(connection)
    upgrade_to(connection, None)


def _load(connection: Connection, table: Table, folder: Path) -> int:
    rows = 0
    for block in _blocks(folder / f"{table.name}.jsonl"):
        typed = [_typed(table, row, connection.dialect.name) for row in block]
        connection.execute(sa.insert(table), typed)
        rows += len(typed)
    key = table.primary_key.columns[0]
    if rows and connection.dialect.name == "postgresql" and isinstance(key.type, sa.Integer):
        connection.execute(
            sa.text(
                f"select setval(pg_get_serial_sequence('{table.name}', '{key.name}'), max({key.name})) from {table.name}"
            )
        )
    return rows


def _blocks(path: Path) -> Iterator[list[dict[str, Any]]]:
    block: list[dict[str, Any]] = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            block.append(json.loads(line))
            if len(block) >= BLOCK_ROWS:
                yield block
                block = []
    if block:
        yield block


def _typed(table: Table, row: dict[str, Any], dialect: str) -> dict[str, Any]:
    """A row as the database's driver takes it; a column that its table lacks is a fault of the copy."""
    values = dict(row)
    for column in table.columns:
        value = values.get(column.name)
        if value is not None and isinstance(column.type, sa.DateTime):
            instant = datetime.fromisoformat(value)
            values[column.name] = instant.replace(tzinfo=None) if dialect == "sqlite" else instant
        if value is None and isinstance(column.type, sa.JSON):
            values[column.name] = sa.null()
    return values
