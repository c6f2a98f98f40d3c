"""A large table of the ledger in ranges of its key, which together show one moment.

What belongs here: where a range ends, and what makes the ranges agree. What does not: how a column is read.
connectorx takes rows as fast as the database gives them, whether somebody waits for them or not. So what bounds the
memory is that no query asks for more than so many rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa

BLOCK_ROWS = 122_880
"""As many as a row group of DuckDB has: blocks of another size are put together anew when the warehouse is closed."""
RANGE_ROWS = 4 * BLOCK_ROWS


@dataclass(frozen=True)
class Selection:
    """Rows of a table. `key` and `cursor` are quoted names: None where the key is no whole number, or there is no cursor."""

    table: str
    condition: str = ""
    key: str | None = None
    key_may_be_null: bool = False
    cursor: str | None = None

    def where(self, *conditions: str) -> str:
        """The WHERE clause of the rows that meet these conditions too."""
        given = [f"({condition})" for condition in (self.condition, *conditions) if condition]
        return f" WHERE {' AND '.join(given)}" if given else ""


class Ranges:
    """The ranges of a selection. Open it with `Ranges.open`.

    PostgreSQL shows every range the same snapshot. MySQL can't share one between connections: there a row that changes
    while its table is read is left to the next load, which finds it by its cursor.
    """

    def __init__(self, connection: sa.Connection, selection: Selection) -> None:
        self._connection = connection
        self.selection = selection
        self._unchanged = ""
        self.before: tuple[str, ...] = ()
        """What a session must run before it reads a range."""

    @classmethod
    @contextmanager
    def open(cls, engine: sa.Engine, selection: Selection) -> Iterator[Ranges]:
        """Ranges as of now, for as long as it is open. Raises sqlalchemy's DBAPIError, as reading them does."""
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
            try:
                yield cls(connection, selection)
            except BaseException:
                connection.invalidate()  # it may be lost: a rollback that fails would be told in place of the reason
                raise

    def __iter__(self) -> Iterator[str]:
        """WHERE clauses: every row meets one of them, and no more than `RANGE_ROWS` meet the same (if keys are unique)."""
        key = self.selection.key
        low = ""
        while high := self._end(low):
            if not low:
                self._hold()
            yield self.selection.where(low, f"{key} <= {high}", self._unchanged)
            low = f"{key} > {high}"
        yield self.selection.where(low, self._unchanged if low else "")
        if low and self.selection.key_may_be_null:
            yield self.selection.where(f"{key} IS NULL", self._unchanged)

    def _end(self, low: str) -> str | None:
        """The last key of a full range; None for the last range. Asked without a key too, since it tells who is not there.

        It walks the keys of the range, at a twentieth of the processor time that reading the rows takes (MariaDB).
        """
        name, key = self.selection.table, self.selection.key
        if key is None:
            self._connection.exec_driver_sql(f"SELECT 1 FROM {name} WHERE 1 = 0")
            return None
        end = self._connection.exec_driver_sql(
            f"SELECT {key} FROM {name}{self.selection.where(low, f'{key} IS NOT NULL')} ORDER BY {key} LIMIT 1 OFFSET {RANGE_ROWS - 1}"
        ).scalar()
        return None if end is None else str(int(end))

    def _hold(self) -> None:
        """Make the ranges agree: there is more than one."""
        ask = self._connection.exec_driver_sql
        cursor = self.selection.cursor
        if self._connection.dialect.name == "postgresql":
            ask("SET LOCAL idle_in_transaction_session_timeout = 0")
            snapshot = ask("SELECT pg_export_snapshot()").scalar()
            self.before = (
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                f"SET TRANSACTION SNAPSHOT '{snapshot}'",
            )
        elif cursor is not None:
            latest = ask(f"SELECT CAST(max({cursor}) AS CHAR) FROM {self.selection.table}").scalar()
            self._unchanged = f"{cursor} <= '{latest}' OR {cursor} IS NULL" if latest is not None else ""


class RangedBatches:
    """Batches of one range after the other; the next one is begun when one is, so that two are in memory at most."""

    def __init__(self, ranges: Ranges, read: Callable[[str, tuple[str, ...]], pa.RecordBatchReader]) -> None:
        """`read` gives a range's reader, from its WHERE clause and from what its session must run before."""
        self._readers = (read(clause, ranges.before) for clause in ranges)
        self._first = next(self._readers)
        self.schema: pa.Schema = self._first.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        reader: pa.RecordBatchReader | None = self._first
        while reader is not None:
            following = next(self._readers, None)
            yield from reader
            reader = following
