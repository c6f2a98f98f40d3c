"""Reconciliation: whether two stages hold the same rows and money, day by day, and which rows make a difference.

What belongs here: comparing days and rows, and the step from raw to trusted as datasets declare it (`reconciles`).
What does not: reading a source system (`ingestion.reconcile`).

Sums are control totals over all currencies of a day; they say whether two sides agree and are no amounts of anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

import duckdb

from governance.registry import Dataset, Reconciles
from lendloop.home import Home
from lendloop.on_error import kept_file

SEARCHED_DAYS = 31
"""On how many differing days rows are searched, the latest ones; the others are counted."""
SEARCHED_ROWS = 300_000
"""And of how many rows together, since they are held in memory."""
NAMED_ROWS = 100
"""How many rows of a day are named; all of them are counted."""

Day = date | None
Kind = Literal["lost", "doubled", "altered", "added"]


@dataclass(frozen=True)
class Totals:
    """What a side holds of a day. `check` sums a hash of the rows where both sides can make it."""

    rows: int
    sums: tuple[Decimal, ...] = ()
    check: int | None = None


@dataclass(frozen=True)
class Row:
    """A row as it is compared: `values` are in the order of the compared columns, the day among them."""

    key: str
    values: tuple[object, ...]


@dataclass(frozen=True, order=True)
class RowDifference:
    """A row that makes a day differ: lost on the way, doubled, altered (in `columns`), or added."""

    key: str
    kind: Kind
    columns: tuple[str, ...] = ()


@dataclass
class DayOutcome:
    """One day on two sides. `explained`: rows that a rule leaves out, by its name. `unexplained`: how many rows differ.

    `since`: the first of the days until `day`, where their rows were counted together and their sums not compared.
    """

    day: Day
    left: Totals
    right: Totals
    explained: dict[str, int] = field(default_factory=dict)
    differences: list[RowDifference] = field(default_factory=list)
    unexplained: int = 0
    since: Day = None

    @property
    def state(self) -> Literal["agreed", "explained", "unexplained"]:
        return "unexplained" if self.unexplained else "explained" if self.explained else "agreed"


@dataclass
class Comparison:
    """Two stages of the same rows. `columns` are those whose sums are compared; `group` is the consistency group."""

    left: str
    right: str
    group: str
    columns: tuple[str, ...]
    days: list[DayOutcome] = field(default_factory=list)
    not_compared: str = ""
    """Why nothing could be compared, if so."""
    is_reached: bool = True
    """False when it was not compared since the source did not answer: to be done again."""

    @property
    def name(self) -> str:
        return f"{self.left} -> {self.right}"

    def count(self, state: str) -> int:
        """How many days are in a state."""
        return sum(day.state == state for day in self.days)

    @property
    def unexplained(self) -> list[DayOutcome]:
        return [day for day in self.days if day.state == "unexplained"]

    def faults(self) -> list[str]:
        """One line for each day that does not agree and is not explained."""
        lines = []
        for day in self.unexplained:
            named = ", ".join(
                f"{row.kind} {row.key}" + (f" ({', '.join(row.columns)})" if row.columns else "")
                for row in day.differences[:5]
            )
            when = f"from {day.since} to {day.day}" if day.since else f"on {day.day or 'no day'}"
            lines.append(f"{self.name} {when}: {day.unexplained} row(s) differ: {named or 'not searched'}")
        return lines


def differing_days(left: Mapping[Day, Totals], right: Mapping[Day, Totals]) -> list[Day]:
    """The days on which the sides do not hold the same, latest first; rows without a day come last."""
    nothing = Totals(0)
    days = [day for day in {*left, *right} if not _same(left.get(day, nothing), right.get(day, nothing))]
    return sorted(days, key=lambda day: day or date.min, reverse=True)


def days_to_search(left: Mapping[Day, Totals], right: Mapping[Day, Totals]) -> list[Day]:
    """Of the days that differ those whose rows are searched, latest first: as many and as large as may be at once."""
    chosen, rows = [], 0
    for day in differing_days(left, right)[:SEARCHED_DAYS]:
        held = max(side[day].rows for side in (left, right) if day in side)
        if rows + held <= SEARCHED_ROWS:
            chosen.append(day)
            rows += held
    return chosen


def _same(left: Totals, right: Totals) -> bool:
    both_checked = left.check is not None and right.check is not None
    return left.rows == right.rows and (
        left.rows == 0 or (left.sums == right.sums and (not both_checked or left.check == right.check))
    )


def name_rows(left: Iterable[Row], right: Iterable[Row], columns: Sequence[str]) -> list[RowDifference]:
    """What happened to each row on its way from left to right; `columns` are the names of the rows' values."""
    here, there = list(left), list(right)
    counts = {side: Counter(row.key for row in rows) for side, rows in (("left", here), ("right", there))}
    first, second = ({row.key: row for row in rows} for rows in (here, there))
    found = []
    for key in sorted({*first, *second}):
        before, after = counts["left"][key], counts["right"][key]
        if not before:
            found.append(RowDifference(key, "added"))
        elif not after:
            found.append(RowDifference(key, "lost"))
        elif before != after:
            found.append(RowDifference(key, "doubled" if after > before else "lost"))
        elif first[key].values != second[key].values:
            pairs = zip(columns, first[key].values, second[key].values, strict=True)
            found.append(RowDifference(key, "altered", tuple(name for name, one, other in pairs if one != other)))
    return found


