"""Units of the pretend world and how they become Arrow columns.

Time is int64 microseconds since 1970 UTC, a day int64 days since 1970 in the market's time zone,
money int64 millionths of a currency unit (the six places that the ledger keeps). `NEVER` stands
for what does not happen.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sandbox.world.draws import Bools, Floats, Ints

NEVER = 2**62
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
UNIT = 1_000_000
"""One unit of a currency."""

MONEY = pa.decimal128(19, 6)
LEDGER_TIME = pa.timestamp("us")
UTC_TIME = pa.timestamp("us", tz="UTC")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """An aware instant as microseconds since 1970."""
    return (moment - EPOCH) // (moment.resolution)


def span(days: Floats) -> Ints:
    """A span in days as microseconds, whole milliseconds."""
    return (days * (DAY // 1000)).astype(np.int64) * 1000


def decimals(amounts: Ints, present: Bools | None = None) -> pa.Array:
    """Money as DECIMAL(19,6), exact; absent where `present` is false."""
    words = np.empty((len(amounts), 2), dtype=np.int64)
    words[:, 0] = amounts
    np.right_shift(amounts, 63, out=words[:, 1])
    valid = None if present is None else pa.py_buffer(np.packbits(present, bitorder="little"))
    return pa.Array.from_buffers(MONEY, len(amounts), [valid, pa.py_buffer(words)])


def keep(column: pa.Array, present: Bools) -> pa.Array:
    """The column, null where `present` is false."""
    return pc.if_else(pa.array(present), column, pa.scalar(None, column.type))


def times(moments: Ints, kind: pa.DataType = UTC_TIME) -> pa.Array:
    """Microseconds as timestamps; NEVER is null."""
    return pa.array(moments, mask=moments >= NEVER).cast(pa.int64()).cast(kind)


def dates(days: Ints) -> pa.Array:
    """Days as dates; NEVER is null."""
    absent = days >= NEVER // DAY
    return pa.array(np.where(absent, 0, days).astype(np.int32), mask=absent).cast(pa.date32())


def iso(moments: Ints) -> pa.Array:
    """Microseconds as ISO 8601 text with milliseconds and Z; NEVER is null."""
    present = moments < NEVER
    day, within = np.divmod(moments[present], DAY)
    minute, rest = np.divmod(within, MINUTE)
    first = int(day.min(initial=0))
    words = np.empty(len(day), dtype=[("day", "S10"), ("minute", "S6"), ("rest", "S8")])
    words["day"] = np.arange(first, day.max(initial=first) + 1).astype("datetime64[D]").astype("S10")[day - first]
    words["minute"] = _minutes()[minute]
    words["rest"] = _milliseconds()[rest // 1000]
    ends = np.zeros(len(moments) + 1, dtype=np.int32)
    np.cumsum(present * np.int32(words.itemsize), out=ends[1:])
    valid = np.packbits(present, bitorder="little")
    return pa.Array.from_buffers(pa.string(), len(moments), [pa.py_buffer(part) for part in (valid, ends, words)])


@cache
def _minutes() -> NDArray[np.bytes_]:
    """Each minute of a day as it stands in ISO 8601."""
    return np.array([f"T{minute // 60:02}:{minute % 60:02}".encode() for minute in range(DAY // MINUTE)])


@cache
def _milliseconds() -> NDArray[np.bytes_]:
    """Each millisecond of a minute, likewise."""
    return np.array([f":{ms // 1000:02}.{ms % 1000:03}Z".encode() for ms in range(MINUTE // 1000)])


def text(numbers: Ints, width: int = 0) -> pa.Array:
    """Whole numbers as text, padded with zeros to `width`."""
    column = pa.array(numbers).cast(pa.string())
    return pc.utf8_lpad(column, width=width, padding="0") if width else column


def join(*parts: pa.Array | str) -> pa.Array:
    """Texts put together row by row; null where a part is null."""
    return pc.binary_join_element_wise(*parts, "")


def pick(which: NDArray[np.int64], *columns: pa.Array | str | None) -> pa.Array:
    """Row by row the column that `which` names; a text or None stands for a constant column."""
    if not len(which):
        return pa.array([], pa.string())
    if not any(isinstance(c, pa.Array | pa.ChunkedArray) for c in columns):
        return pa.array(columns, pa.string()).take(pa.array(which))
    whole = [
        c if isinstance(c, pa.Array | pa.ChunkedArray) else pa.repeat(pa.scalar(c, pa.string()), len(which))
        for c in columns
    ]
    return pc.choose(pa.array(which), *whole)


def by_style(style: Ints, count: int, spelt: Callable[[int, Ints], pa.Array]) -> pa.Array:
    """Row by row the text of its style, of `count` styles: `spelt` is asked for the rows of one after the other."""
    rows = [np.flatnonzero(style == each) for each in range(count)]
    back = np.empty(len(style), dtype=np.int64)
    back[np.concatenate(rows)] = np.arange(len(style))
    return pa.concat_arrays([spelt(each, some) for each, some in enumerate(rows)]).take(pa.array(back))


def in_order(moments: Ints, *tie_breakers: Ints) -> Ints:
    """The rows in the order of moments, as np.lexsort gives them, for moments most of which are unlike.

    One sort of numbers that hold the moment, cut to the bits there are, and the row; then those alike are sorted.
    """
    count = len(moments)
    if not count:
        return np.empty(0, dtype=np.int64)
    bits = count.bit_length()
    since_first = moments - moments.min()
    cut = max(0, int(since_first.max()).bit_length() + bits - 63)
    packed = np.sort(since_first >> cut << bits | np.arange(count, dtype=np.int64))
    order: Ints = packed & ((1 << bits) - 1)
    again = np.flatnonzero(packed[1:] >> bits == packed[:-1] >> bits)
    if len(again):
        places = np.union1d(again, again + 1)
        tied = np.sort(order[places])
        order[places] = tied[np.lexsort(tuple(key[tied] for key in (*reversed(tie_breakers), moments)))]
    return order


def ranks(moments: Ints, *tie_breakers: Ints) -> Ints:
    """The place of each row in the order of moments, from 0: ids that grow as rows are made."""
    order = in_order(moments, *tie_breakers)
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order), dtype=np.int64)
    return places
