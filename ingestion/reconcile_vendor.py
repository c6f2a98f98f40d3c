"""CRM and support beside raw: rows counted by when they were created, and read where the counts differ.

What belongs here: which rows to count and to read, within a bound of calls. What does not: a vendor's words for it
(`ingestion.crm`, `ingestion.support`), and comparing rows (`ingestion.listed`).

A vendor's search counts what it finds in one call but adds nothing up. So rows of some days are read, with their sums,
and all others are counted together; a count that differs is halved at raw's middle row until the rows can be read.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from typing import Literal, Protocol

import duckdb
import pyarrow as pa

from governance.reconcile import SEARCHED_DAYS, Comparison, DayOutcome, RowDifference, Totals
from ingestion.listed import Compared, ListedRow, compare_rows
from ingestion.load import open_reader
from ingestion.raw import prepare_raw
from ingestion.reconcile import ASKED, NEVER_LOADED, sides_of
from ingestion.state import SourceMemory
from ingestion.support import LEFT_OUT
from ingestion.tables import TABLES, RawTable
from lendloop.clock import Clock
from lendloop.errors import LendloopError, TransientError
from lendloop.locks import file_lock
from lendloop.settings import Settings
from lendloop.source_status import read_status
from lendloop.warehouse import open_warehouse

READ_ROWS = 5_000
"""Rows of a table that are read at once: 25 searches of HubSpot, 50 pages of Zendesk."""
READ_IN_PASS, DAYS_IN_PASS = 1_000, 10
"""Of the rows that a load wrote, those that a pass reads: so many, of at most so many days."""
FEW_ROWS = 1_000
"""A span of so many rows that differs is read instead of being halved."""
COUNTS = 40
"""Calls that a table's counts may take to find where they differ: enough for some places in millions of rows."""
INDEXED = timedelta(minutes=10)
"""Search shows a change some minutes after it was made, as both vendors say."""
DAY_US = 86_400_000_000

COUNTED: tuple[Literal["crm", "support"], ...] = ("crm", "support")
"""The sources whose rows their vendors count."""

Span = tuple[int | None, int | None]
"""From a moment until before another, microseconds since 1970 in UTC; None: without a bound."""


class Searched(Protocol):
    """A reader whose vendor searches by when a row was created."""

    def count(self, table: RawTable, first: datetime | None, end: datetime | None) -> int: ...
    def listed(
        self, table: RawTable, first: datetime | None, end: datetime | None, columns: tuple[str, ...]
    ) -> Iterator[pa.Table]: ...


def reconcile_vendor(
    source: Literal["crm", "support"], settings: Settings, clock: Clock, *, whole: bool, on: date | None = None
) -> list[Comparison]:
    """A vendor's live rows beside raw's: with `whole` the newest read and all others counted; one day, with `on`.

    Without either, as a pass does it: all counted, and the days read that the last load wrote or that differed
    before. What the vendor does not answer is said in the comparison.
    """
    tables = [table for table in TABLES[source] if table.name in ASKED]
    compared = [Comparison(*sides_of(table), _of(table).amounts) for table in tables]
    try:
        status = read_status(settings.home)[source]
        if not whole and on is None and status.error:
            raise TransientError(f"its last load failed: {status.error}")
        if status.succeeded_as_of is None:
            for comparison in compared:
                comparison.not_compared = NEVER_LOADED
            return compared
        with (
            file_lock(settings.home.locks / f"source-{source}.lock", f"reconcile {source}", settings.lock_timeout_s),
            open_reader(source, settings, clock) as reader,
        ):
            prepare_raw(settings)
            memory = SourceMemory.read(settings.home, source)
            for table, comparison in zip(tables, compared, strict=True):
                one = _Vendor(settings, reader, table, clock.as_of, min(status.succeeded_as_of, clock.as_of))
                before = memory.open_days.get(table.name, [])
                try:
                    one.compare(comparison, before, whole=whole, on=on)
                except LendloopError as error:
                    comparison.days, comparison.not_compared, comparison.is_reached = [], str(error), False
                    continue
                if on is None:
                    open_days = {day.day for day in comparison.unexplained if day.day and day.since is None}
                    memory.open_days[table.name] = sorted(open_days.union(one.waiting))
            memory.write(settings.home, source)
    except LendloopError as error:
        for comparison in compared:
            if not comparison.days and not comparison.not_compared:
                comparison.not_compared, comparison.is_reached = str(error), False
    return compared


def _of(table: RawTable) -> Compared:
    return Compared(table, "created_at", ASKED[table.name], "updated_at")


