"""The quick ways of sorting, spelling and making ahead give what the plain ways give."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from sandbox.world.ahead import ahead
from sandbox.world.units import DAY, NEVER, in_order, iso, micros


@pytest.mark.parametrize("span", [1, 5, 4 * 365 * DAY, NEVER])
@pytest.mark.parametrize("count", [0, 1, 2, 2_000])
def test_rows_in_order_of_moments_are_those_of_lexsort(count: int, span: int) -> None:
    draw = np.random.default_rng(count)
    moments, first, second = draw.integers(0, span, count), draw.integers(0, 3, count), draw.integers(0, 3, count)
    moments[count // 2 :] = moments[: count - count // 2]
    assert in_order(moments, first, second).tolist() == np.lexsort((second, first, moments)).tolist()


def test_an_instant_is_spelt_with_milliseconds_and_what_never_happens_is_absent() -> None:
    instants = [
        datetime(2026, 6, 30, 17, 59, 59, 999_999, UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2028, 2, 29, 23, 1, 2, 3_000, UTC),
    ]
    moments = np.array([NEVER, *map(micros, instants), NEVER + DAY], dtype=np.int64)
    spelt = [f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03}Z" for instant in instants]
    assert iso(moments).to_pylist() == [None, *spelt, None]
    assert iso(moments[:1]).to_pylist() == [None]
    assert iso(moments[:0]).to_pylist() == []


def test_what_is_made_ahead_comes_in_order_and_no_further_ahead_than_asked() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    coming = ahead(items(), 2)
    assert next(coming) == 0
    coming.close()
    assert made == list(range(len(made)))
    assert len(made) <= 3
    assert list(ahead(items(), 3)) == list(range(10))


def test_a_failure_in_making_is_raised_where_the_item_is_awaited() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ArithmeticError("no second")

    coming = ahead(items(), 5)
    assert next(coming) == 1
    with pytest.raises(ArithmeticError, match="no second"):
        next(coming)
