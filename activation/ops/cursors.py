"""How far a relay has read, kept by name."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Engine, insert, select, update

from activation.ops.engine import reading, writing
from activation.ops.tables import cursor


def read_cursor(engine: Engine, name: str) -> str | None:
    """The value kept under a name, None before the first."""
    with reading(engine) as connection:
        return connection.execute(select(cursor.c.value).where(cursor.c.name == name)).scalar()


def write_cursor(engine: Engine, name: str, value: str) -> None:
    """Keep a value under a name."""
    values = {"value": value, "updated_wall": datetime.now(UTC)}
    with writing(engine) as connection:
        if not connection.execute(update(cursor).where(cursor.c.name == name).values(**values)).rowcount:
            connection.execute(insert(cursor).values(name=name, **values))