class _Held:
    """When the live rows of raw were created, in order, and which of them were read at the vendor too."""

    def __init__(self, moments: array[int]) -> None:
        self.moments = moments
        self._read = bytearray(len(moments))

    def _places(self, first: int | None, end: int | None) -> slice:
        low = 0 if first is None else bisect_left(self.moments, first)
        return slice(low, len(self.moments) if end is None else max(low, bisect_left(self.moments, end)))

    def mark(self, first: int | None, end: int | None) -> None:
        places = self._places(first, end)
        self._read[places] = b"\1" * (places.stop - places.start)

    def others(self, first: int | None, end: int | None) -> int:
        """How many rows of a span were not read."""
        places = self._places(first, end)
        return self._read.count(0, places.start, places.stop)

    def ends(self, first: int | None, end: int | None) -> Span:
        """The first and the last moment of a span's rows that were not read."""
        places = self._places(first, end)
        low, high = (find(0, places.start, places.stop) for find in (self._read.find, self._read.rfind))
        return (self.moments[low], self.moments[high]) if low >= 0 else (first, end)

    def rows(self, first: int | None, end: int | None) -> int:
        places = self._places(first, end)
        return int(places.stop - places.start)

    def middle(self, first: int | None, end: int | None) -> int | None:
        """The moment of the middle row, with rows before it; None where all have the same."""
        places = self._places(first, end)
        if places.start >= places.stop:
            return None
        middle = int(self.moments[(places.start + places.stop) // 2])
        if middle > self.moments[places.start]:
            return middle
        after = bisect_right(self.moments, middle, places.start, places.stop)
        return None if after >= places.stop else int(self.moments[after])


class _Vendor:
    """One table of a vendor beside raw's."""

    def __init__(
        self, settings: Settings, reader: Searched, table: RawTable, as_of: datetime, read_at: datetime
    ) -> None:
        self.settings = settings
        self.reader = reader
        self.compared = _of(table)
        self.table = table
        self.as_of = as_of
        # what was read for good: the next load reads again from there, at the latest
        lag = max(timedelta(minutes=settings.lag_minutes), LEFT_OUT)
        self.settled = _microseconds(read_at - lag) // 1_000_000 * 1_000_000
        self.source: dict[str, ListedRow] = {}
        self.spans: list[Span] = []
        """Those that were read."""
        self.waiting: list[date] = []
        """Days in question that were not looked at."""
        self.counted = Totals(0), Totals(0)
        self.scope: Span = (None, None)
        """What was counted."""
        self.apart: list[tuple[Span, int, int]] = []
        """Spans whose counts differ and that could not be read, with both counts."""
        self.counts_left = COUNTS
        self.rows_left = READ_ROWS
        """Calls and rows that are left to find where counts differ."""

    def compare(self, comparison: Comparison, before: list[date], *, whole: bool, on: date | None) -> None:
        """Fill the comparison. Raises LendloopError when the vendor does not answer."""
        relation = f"{self.table.schema}.{self.table.name}"
        with self._warehouse() as connection:
            moments = connection.sql(
                f"SELECT epoch_us(created_at) AS us FROM {relation} WHERE _deleted_at IS NULL AND created_at IS NOT NULL"
                " ORDER BY us"
            ).to_arrow_table()
            written = connection.execute(
                f"SELECT DISTINCT created_at::DATE FROM {relation} WHERE created_at IS NOT NULL"
                f" AND _loaded_at = (SELECT max(_loaded_at) FROM {relation})"
            ).fetchall()
            # a row that raw has twice would make up in a count for one that it lost
            live = f"{relation} WHERE _deleted_at IS NULL AND created_at IS NOT NULL"
            doubled = connection.execute(
                f"SELECT DISTINCT created_at::DATE FROM {live} AND {self.table.key[0]} IN"
                f" (SELECT {self.table.key[0]} FROM {live} GROUP BY ALL HAVING count(*) > 1)"
            ).fetchall()
        self.held = _Held(array("q", moments.column("us").to_numpy().tobytes()))
        in_question = self._in_question({*before, *(day for (day,) in doubled)})
        if on is not None:
            self._one_day(_start(on))
        elif whole:
            self._newest(in_question)
        else:
            self._days(in_question, {day for (day,) in written})
        self._settle(comparison)

    def _in_question(self, days: Collection[date]) -> set[int]:
        """The newest of these days; the others wait. One of too many rows is counted, as all are."""
        latest = sorted(days, reverse=True)
        self.waiting = latest[SEARCHED_DAYS:]
        starts = map(_start, latest[:SEARCHED_DAYS])
        return {first for first in starts if self.held.rows(first, first + DAY_US) <= READ_ROWS}

    def _one_day(self, first: int) -> None:
        span = (first, first + DAY_US)
        if self.held.rows(*span) > READ_ROWS or not self._read(span, 2 * READ_ROWS):
            self._count((first, max(first, min(first + DAY_US, self.settled))))

    def _newest(self, in_question: Collection[int]) -> None:
        """Whole days from the newest on are read, and those in question; all others are counted."""
        moments, first = self.held.moments, None
        if len(moments) > READ_ROWS:
            first = moments[-READ_ROWS] // DAY_US * DAY_US + DAY_US
        is_read = self._read((first, None), 2 * READ_ROWS)
        if is_read and first is None:
            return
        self._read_days(day for day in in_question if not is_read or first is None or day < first)
        self._count((None, min(first, self.settled) if is_read and first is not None else self.settled))

    def _days(self, in_question: Collection[int], written: Collection[date]) -> None:
        """Days in question are read, and those written, the newest of them as far as a pass may; all are counted."""
        chosen = set(in_question)
        left = READ_IN_PASS
        for first in [_start(day) for day in sorted(written, reverse=True)[:DAYS_IN_PASS]]:
            rows = self.held.rows(first, first + DAY_US)
            if rows <= left:
                chosen.add(first)
                left -= rows
        self._read_days(chosen)
        self._count((None, self.settled))

    def _read_days(self, days: Iterable[int]) -> None:
        """Read days, those that follow each other at once."""
        spans: list[tuple[int, int]] = []
        for first in sorted(days):
            end = first + DAY_US
            if spans and spans[-1][1] == first and self.held.rows(spans[-1][0], end) <= READ_ROWS:
                spans[-1] = spans[-1][0], end
            else:
                spans.append((first, end))
        for span in spans:
            self._read(span, 2 * READ_ROWS)

    def _read(self, span: Span, most: int) -> bool:
        """Read a span's rows at the vendor; False, and none taken, where there are more than `most`."""
        batches, rows = [], 0
        first, end = map(_moment, span)
        for batch in self.reader.listed(self.table, first, end, (self.compared.day, *self.compared.columns)):
            batches.append(batch)
            rows += batch.num_rows
            if rows > most:
                return False
        self.source |= {row.key: row for row in self.compared.listed(batches)}
        self.spans.append(span)
        self.held.mark(*span)
        return True

    def _count(self, span: Span) -> None:
        self.scope = span
        self._halve(span, self.reader.count(self.table, *map(_moment, span)))

    def _halve(self, span: Span, there: int) -> None:
        """Compare a span of which the vendor counts so many rows; where it differs, its newer half first."""
        first, end = span
        left, right = there - self._read_in(span), self.held.others(*span)
        if left == right:
            self.counted = Totals(self.counted[0].rows + left), Totals(self.counted[1].rows + right)
            return
        few = max(left, right)
        if few <= min(FEW_ROWS, self.rows_left) and self._read(span, 2 * FEW_ROWS):
            self.rows_left -= few
            return
        middle = self.held.middle(first, end)
        if middle is None or not self.counts_left:
            self.apart.append((span, left, right))
            return
        self.counts_left -= 1
        earlier = self.reader.count(self.table, *map(_moment, (first, middle)))
        self._halve((middle, end), there - earlier)
        self._halve((first, middle), earlier)

    def _read_in(self, span: Span) -> int:
        """How many of the rows read at the vendor were created in a span."""
        first, end = span
        return sum(
            row.created_us is not None
            and (first is None or row.created_us >= first)
            and (end is None or row.created_us < end)
            for row in self.source.values()
        )

    def _settle(self, comparison: Comparison) -> None:
        conditions, parameters = ["CAST(id AS VARCHAR) IN (SELECT unnest(?::VARCHAR[]))"], [list(self.source)]
        for first, end in self.spans:
            bounds = [f"created_at >= make_timestamptz({first})"] if first is not None else []
            bounds += [f"created_at < make_timestamptz({end})"] if end is not None else []
            conditions.append(f"({' AND '.join(bounds) or 'true'})")
        with self._warehouse() as connection:
            raw = self.compared.in_raw(connection, " OR ".join(conditions), parameters)
        compare_rows(comparison, self.compared, list(self.source.values()), raw, self._reason, self.settings.home)
        if self.counted != (Totals(0), Totals(0)):
            comparison.days.append(self._together(self.scope, *self.counted))
        for span, left, right in self.apart:
            outcome = self._together(span, Totals(left), Totals(right))
            outcome.unexplained = abs(left - right)
            comparison.days.append(outcome)

    def _together(self, span: Span, left: Totals, right: Totals) -> DayOutcome:
        """Days that were counted together: from the first to the last that raw has in a span, else all of the span."""
        first, last = self.held.ends(*span)
        return DayOutcome(_day(last or self.settled), left, right, since=_day(first or 0))

    def _reason(self, difference: RowDifference, source: ListedRow | None, raw: ListedRow | None) -> str | None:
        """Newer than what was read, or not in the vendor's index yet."""
        changed, held = (None if row is None else row.changed_us for row in (source, raw))
        if difference.kind in ("lost", "altered") and changed is not None and changed > max(self.settled, held or 0):
            return "changed_since_read"
        recent = held is not None and held > max(_microseconds(self.as_of - INDEXED), changed or 0)
        return "not_indexed_yet" if difference.kind in ("added", "altered") and recent else None

    def _warehouse(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        return open_warehouse(
            self.settings.home, f"reconcile {self.table.name} with its source", self.settings.lock_timeout_s
        )


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)


def _start(day: date) -> int:
    return _microseconds(datetime(day.year, day.month, day.day, tzinfo=UTC))


def _day(microseconds: int) -> date:
    return (_EPOCH + timedelta(microseconds=microseconds)).date()