def settle(
    comparison: Comparison,
    left: Mapping[Day, Totals],
    right: Mapping[Day, Totals],
    differences: Mapping[Day, list[RowDifference]],
    explained: Mapping[Day, dict[str, int]],
) -> Comparison:
    """Put the days together.

    `differences` has the days on which rows were named, with those that nothing explains. Another day that differs
    counts its difference in rows, at least one.
    """
    nothing = Totals(0)
    differing = set(differing_days(left, right))
    for day in sorted({*left, *right, *explained}, key=lambda one: one or date.min):
        outcome = DayOutcome(day, left.get(day, nothing), right.get(day, nothing), dict(explained.get(day, {})))
        if day in differences:
            outcome.unexplained = len(differences[day])
            outcome.differences = differences[day][:NAMED_ROWS]
        elif day in differing:
            outcome.unexplained = max(1, abs(outcome.left.rows - outcome.right.rows))
        comparison.days.append(outcome)
    return comparison


def reconcile_trusted(
    connection: duckdb.DuckDBPyConnection,
    home: Home,
    datasets: Mapping[str, Dataset],
    built_at: datetime | None,
    on: date | None = None,
) -> list[Comparison]:
    """Raw beside trusted, for each dataset that says what it `reconciles`; one day with `on`.

    `connection` is open on the warehouse; rows that were loaded after `built_at` wait for the next build. A day costs a share of one scan of both sides' compared columns; rows are
    searched only on days that differ.
    """
    built = set(connection.execute("select schema_name || '.' || table_name from duckdb_tables()").fetchall())
    compared = []
    for dataset in datasets.values():
        declared = dataset.parameters.reconciles
        if declared is None:
            continue
        one = _Trusted(connection, home, dataset, declared, built_at, on)
        if not {(dataset.key,), (declared.table,)} <= built or built_at is None:
            one.comparison.not_compared = "it was not built yet"
        else:
            one.compare()
        compared.append(one.comparison)
    return compared


