"""How each database is told the ledger's values: text for SQLite, CSV for PostgreSQL, SQL literals for MySQL.

SQLite keeps money and times as text, since its decimals are floats and it has no time type. An
office that is broken is a text where the column takes one (SQLite), and absent elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

BROKEN_OFFICE = "n/a"


def batches(rows: pa.Table, at_most: int) -> Iterator[pa.Table]:
    """The rows in their order, `at_most` at a time."""
    for at in range(0, rows.num_rows, at_most):
        yield rows.slice(at, at_most)


def for_sqlite(table: pa.Table) -> pa.Table:
    """Text for money and times, 0 and 1 for booleans, and a text where an office is broken."""
    return _with_broken_office(_plain(table), BROKEN_OFFICE)


def for_csv(table: pa.Table) -> pa.Table:
    """As it is, but money as text, and no office where it is broken."""
    columns = {
        field.name: column.cast(pa.string()) if pa.types.is_decimal(field.type) else column
        for field, column in zip(table.schema, table.columns, strict=True)
    }
    return _with_broken_office(pa.table(columns), None)


def python_values(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Rows as Python's values."""
    return zip(*map(_values, table.columns), strict=True)


def mysql_rows(table: pa.Table) -> list[bytes]:
    """Each row as `(1,'text',NULL)` in UTF-8, for a session without NO_BACKSLASH_ESCAPES."""
    plain = _with_broken_office(_plain(table), None)
    literals = []
    for field, column in zip(table.schema, plain.columns, strict=True):
        if pa.types.is_string(field.type):
            safe = pc.replace_substring(pc.replace_substring(column, "\\", "\\\\"), "'", "''")
            literal = pc.binary_join_element_wise("'", safe, "'", "")
        elif pa.types.is_timestamp(field.type) or pa.types.is_date(field.type):
            literal = pc.binary_join_element_wise("'", column, "'", "")
        else:
            literal = column.cast(pa.string())
        literals.append(pc.fill_null(literal, "NULL"))
    together = pc.binary_join_element_wise(*literals, ",")
    rows = pc.binary_join_element_wise("(", together, ")", "").cast(pa.binary())
    values: list[bytes] = rows.to_pylist()
    return values


def _plain(table: pa.Table) -> pa.Table:
    """Texts and whole numbers only."""
    columns: dict[str, Any] = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_boolean(field.type):
            columns[field.name] = column.cast(pa.int8())
        elif pa.types.is_integer(field.type) or pa.types.is_string(field.type):
            columns[field.name] = column
        else:
            columns[field.name] = column.cast(pa.string())
    return pa.table(columns)


def _values(column: pa.ChunkedArray) -> list[Any]:
    if column.null_count and not pa.types.is_string(column.type):
        return list(column.to_pylist())
    return list(column.to_numpy().tolist())


def _with_broken_office(table: pa.Table, value: str | None) -> pa.Table:
    """A union of number and text does not exist in Arrow's plain types: SQLite's affinity turns digits back into numbers."""
    if "office_id" not in table.column_names:
        return table
    office = table.column("office_id")
    texts = pc.if_else(pc.equal(office, -1), pa.scalar(value, pa.string()), office.cast(pa.string()))
    return table.set_column(table.column_names.index("office_id"), "office_id", texts)
