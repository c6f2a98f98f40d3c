"""The watch over volume and distribution: each dataset that declares `watched` beside its own past.

What belongs here: reading what is published, which periods are complete, and what is found in words. What does not:
when a number is unusual (`governance.usual`).

Nothing is kept but what was found last: the past is in the datasets themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import duckdb
from pydantic import BaseModel, Field

from governance.manifest import Manifest, Source
from governance.registry import Dataset, Watched
from governance.usual import (
    DAY,
    JUDGED_DAYS,
    LEAST_ROWS,
    LEAST_WEEKS,
    LOOK_BACK,
    WEEK,
    Judged,
    Series,
    Value,
    day_of,
    moment_of,
    of_amounts,
    of_share,
    quarter_of,
    rows_of,
    share_of,
    unusual,
    unusual_rows,
)
from lendloop.clock import Clock
from lendloop.formats import read_json, write_json
from lendloop.home import Home
from lendloop.project import markets
from lendloop.publish import Catalog, GroupState, read_catalog
from lendloop.source_status import SourceStatus, read_status

SETTLES = timedelta(hours=1)
"""How long after its end a period may still be filled by a source that lists its latest rows late."""
ALL = "all"
MOST_GROUPS = 100_000
"""A column whose values by day are more is none of few values, and not judged."""
_BUCKET_US = 1800 * 10**6
_QUARTER_US = 24 * 3600 * 10**6 // DAY
Kind = Literal["rows", "share", "amount"]


class Finding(BaseModel):
    """A period in which a dataset is not as usual. Times are local to `time_zone`."""

    kind: Kind
    what: str
    """`rows`, `ticket_channel is email`, `person_key is filled`, `amount in NGN`."""
    of: str
    """The value of the column that is watched one by one, as `NG`; `all` for the total."""
    since: datetime
    until: datetime
    time_zone: str
    found: float
    low: float
    high: float

    def __str__(self) -> str:
        said = {"rows": "{} rows", "share": self.what + " in {}", "amount": "a typical " + self.what + " is {}"}
        found, low, high = (self.shown(number) for number in (self.found, self.low, self.high))
        return f"{self.of}: {said[self.kind].format(found)} {self._period()}, usual are {low} to {high}"

    def shown(self, number: float) -> str:
        """A number of its kind as people write it."""
        return {"rows": "{:,.0f}", "share": "{:.1%}", "amount": "{:,.2f}"}[self.kind].format(number)

    def _period(self) -> str:
        if self.since.hour or self.until.hour:
            return f"from {self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} {self.time_zone}"
        last = self.until - timedelta(days=1)
        return f"on {self.since:%Y-%m-%d}" if last == self.since else f"from {self.since:%Y-%m-%d} to {last:%Y-%m-%d}"


class Verdict(BaseModel):
    """What the watch says of a dataset. Where neither rows nor values were judged there is none."""

    rows_judged: bool = False
    values_judged: bool = False
    not_judged: dict[str, str] = Field(default_factory=dict)
    """Why not, by the value of the column that is watched one by one, or by the column whose values were to be judged."""
    findings: list[Finding] = Field(default_factory=list)

    @property
    def judged(self) -> bool:
        return self.rows_judged or self.values_judged

    def error(self, steward: str) -> str:
        """What was found and what to do, in a line; empty where all is as usual."""
        if not self.findings:
            return ""
        first, more = self.findings[0], len(self.findings) - 1
        return (
            f"{first}{f' (and {more} more)' if more else ''}; {steward}: compare with the source"
            f" (`lendloop reconcile --on {first.since:%Y-%m-%d}`) and load what is missing or mend what is wrong"
        )


class _Kept(BaseModel):
    """What was found last, and of what: the build, and the hour up to which sources were read."""

    format: int = 1
    built_at: datetime | None = None
    read_until: dict[str, datetime | None] = Field(default_factory=dict)
    verdicts: dict[str, Verdict] = Field(default_factory=dict)


def read_verdicts(home: Home) -> dict[str, Verdict]:
    """What was found last, by dataset; nothing before the first pass."""
    return _kept(home).verdicts


def _kept(home: Home) -> _Kept:
    try:
        return read_json(_file(home), _Kept)
    except (FileNotFoundError, ValueError):
        return _Kept()


def _file(home: Home) -> Path:
    return home.dbt / "watched.json"


def watch(home: Home, datasets: Mapping[str, Dataset], manifest: Manifest, clock: Clock) -> dict[str, Verdict]:
    """A verdict on each dataset that is watched, as it is published. Opens no lock.

    A period counts as complete once every source of the dataset was read past its end, so a source that can't be read
    is no gap. Looks again only when something was built, or an hour more was read.
    """
    catalog, statuses = read_catalog(home), read_status(home)
    watched = {key: one for key, one in datasets.items() if one.parameters.watched}
    now = _Kept(
        built_at=catalog.built_at,
        read_until={
            key: until and until.replace(minute=0, second=0, microsecond=0)
            for key, one in watched.items()
            for until in [_complete_until(one, manifest, statuses, catalog, clock)]
        },
    )
    before = _kept(home)
    if before.model_copy(update={"verdicts": {}}) == now:
        return before.verdicts
    for key, one in watched.items():
        until = now.read_until[key]
        if key not in catalog.tables:
            now.verdicts[key] = Verdict(not_judged={ALL: "it is not published yet"})
        elif until is None:
            now.verdicts[key] = Verdict(not_judged={ALL: "a source of it was never read"})
        else:
            with duckdb.connect(str(home.published), read_only=True) as connection:
                connection.execute("set timezone = 'UTC'")
                now.verdicts[key] = judge_dataset(connection, one, until)
    write_json(_file(home), now)
    return now.verdicts


def _complete_until(
    dataset: Dataset, manifest: Manifest, statuses: Mapping[str, SourceStatus], catalog: Catalog, clock: Clock
) -> datetime | None:
    """Up to when everything that its sources had is in the published dataset; None where one was never read."""
    read = [
        status.succeeded_as_of
        for name, status in statuses.items()
        if status.configured and name in sources_of(dataset, manifest)
    ]
    group = catalog.groups.get(dataset.consistency_group, GroupState())
    published = clock.as_of if group.state == "fresh" else group.published_as_of
    known = [one for one in (*read, published) if one is not None]
    return min(known) if read and len(known) == len(read) + 1 else None


def sources_of(dataset: Dataset, manifest: Manifest) -> set[str]:
    """The systems that a dataset's rows come from: of the table of raw that it reconciles with, else all behind it."""
    if declared := dataset.parameters.reconciles:
        return {declared.table.partition(".")[0].removeprefix("raw_")}
    found, waiting, seen = set(), [dataset.model.unique_id], set[str]()
    while waiting:
        node = manifest.by_id.get(one := waiting.pop())
        if one in seen or node is None:
            continue
        seen.add(one)
        if isinstance(node, Source):
            found.add(node.schema.removeprefix("raw_"))
        else:
            waiting += node.depends_on
    return found


