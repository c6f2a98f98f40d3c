"""What differs between two states of a table: rows to write and keys to delete."""

from __future__ import annotations

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


def compare(name: str, old: pa.Table, new: pa.Table) -> Changes:
    """From `old` to `new`, which may have more columns."""
    key = KEYS.get(name, "id")
    appeared = [column for column in new.column_names if column not in old.column_names]
    for column in appeared:
        old = old.append_column(column, pa.nulls(old.num_rows, new.schema.field(column).type))
    old = old.select(new.column_names)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("old_rows", old)
        connection.register("new_rows", new)
        upserts = connection.sql(f"FROM (FROM new_rows EXCEPT FROM old_rows) ORDER BY {key}").to_arrow_table()
        deleted = connection.sql(
            f"SELECT {key} FROM old_rows ANTI JOIN new_rows USING ({key}) ORDER BY {key}"
        ).to_arrow_table()
        counted = connection.execute(f"SELECT count(*) FROM new_rows ANTI JOIN old_rows USING ({key})").fetchone()
    new_rows = int(counted[0]) if counted else 0
    return Changes(upserts.cast(new.schema), deleted.column(0).combine_chunks(), new_rows, appeared)
