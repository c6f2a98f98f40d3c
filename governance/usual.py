"""What is usual: whether numbers of a dataset are as its own past says, on such a weekday and at such a time of day.

What belongs here: the judgement, which is pure. What does not: reading a dataset (`governance.watch`).

A series has a value for each quarter of a day, numbered from 1970 in local time. A period is compared with the same
hours of the same weekday in the weeks before; near the end of a month also with the same days of earlier months, and
then must be unusual for both. Each kind of number is first turned into one whose noise is known (counts by Anscombe's
asinh, shares by arcsine, amounts by their logarithm), so one rule judges them all, small samples included: a value is
unusual when it is `FAR` times further from the median of its comparisons than chance and the past's own spread carry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from statistics import median
from typing import Literal

DAY = 4
"""Quarters of a day."""
WEEK = 7 * DAY
WIDTHS = (1, 2, DAY)
"""Over how many quarters rows are counted: the narrowest that has enough of them says it first."""
WEEKS = 8
LEAST_WEEKS = 4
"""With fewer comparisons there is no judgement."""
MONTHS = 6
LEAST_MONTHS = 3
MONTH_EDGE = 3
"""So many first and last days of a month are compared with those of other months too."""
LOOK_BACK = timedelta(weeks=27)
"""All of the past that is looked at."""
JUDGED_DAYS = 7
"""How long something unusual is reported: until it is mended, or so many days."""
FAR = 4.5
LEAST_ROWS = 20
"""With fewer rows a day has no shares and no typical amount."""
ROWS_VARY, SHARES_VARY, AMOUNTS_VARY = 0.08, 0.05, 0.1
"""What is never unusual, however many rows there are: a day has 8 % more or fewer of them, and so on."""

Side = Literal["low", "high"]


@dataclass(frozen=True)
class Value:
    """A number as it is compared, and the deviation that chance alone gives it."""

    value: float
    noise: float = 1.0


def of_rows(count: float) -> Value:
    """A count of rows."""
    return Value(2 / ROWS_VARY * math.asinh(ROWS_VARY * math.sqrt(count + 0.375)))


def rows_of(value: float) -> float:
    """The count that `of_rows` made a value of."""
    return max(0.0, (math.sinh(ROWS_VARY * max(value, 0.0) / 2) / ROWS_VARY) ** 2 - 0.375)


def of_share(part: int, rows: int) -> Value:
    """The share that a part has of so many rows."""
    return Value(2 * math.asin(math.sqrt((part + 0.375) / (rows + 0.75))), math.sqrt(1 / (rows + 0.5) + SHARES_VARY**2))


def share_of(value: float) -> float:
    """The share that `of_share` made a value of."""
    return math.sin(min(max(value, 0.0), math.pi) / 2) ** 2


def of_amounts(rows: int, logs: float, squares: float) -> Value:
    """The typical amount (geometric mean) of so many rows, given the sum of their logarithms and of those squared."""
    mean = logs / rows
    spread = max(squares / rows - mean**2, 0.0)
    return Value(mean, math.sqrt(spread / rows + AMOUNTS_VARY**2))


@dataclass(frozen=True)
class Judged:
    """A period of a series: `width` quarters from `at`. `low` and `high` bound what is usual, as values are compared."""

    at: int
    width: int
    value: float
    low: float
    high: float

    @property
    def side(self) -> Side | None:
        """On which side it is unusual, if it is."""
        return "low" if self.value < self.low else "high" if self.value > self.high else None

    @property
    def distance(self) -> float:
        """How far outside of what is usual, in widths of what is usual."""
        return max(self.low - self.value, self.value - self.high) / max(self.high - self.low, 1e-9)


@dataclass(frozen=True)
class Series:
    """Values by the quarter at which their period of `width` quarters begins; what begins at `since` or later is judged."""

    width: int
    values: Mapping[int, Value]
    since: int
    of_rows: bool = False
    """Whether they count rows: too few of them at a month's edge are said before other months are known."""

    def judge(self, at: int) -> Judged | None:
        """The period at `at` beside its past; None where there is no value, or not enough past."""
        now, weeks = self.values.get(at), self._weeks(at)
        if now is None or len(weeks) < LEAST_WEEKS:
            return None
        bounds = [self._bounds(now, weeks)]
        if is_month_edge(at):
            months = self._months(at)
            if len(months) >= LEAST_MONTHS:
                bounds.append(self._bounds(now, months))
            elif not self.of_rows or now.value > bounds[0][0]:
                return None
        return Judged(at, self.width, now.value, min(low for low, _ in bounds), max(high for _, high in bounds))

    def _bounds(self, now: Value, past: Sequence[float]) -> tuple[float, float]:
        center = median(past)
        own = 1.4826 * median(abs(one - center) for one in past)
        far = FAR * max(now.noise, own, self._spread) * math.sqrt(1 + math.pi / 2 / len(past))
        return center - far, center + far

    @cached_property
    def _spread(self) -> float:
        """How far periods of the past were from their own comparisons: of all hours and days, since few say little."""
        apart = []
        for at, value in self.values.items():
            if self.since - WEEKS * WEEK <= at < self.since:
                past = self._weeks(at)
                if past:
                    apart.append(abs(value.value - median(past)))
        return 1.4826 * median(apart) if apart else 0.0

    def _weeks(self, at: int) -> list[float]:
        found = (self.values.get(at - weeks * WEEK) for weeks in range(1, WEEKS + 1))
        return [one.value for one in found if one is not None]

    def _months(self, at: int) -> list[float]:
        found = (self.values.get(one) for one in same_days_of_months(at))
        return [one.value for one in found if one is not None]


