"""The SQL tables of the ledger: columns, keys and indices, from the Arrow tables that they hold."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from sandbox.world.changes import KEYS

MARKER = "sandbox_world"
"""The table whose only row says which world at which moment the ledger holds."""
_BITS = frozenset({"completed_derived"})
"""Booleans that Fineract keeps as BIT(1) in MySQL; the others are TINYINT(1)."""
_INDEXED = ("last_modified_on_utc", "loan_id", "client_id", "savings_account_id")


def index_statements(table: sa.Table) -> list[str]:
    """What makes the table's indices, once it is filled."""
    return [
        f"CREATE INDEX {table.name}_{column} ON {table.name} ({column})"
        for column in _INDEXED
        if column in table.c and not table.c[column].primary_key
    ]


def described(name: str, schema: pa.Schema) -> sa.Table:
    """The SQL table for an Arrow schema."""
    key = KEYS.get(name, "id")
    columns = [
        sa.Column(field.name, _sql_type(field), primary_key=field.name == key, autoincrement=False) for field in schema
    ]
    return sa.Table(name, sa.MetaData(), *columns, mysql_engine="InnoDB", mysql_charset="utf8mb4")


def _sql_type(field: pa.Field) -> sa.types.TypeEngine[Any]:
    kind = field.type
    if pa.types.is_decimal(kind):
        return sa.Numeric(19, 6).with_variant(sa.Text(), "sqlite")
    if pa.types.is_timestamp(kind):
        return sa.TIMESTAMP().with_variant(sa.Text(), "sqlite").with_variant(mysql.DATETIME(fsp=6), *_MYSQL)
    if pa.types.is_date(kind):
        return sa.Date().with_variant(sa.Text(), "sqlite")
    if pa.types.is_boolean(kind):
        in_mysql = mysql.BIT(1) if field.name in _BITS else mysql.TINYINT(1)
        return sa.Boolean().with_variant(in_mysql, *_MYSQL)
    if pa.types.is_integer(kind):
        return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Text().with_variant(sa.String(255), *_MYSQL)


_MYSQL = ("mysql", "mariadb")