def judge_dataset(connection: duckdb.DuckDBPyConnection, dataset: Dataset, until: datetime) -> Verdict:
    """The verdict on a table that `connection` knows as `schema.table`, whose rows are complete up to `until`."""
    declared = dataset.parameters.watched
    if declared is None:
        raise ValueError(f"{dataset.key} is not watched")
    known = {
        name
        for (name,) in connection.execute(
            "select column_name from duckdb_columns() where schema_name = ? and table_name = ?",
            [dataset.model.zone, dataset.model.name],
        ).fetchall()
    }
    if lacking := [name for name in declared.columns if name not in known]:
        return Verdict(not_judged={ALL: f"the version that is published has no {', '.join(lacking)}"})
    return _Watch(connection, dataset, declared, until).judge()


@dataclass(frozen=True)
class _Span:
    """The quarters of one value: its rows begin at `first`, are judged from `since` and complete up to `end`."""

    first: int
    since: int
    end: int


class _Watch:
    def __init__(
        self, connection: duckdb.DuckDBPyConnection, dataset: Dataset, declared: Watched, until: datetime
    ) -> None:
        self.connection = connection
        self.dataset = dataset
        self.declared = declared
        self.until = until
        self.zones = {row["market"]: row["time_zone"] for row in markets()}
        self.dated = dataset.model.columns[declared.time].data_type == "date"
        self.spans: dict[str, _Span] = {}
        self.verdict = Verdict()

    def judge(self) -> Verdict:
        rows: dict[str, dict[int, int]] = {}
        for of, quarter, count in self._grouped(ALL, "", "count(*)"):
            rows.setdefault(of, {})[quarter] = count
        if not rows:
            self.verdict.not_judged.setdefault(ALL, "it has no rows yet")
            return self.verdict
        self.spans = {of: self._span(of, min(counts)) for of, counts in rows.items()}
        self._rows(rows)
        for column in self.declared.shares:
            self._shares(column, f"coalesce(cast({_quoted(column)} as varchar), 'empty')")
        for column in self.declared.filled:
            self._shares(column, f"case when {_quoted(column)} is not null then 'filled' else 'empty' end", "filled")
        for column in self.declared.amounts:
            self._amounts(column)
        return self.verdict

    def _span(self, of: str, first: int) -> _Span:
        """The first day of all may have begun before the rows do, so it does not count; a date has ended when it has everywhere."""
        zones = [self.zones[of]] if of in self.zones and not self.dated else ["UTC", *self.zones.values()]
        until = self.until - SETTLES
        end = min(quarter_of(until.astimezone(ZoneInfo(zone)).replace(tzinfo=None)) for zone in zones)
        if self.dated:
            end = end // DAY * DAY
        first = (first // DAY + 1) * DAY
        return _Span(first, max(first, end - JUDGED_DAYS * DAY), end)

    def _rows(self, rows: Mapping[str, Mapping[int, int]]) -> None:
        for of, counts in sorted(rows.items()):
            self._count(of, counts, self.spans[of])
        if len(rows) > 1 and not self.verdict.findings:
            total: dict[int, int] = {}
            for counts in rows.values():
                for quarter, count in counts.items():
                    total[quarter] = total.get(quarter, 0) + count
            spans = self.spans.values()
            end = min(span.end for span in spans)
            first = min(span.first for span in spans)
            self._count(ALL, total, _Span(first, max(first, end - JUDGED_DAYS * DAY), end))

    def _count(self, of: str, counts: Mapping[int, int], span: _Span) -> None:
        found, judged = unusual_rows(counts, span.first, span.since, span.end, by_day=self.dated)
        self.verdict.rows_judged |= judged
        if not judged:
            short = span.end - span.first < (LEAST_WEEKS + 1) * WEEK
            self.verdict.not_judged[of] = f"its rows begin on {day_of(span.first)}" if short else "it has too few rows"
        for one in found:
            numbers = [rows_of(value) for value in (one.value, one.low, one.high)]
            self._found("rows", "rows", of, one, *numbers)

    def _shares(self, column: str, value: str, *only: str) -> None:
        parts: dict[str, dict[int, dict[str, int]]] = {}
        for of, quarter, named, count in self._grouped(column, value, "count(*)"):
            parts.setdefault(of, {}).setdefault(quarter, {})[named] = count
        for of, days in parts.items():
            totals = {day: sum(found.values()) for day, found in days.items()}
            series = {
                f"{column} is {named}": {
                    day: of_share(found.get(named, 0), totals[day])
                    for day, found in days.items()
                    if totals[day] >= LEAST_ROWS
                }
                for named in only or sorted({name for found in days.values() for name in found})
            }
            self._furthest("share", of, series, share_of)

    def _amounts(self, column: str) -> None:
        positive = f"filter (where {_quoted(column)} > 0)"
        log = f"ln(cast({_quoted(column)} as double))"
        sums = f"count(*) {positive}", f"sum({log}) {positive}", f"sum({log} * {log}) {positive}"
        series: dict[str, dict[str, dict[int, Value]]] = {}
        for of, quarter, currency, count, logs, squares in self._grouped(column, "cast(currency as varchar)", *sums):
            if count >= LEAST_ROWS:
                of_currency = series.setdefault(of, {}).setdefault(f"{column} in {currency}", {})
                of_currency[quarter] = of_amounts(count, logs, squares)
        for of, found in series.items():
            self._furthest("amount", of, found, math.exp)

    def _furthest(
        self, kind: Kind, of: str, series: Mapping[str, Mapping[int, Value]], back: Callable[[float], float]
    ) -> None:
        """The value and the day that are furthest from what is usual: where one share falls, others rise."""
        span = self.spans[of]
        unusual_ones: list[tuple[Judged, str]] = []
        for what, values in series.items():
            complete = {day: value for day, value in values.items() if span.first <= day <= span.end - DAY}
            found, judged = unusual(Series(DAY, complete, span.since), span.end)
            self.verdict.values_judged |= judged > 0
            unusual_ones += [(one, what) for one in found]
        if unusual_ones:
            one, what = max(unusual_ones, key=lambda found: found[0].distance)
            self._found(kind, what, of, one, *(back(value) for value in (one.value, one.low, one.high)))

    def _found(self, kind: Kind, what: str, of: str, period: Judged, found: float, low: float, high: float) -> None:
        self.verdict.findings.append(
            Finding(
                kind=kind,
                what=what,
                of=of,
                since=moment_of(period.at),
                until=moment_of(period.at + period.width),
                time_zone=self.zones.get(of, "UTC" if of != ALL or not self.declared.by else "in each one's own time"),
                found=found,
                low=low,
                high=high,
            )
        )

    def _grouped(self, what: str, key: str, *sums: str) -> list[tuple[Any, ...]]:
        """Sums over rows by value watched and quarter or, with a `key`, by whole days and the key: one scan of the columns.

        Instants are first grouped by half hours, so that few of them are turned into local time.
        """
        declared, model = self.declared, self.dataset.model
        table, instant = f"{_quoted(model.zone)}.{_quoted(model.name)}", _quoted(declared.time)
        of = f"coalesce(cast({_quoted(declared.by)} as varchar), 'none')" if declared.by else f"'{ALL}'"
        names = [f"sum_{number}" for number in range(len(sums))]
        grouped = "".join(f", {expression} as {name}" for name, expression in zip(names, sums, strict=True))
        time = instant if self.dated else f"epoch_us({instant}) // {_BUCKET_US}"
        local = (
            f"(bucket - date '1970-01-01') * {DAY}"
            if self.dated
            else f"epoch_us(timezone(zone, make_timestamptz(bucket * {_BUCKET_US}))) // {_QUARTER_US}"
        )
        quarter = f"({local}) // {DAY} * {DAY}" if key else local
        found = self.connection.execute(
            f"with buckets as (select {of} as watched, {time} as bucket, {key or 'null'} as key{grouped}"
            f" from {table} where {instant} >= $since and {instant} < $until group by all)"
            f" select watched, {quarter} as quarter{', key' if key else ''}, {', '.join(f'sum({name})' for name in names)}"
            " from (select buckets.*, coalesce(zones.zone, 'UTC') as zone from buckets"
            " left join (select unnest($markets) as market, unnest($zones) as zone) as zones on watched = market)"
            f" group by all limit {MOST_GROUPS + 1}",
            {
                "since": self.until - LOOK_BACK,
                "until": self.until,
                "markets": list(self.zones),
                "zones": list(self.zones.values()),
            },
        ).fetchall()
        if len(found) > MOST_GROUPS:
            self.verdict.not_judged[what] = "it has too many values"
            return []
        return found


def _quoted(name: str) -> str:
    return f'"{name}"'
