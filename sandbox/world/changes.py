"""What differs between two states of a table: rows to write and keys to delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa

KEYS = {"m_loan_arrears_aging": "loan_id"}
"""Tables whose key is not `id`."""


@dataclass(frozen=True)
class Changes:
    """Rows of the new state that are new or changed, keys that are gone, and columns that appeared."""

    upserts: pa.Table
    deleted: pa.Array
    new_rows: int
    new_columns: list[str]

    def counts(self) -> dict[str, int]:
        """New, changed and deleted rows."""
        return {"new": self.new_rows, "changed": self.upserts.num_rows - self.new_rows, "deleted": len(self.deleted)}


def compare_all(old: Mapping[str, pa.Table], new: Mapping[str, pa.Table]) -> dict[str, Changes]:
    """From the old tables to the new ones, which may have more columns; both hold the same names."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return {name: _compare(connection, name, old[name], table) for name, table in new.items()}


def _compare(connection: duckdb.DuckDBPyConnection, name: str, old: pa.Table, new: pa.Table) -> Changes:
    key = KEYS.get(name, "id")
    appeared = [column for column in new.column_names if column not in old.column_names]
    if not appeared and old.equals(new):
        return Changes(new.slice(0, 0), new.column(key).slice(0, 0).combine_chunks(), 0, [])
    for column in appeared:
        old = old.append_column(column, pa.nulls(old.num_rows, new.schema.field(column).type))
    connection.register("old_rows", old.select(new.column_names))
    connection.register("new_rows", new)
    upserts = connection.sql(f"FROM (FROM new_rows EXCEPT FROM old_rows) ORDER BY {key}").to_arrow_table()
    gone = connection.sql(
        f"SELECT {key} FROM old_rows ANTI JOIN new_rows USING ({key}) ORDER BY {key}"
    ).to_arrow_table()
    counted = connection.execute(f"SELECT count(*) FROM new_rows ANTI JOIN old_rows USING ({key})").fetchall()
    new_rows = int(counted[0][0])
    return Changes(upserts.cast(new.schema), gone.column(0).combine_chunks(), new_rows, appeared)
