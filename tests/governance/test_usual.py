"""What is usual: weekdays, month ends and chance are, half a day that is missing is not, and little past says nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from math import log

import pytest

from governance.usual import (
    DAY,
    JUDGED_DAYS,
    LEAST_WEEKS,
    WEEK,
    Judged,
    Series,
    Value,
    day_of,
    moment_of,
    of_amounts,
    of_rows,
    of_share,
    quarter_of,
    rows_of,
    same_days_of_months,
    share_of,
    unusual,
    unusual_rows,
)


def local(month: int, day: int, hour: int = 0) -> datetime:
    """A local time in 2026."""
    return datetime.combine(date(2026, month, day), time(hour))


TODAY = local(3, 12)
"""A Thursday."""
BY_QUARTER = (10, 60, 80, 50)


def a_day(_: date) -> float:
    return 1.0


def counts(
    weeks: int, of_day: Callable[[date], float] = a_day, *, end: datetime = TODAY, seed: int = 1
) -> dict[int, int]:
    """Rows by quarter in the weeks before `end`, with the noise of counts; `of_day` is what share of them a day has."""
    drawn = random.Random(seed)
    last = quarter_of(end)
    expected = {at: BY_QUARTER[at % DAY] * of_day(day_of(at)) for at in range(last - weeks * WEEK, last)}
    return {at: max(0, round(drawn.gauss(rows, rows**0.5))) for at, rows in expected.items()}


def found(rows: dict[int, int], *, end: datetime = TODAY) -> list[Judged]:
    last = quarter_of(end)
    return unusual_rows(rows, min(rows), last - JUDGED_DAYS * DAY, last)[0]


def lose(rows: dict[int, int], since: datetime, hours: int) -> None:
    """Take out the rows of so many hours."""
    for at in rows:
        begins = moment_of(at)
        overlap = min(since + timedelta(hours=hours), begins + timedelta(hours=6)) - max(since, begins)
        rows[at] = round(rows[at] * (1 - max(overlap, timedelta(0)) / timedelta(hours=6)))


@pytest.mark.parametrize("starts_at", [0, 3, 6, 9, 12])
def test_half_a_day_that_is_missing_is_found_wherever_it_begins(starts_at: int) -> None:
    rows = counts(10)
    since = local(3, 10, starts_at)
    lose(rows, since, 12)
    (one,) = found(rows)
    assert one.side == "low"
    assert quarter_of(since) <= one.at + 1
    assert one.at + one.width <= quarter_of(since + timedelta(hours=12)) + 2
    assert rows_of(one.value) < rows_of(one.low) < rows_of(one.high)


def test_it_is_found_while_the_rest_of_the_day_is_still_to_come() -> None:
    end = TODAY + timedelta(hours=12)
    rows = counts(10, end=end)
    lose(rows, TODAY, 12)
    (one,) = found(rows, end=end)
    assert (one.at, one.at + one.width) == (quarter_of(TODAY) + 1, quarter_of(end)), (
        "six hours of night are too few rows"
    )


def test_days_without_rows_are_one_finding_that_says_since_when() -> None:
    rows = counts(10)
    lose(rows, local(3, 9, 6), 54)
    (one,) = found(rows)
    assert (one.at, one.width) == (quarter_of(local(3, 9, 6)), 9)


def test_weekends_are_as_usual_and_half_a_weekday_is_not_hidden_by_them() -> None:
    rows = counts(10, lambda day: 0.2 if day.weekday() >= 5 else 1.0)
    assert found(rows) == []
    lose(rows, local(3, 6, 6), 12)
    assert [day_of(one.at) for one in found(rows)] == [date(2026, 3, 6)]


def month(day: date) -> float:
    """Twice as many on the last two days, half of them on the first two."""
    return 2.0 if (day + timedelta(days=2)).month != day.month else 0.5 if day.day <= 2 else 1.0


@pytest.mark.parametrize("end", [local(3, 1), local(3, 4)])
def test_the_end_of_a_month_is_as_other_months_end(end: datetime) -> None:
    rows = counts(26, month, end=end)
    assert found(rows, end=end) == []


def test_half_a_day_is_missed_at_the_end_of_a_month_too() -> None:
    end = local(3, 1)
    rows = counts(26, month, end=end)
    lose(rows, local(2, 28, 6), 12)
    assert [day_of(one.at) for one in found(rows, end=end)] == [date(2026, 2, 28)]


def test_before_three_months_are_known_only_what_is_too_little_is_said_of_a_months_end() -> None:
    end = local(3, 1)
    rows = counts(6, month, end=end)
    assert found(rows, end=end) == [], "twice as many may be how months end"
    lose(rows, local(2, 27), 24)
    assert [(day_of(one.at), one.side) for one in found(rows, end=end)] == [(date(2026, 2, 27), "low")]


def test_a_holiday_is_as_usual_and_one_in_the_past_hides_nothing() -> None:
    today = date(2026, 3, 11)
    assert found(counts(10, lambda day: 0.7 if day == today else 1.0)) == []
    rows = counts(10, lambda day: 0.1 if day == today - timedelta(weeks=1) else 1.0)
    lose(rows, local(3, 11, 6), 12)
    assert date(2026, 3, 11) in [day_of(one.at) for one in found(rows)]


def test_growth_is_as_usual_and_three_times_as_many_are_not() -> None:
    grown = {day: 1.05 ** ((day - TODAY.date()).days / 7) for day in map(day_of, counts(10))}
    assert found(counts(10, lambda day: grown[day])) == []
    (one,) = found(counts(10, lambda day: 3.0 if day == date(2026, 3, 11) else 1.0))
    assert (one.side, day_of(one.at)) == ("high", date(2026, 3, 11))


def test_chance_finds_nothing() -> None:
    assert [one for seed in range(100) for one in found(counts(10, seed=seed))] == []


def test_few_rows_are_not_judged() -> None:
    rows = counts(10, lambda _: 0.03)
    lose(rows, local(3, 10), 24)
    last = quarter_of(TODAY)
    assert unusual_rows(rows, min(rows), last - JUDGED_DAYS * DAY, last) == ([], False)


def test_the_first_weeks_are_not_judged() -> None:
    rows = counts(LEAST_WEEKS)
    lose(rows, local(3, 10), 24)
    last = quarter_of(TODAY)
    assert unusual_rows(rows, min(rows), last - JUDGED_DAYS * DAY, last) == ([], False)


def daily(today: Value, *, usual: Value, weeks: int = 8) -> list[Judged]:
    """What is unusual of a value for each day that was the same for weeks, and is another today."""
    last = quarter_of(TODAY) - DAY
    values = {last - days * DAY: usual for days in range(1, weeks * 7 + 1)} | {last: today}
    return unusual(Series(DAY, values, last), last + DAY)[0]


@pytest.mark.parametrize(
    ("today", "usual", "rows", "side"),
    [
        (0.40, 0.42, 1000, None), (0.20, 0.42, 1000, "low"), (0.0, 0.05, 1000, "low"), (0.06, 0.0, 1000, "high"),
        (0.30, 0.02, 1000, "high"), (0.20, 0.42, 30, None), (0.0, 0.05, 60, None),
    ],
)  # fmt: skip
def test_a_share_that_collapses_or_is_new_is_found_and_a_small_day_proves_nothing(
    today: float, usual: float, rows: int, side: str | None
) -> None:
    found = daily(of_share(round(today * rows), rows), usual=of_share(round(usual * 1000), 1000))
    assert [one.side for one in found] == [side] * bool(side)


def test_before_three_months_are_known_no_share_is_judged_at_the_end_of_one() -> None:
    last = quarter_of(local(2, 28))
    values = {last - days * DAY: of_share(420, 1000) for days in range(60)} | {last: of_share(200, 1000)}
    assert unusual(Series(DAY, values, last), last + DAY) == ([], 0)
    assert unusual(Series(DAY, values, last - DAY), last)[1] == 0
    assert unusual(Series(DAY, values, last - 3 * DAY), last - 2 * DAY)[1] == 1


def amounts(rows: int, typical: float) -> Value:
    """So many amounts, half of them twice and half of them half of what is typical."""
    logs = [log(typical * factor) for factor in (0.5, 2.0)]
    return of_amounts(rows, rows * sum(logs) / 2, rows * sum(one**2 for one in logs) / 2)


def test_amounts_a_hundred_times_too_large_are_found_even_in_few_rows() -> None:
    usual = amounts(200, 12_000)
    assert daily(amounts(20, 15_000), usual=usual) == []
    assert [one.side for one in daily(amounts(20, 1_200_000), usual=usual)] == ["high"]
    assert [one.side for one in daily(amounts(200, 120), usual=usual)] == ["low"]


def test_a_value_is_shown_as_the_number_that_it_was_made_of() -> None:
    assert [round(rows_of(of_rows(rows).value), 6) for rows in (0, 1, 7, 1_000_000)] == [0, 1, 7, 1_000_000]
    assert round(share_of(of_share(300, 1000).value), 3) == 0.3


def test_the_last_days_of_a_month_are_compared_with_the_last_days_of_others() -> None:
    march, first = (quarter_of(local(3, day, 12)) for day in (31, 2))
    assert [str(day_of(at)) for at in same_days_of_months(march)][:3] == ["2026-02-28", "2026-01-31", "2025-12-31"]
    assert [str(day_of(at)) for at in same_days_of_months(first)][:2] == ["2026-02-02", "2026-01-02"]
    assert same_days_of_months(march)[0] % DAY == march % DAY
