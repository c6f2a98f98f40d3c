"""How far a relay has read, so that it goes on there."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Engine, delete, insert, select

from activation.ops.engine import reading, writing
from activation.ops.tables import cursor


def read_cursor(engine: Engine, name: str) -> str | None:
    """The value a relay last wrote; None before its first."""
    with reading(engine) as connection:
        value: str | None = connection.execute(select(cursor.c.value).where(cursor.c.name == name)).scalar()
        return value


def write_cursor(engine: Engine, name: str, value: str) -> None:
    """Replace a relay's value."""
    with writing(engine) as connection:
        connection.execute(delete(cursor).where(cursor.c.name == name))
        connection.execute(insert(cursor).values(name=name, value=value, updated_wall=datetime.now(UTC)))