def unusual(series: Series, end: int) -> tuple[list[Judged], int]:
    """The unusual ones of a series' periods that end by `end`, and how many were judged."""
    judged = [found for at in series.values if series.since <= at <= end - series.width and (found := series.judge(at))]
    return [one for one in judged if one.side], len(judged)


def unusual_rows(
    rows: Mapping[int, int], first: int, since: int, end: int, *, by_day: bool = False
) -> tuple[list[Judged], bool]:
    """What is unusual in counts of rows by quarter, and whether anything could be judged: no rows at all would be unusual.

    Counts begin at `first`, where a quarter that is not there has none, and are complete up to `end`; periods from
    `since` on are judged, `by_day` only whole days, the first quarter of which has all their rows. Periods that touch
    are one, and a wider one says nothing of what a narrower one said.
    """

    def counted(width: int) -> Series:
        sums = {at: of_rows(sum(rows.get(at + n, 0) for n in range(width))) for at in range(first, end - width + 1)}
        return Series(width, sums, since, of_rows=True)

    found: list[Judged] = []
    any_judged = False
    for width in (DAY,) if by_day else WIDTHS:
        series, mine = counted(width), []
        for at in range(since, end - width + 1, DAY if by_day else 1):
            one = series.judge(at)
            if one is None or rows_of(one.low) <= 0:
                continue
            any_judged = True
            if one.side == "low" or (one.side == "high" and rows_of(one.value) > 2 * rows_of((one.low + one.high) / 2)):
                mine.append(one)
        for period in _joined(mine, lambda at, wide: counted(wide).judge(at)):
            if not any(period.side == one.side and _overlap(period, one) for one in found):
                found.append(period)
    return found, any_judged


def _joined(periods: Sequence[Judged], judge: Callable[[int, int], Judged | None]) -> list[Judged]:
    """Periods of one side that touch, as one where that is unusual as a whole, else the furthest of them."""
    groups: list[list[Judged]] = []
    for one in periods:
        if groups and groups[-1][-1].side == one.side and one.at <= groups[-1][-1].at + one.width:
            groups[-1].append(one)
        else:
            groups.append([one])
    joined = []
    for group in groups:
        at, end = group[0].at, group[-1].at + group[-1].width
        whole = judge(at, end - at) if len(group) > 1 and end - at <= WEEK else group[0]
        furthest = max(group, key=lambda one: one.distance)
        joined.append(whole if whole and whole.side == group[0].side else furthest)
    return joined


def _overlap(one: Judged, other: Judged) -> bool:
    return one.at < other.at + other.width and other.at < one.at + one.width


def is_month_edge(at: int) -> bool:
    """Whether a quarter lies in the first or last days of a month."""
    day = day_of(at)
    return day.day <= MONTH_EDGE or _days_left(day) < MONTH_EDGE


def same_days_of_months(at: int) -> list[int]:
    """The same quarter on the same day of the months before, counted from the month's nearer end."""
    day = day_of(at)
    left = None if day.day <= MONTH_EDGE else _days_left(day)
    found = []
    first = day.replace(day=1)
    for _ in range(MONTHS):
        last = first - timedelta(days=1)
        first = last.replace(day=1)
        found.append(first + timedelta(days=day.day - 1) if left is None else last - timedelta(days=left))
    return [quarter_of(one) + at % DAY for one in found]


def _days_left(day: date) -> int:
    following = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
    return (following - day).days - 1


_EPOCH = datetime.combine(date(1970, 1, 1), time())


def moment_of(at: int) -> datetime:
    """When a quarter begins, in the local time that its series is in."""
    return _EPOCH + timedelta(hours=at * 24 // DAY)


def day_of(at: int) -> date:
    return moment_of(at).date()


def quarter_of(moment: date | datetime) -> int:
    """The quarter that a local time lies in; of a date its first."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    return (moment - _EPOCH) // timedelta(hours=24 // DAY)
