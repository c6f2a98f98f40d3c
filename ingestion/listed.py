"""Rows as a source listed them beside the same rows of raw: what differs, and what has a reason.

What belongs here: reading both sides as rows of a day, and telling apart what is explained. What does not: which rows
to ask for (`ingestion.reconcile`, `ingestion.reconcile_vendor`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb
import pyarrow as pa

from governance.reconcile import Comparison, Day, Row, RowDifference, Totals, by_day, settle
from ingestion import quarantine
from ingestion.columns import UNREADABLE
from ingestion.contract import cast, quoted
from ingestion.tables import RawTable
from lendloop.errors import TransientError
from lendloop.home import Home


@dataclass(frozen=True)
class ListedRow:
    """A row of one side: `values` are the compared columns' in order, times as microseconds since 1970 in UTC."""

    key: str
    day: Day
    values: tuple[object, ...]
    created_us: int | None
    changed_us: int | None
    row_hash: str | None = None


@dataclass(frozen=True)
class Compared:
    """A table, the column whose days count, and the columns that must be equal. `changed`: when a row changed last."""

    table: RawTable
    day: str
    columns: tuple[str, ...]
    changed: str | None = None

    @property
    def amounts(self) -> tuple[str, ...]:
        return tuple(name for name in self.columns if self.table.columns[name] == "money")

    def listed(self, batches: Iterable[pa.Table]) -> list[ListedRow]:
        """The rows of a source's batches, by the contract. Raises TransientError where one can't be read."""
        rows = []
        with duckdb.connect(":memory:") as connection:
            connection.execute("SET timezone = 'UTC'")
            for batch in batches:
                if UNREADABLE in batch.column_names:
                    raise TransientError(
                        f"{batch.num_rows} row(s) of {self.table.name} can't be read as they are listed"
                    )

                def typed(name: str, batch: pa.Table = batch) -> str:
                    return cast(quoted(name), batch.schema.field(name).type, self.table.columns[name])[0]

                connection.register("batch", batch)
                found = connection.execute(f"SELECT {self._shape(typed)}, NULL FROM batch").fetchall()
                rows += [_row(one) for one in found]
        return rows

    def in_raw(
        self, connection: duckdb.DuckDBPyConnection, condition: str, parameters: Sequence[object]
    ) -> list[ListedRow]:
        """Raw's live rows for which a condition holds."""
        found = connection.execute(
            f"SELECT {self._shape(quoted)}, _row_hash FROM {self.table.schema}.{self.table.name}"
            f" WHERE _deleted_at IS NULL AND ({condition})",
            parameters,
        ).fetchall()
        return [_row(one) for one in found]

    def _shape(self, typed: Callable[[str], str]) -> str:
        """Key, day, when the row was created and changed, then the compared columns."""

        def plain(name: str | None) -> str:
            if name is None:
                return "NULL"
            return f"epoch_us({typed(name)})" if self.table.columns[name] == "timestamp" else typed(name)

        created = plain(self.day) if self.table.columns[self.day] == "timestamp" else "NULL"
        parts = [f"CAST({typed(self.table.key[0])} AS VARCHAR)", f"CAST({typed(self.day)} AS DATE)"]
        return ", ".join([*parts, created, plain(self.changed), *(plain(name) for name in self.columns)])


def _row(found: tuple[object, ...]) -> ListedRow:
    key, day, created, changed, *values, row_hash = found
    return ListedRow(str(key), day, tuple(values), created, changed, row_hash)  # type: ignore[arg-type]


Reason = Callable[[RowDifference, ListedRow | None, ListedRow | None], str | None]
"""Why a row differs, from the difference and the row on either side; None where nothing explains it."""


def compare_rows(
    comparison: Comparison,
    compared: Compared,
    source: Sequence[ListedRow],
    raw: Sequence[ListedRow],
    reason: Reason,
    home: Home,
) -> None:
    """Settle the days of these rows."""
    found, explained = tell_apart(compared, source, raw, reason, home)
    settle(comparison, _totals(compared, source), _totals(compared, raw), found, explained)


def tell_apart(
    compared: Compared, source: Sequence[ListedRow], raw: Sequence[ListedRow], reason: Reason, home: Home
) -> tuple[dict[Day, list[RowDifference]], dict[Day, dict[str, int]]]:
    """The rows that differ on each day and that nothing explains, and how many are explained, by what.

    What waits in quarantine, or was mended there, is explained.
    """
    table = compared.table
    faults = _faults(table, home)
    mended = set(quarantine.mended(home, table.source, table.name).column("row_hash").to_pylist())
    here, there = {row.key: row for row in source}, {row.key: row for row in raw}
    left: dict[Day, list[RowDifference]] = {}
    explained: dict[Day, dict[str, int]] = {}
    found = by_day(_as_rows(source), _as_rows(raw), [compared.day, *compared.columns])
    for day, differences in found.items():
        left[day] = []
        for one in differences:
            before, after = here.get(one.key), there.get(one.key)
            why = reason(one, before, after)
            if one.key in faults and _is_refused(one, table, faults[one.key]):
                why = "quarantined"
            elif one.kind == "altered" and after is not None and after.row_hash in mended:
                why = "mended"
            if why:
                counts = explained.setdefault(day, {})
                counts[why] = counts.get(why, 0) + 1
            else:
                left[day].append(one)
    return left, explained


def _faults(table: RawTable, home: Home) -> Mapping[str, set[str]]:
    """Of each row that waits in quarantine the columns that could not be read, and those that are closed by them."""
    waiting = quarantine.waiting(home, table.source, table.name)
    faults: dict[str, set[str]] = {}
    for key, columns in zip(*(waiting.column(name).to_pylist() for name in ("key", "column")), strict=True):
        for column in columns.split(", "):
            faults.setdefault(str(key), set()).update((column, *table.fails_closed.get(column, ())))
    return faults


def _is_refused(difference: RowDifference, table: RawTable, faults: set[str]) -> bool:
    """Whether quarantine explains a difference: the row stays out for its faults, or lacks the values of these columns."""
    if not table.keeps_rows or faults.intersection(table.key):
        return difference.kind in ("lost", "altered")
    return difference.kind == "altered" and faults.issuperset(difference.columns)


def _as_rows(rows: Sequence[ListedRow]) -> list[Row]:
    return [Row(row.key, (row.day, *row.values)) for row in rows]


def _totals(compared: Compared, rows: Sequence[ListedRow]) -> dict[Day, Totals]:
    """Rows and sums of the amounts, by day."""
    places = [compared.columns.index(name) for name in compared.amounts]
    counts: dict[Day, int] = {}
    sums: dict[Day, list[Decimal]] = {}
    for row in rows:
        counts[row.day] = counts.get(row.day, 0) + 1
        added = sums.setdefault(row.day, [Decimal(0)] * len(places))
        for number, place in enumerate(places):
            amount = row.values[place]
            added[number] += amount if isinstance(amount, Decimal) else 0
    return {day: Totals(count, tuple(sums[day])) for day, count in counts.items()}
