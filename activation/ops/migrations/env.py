"""What Alembic runs: migrates the connection that `activation.ops.migrate` hands over."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from activation.ops.migrate import VERSION_TABLE
from activation.ops.tables import metadata
from activation.ops.types import DecimalText, UtcDateTime


def plain_type(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """A version names the database's own types, so that it still means the same when ours change."""
    if kind == "type" and isinstance(item, DecimalText):
        return "sa.Text()"
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


connection = context.config.attributes["connection"]
if connection is None:
    raise RuntimeError("migrations run through activation.ops.open_ops, which brings the connection")
context.configure(connection=connection, target_metadata=metadata, render_item=plain_type, version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