class _Trusted:
    """One dataset beside the table of raw that it holds row by row."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        home: Home,
        dataset: Dataset,
        declared: Reconciles,
        built_at: datetime | None,
        on: date | None,
    ) -> None:
        self.connection = connection
        self.dataset = dataset
        self.declared = declared
        self.sums = [name for name in declared.columns if name != declared.day]
        self.comparison = Comparison(declared.table, dataset.key, dataset.consistency_group, tuple(self.sums))
        self.newer = f"_loaded_at > timestamptz '{built_at}'"
        self.rules = {"not_built_yet": self.newer, **declared.left_out}
        kept = kept_file(home, dataset.model.zone, dataset.model.name)
        if kept.exists():
            key = f"json_extract_string(key, '$.{dataset.parameters.key[0]}')"
            self.rules["quarantined"] = (
                f"cast({declared.key} as varchar) in (select {key} from read_parquet('{str(kept).replace(chr(39), chr(39) * 2)}'))"
            )
        self.only = f"where day = date '{on}'" if on else ""

    def compare(self) -> None:
        """Fill the comparison."""
        explained: dict[Day, dict[str, int]] = {}
        for day, rule, count in self.connection.execute(
            f"select day, rule, count(*) from ({self._raw()}) {self.only or 'where true'} and rule is not null group by all"
        ).fetchall():
            explained.setdefault(day, {})[rule] = count
        left, right = self._totals(f"select * from ({self._raw()}) where rule is null"), self._totals(self._trusted())
        differences: dict[Day, list[RowDifference]] = {}
        days = days_to_search(left, right)
        if days:
            left_rows, right_rows = (
                self._rows(f"select * from ({self._raw()}) where rule is null", days),
                self._rows(self._trusted(), days),
            )
            differences = by_day(left_rows, right_rows, [self.declared.day, *self.sums])
        settle(self.comparison, left, right, differences, explained)

    def _raw(self) -> str:
        rule = " ".join(f"when {condition} then '{name}'" for name, condition in self.rules.items())
        raw = self.declared
        return self._shaped(raw.key, raw.columns, f"case {rule} end" if rule else "null") + (
            f" from {raw.table} as raw where _deleted_at is null"
        )

    def _trusted(self) -> str:
        shaped = self._shaped(self.dataset.parameters.key[0], {name: name for name in self.declared.columns}, "null")
        waiting = f"select cast({self.declared.key} as varchar) from {self.declared.table} where {self.newer}"
        trusted = f'"{self.dataset.model.zone}"."{self.dataset.model.name}"'
        return f"{shaped} from {trusted} where cast({self.dataset.parameters.key[0]} as varchar) not in ({waiting})"

    def _shaped(self, key: str, columns: Mapping[str, str], rule: str) -> str:
        money = "".join(f", cast({columns[name]} as decimal(19, 6)) as {name}" for name in self.sums)
        return f"select cast({key} as varchar) as row_key, cast({columns[self.declared.day]} as date) as day, {rule} as rule{money}"

    def _totals(self, rows: str) -> dict[Day, Totals]:
        sums = "".join(f", coalesce(sum({name}), 0)" for name in self.sums)
        hashed = ", ".join(["row_key", "day", *self.sums])
        found = self.connection.execute(
            f"select day, count(*), sum(hash({hashed})::hugeint){sums} from ({rows}) {self.only} group by day"
        ).fetchall()
        return {day: Totals(count, tuple(amounts), int(check)) for day, count, check, *amounts in found}

    def _rows(self, rows: str, days: Sequence[Day]) -> list[Row]:
        listed = ", ".join(["day", *self.sums])
        dates = [day for day in days if day is not None]
        found = self.connection.execute(
            f"select row_key, {listed} from ({rows}) where day in (select unnest(?::date[])) or (day is null and ?)",
            [dates, None in days],
        ).fetchall()
        return [Row(key, tuple(values)) for key, *values in found]


def by_day(left: Sequence[Row], right: Sequence[Row], columns: Sequence[str]) -> dict[Day, list[RowDifference]]:
    """The rows that differ, on each day on which one of the sides has them; the day is the first of a row's values."""
    days: dict[str, set[Day]] = {}
    for row in [*left, *right]:
        day = row.values[0]
        days.setdefault(row.key, set()).add(day if isinstance(day, date) else None)
    found: dict[Day, list[RowDifference]] = {}
    for difference in name_rows(left, right, columns):
        for day in days[difference.key]:
            found.setdefault(day, []).append(difference)
    return found
