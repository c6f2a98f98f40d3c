"""Python values of one column into Arrow, whatever mixture a source sends. Nothing else."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingestion.answers import UNTRUSTED, Unread, as_json

UNREADABLE = "_unreadable"
"""The column of a batch whose rows have no body that could be read: their text, beside the key column alone."""
_ID = re.compile(r'"id"\s*:\s*"?(\w+)')


def column_of(values: list[Any], kind: pa.DataType | None = None) -> pa.Array:
    """An Arrow column: of the type that fits all values, or text where they are mixed or nested.

    With `kind` set to a text type, everything becomes text.
    """
    try:
        column = pa.array(values, kind)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return pa.array([as_text(value) for value in values], pa.string())
    if kind is not None or not (pa.types.is_nested(column.type) or pa.types.is_binary(column.type)):
        return column
    return pa.array([as_text(value) for value in values], pa.string())


def as_text(value: Any) -> str | None:
    """A value as the text that a person would find in the source; nested ones as JSON with sorted keys.

    What is no proper text, such as half a surrogate pair, comes with UNTRUSTED in front.
    """
    if value is None or isinstance(value, str):
        return None if value is None else _proper(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return as_json(value)
    if isinstance(value, bytes | memoryview):
        return _proper(bytes(value).decode("utf-8", "surrogateescape"))
    return str(value)


def _proper(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return UNTRUSTED + text.encode("utf-8", "backslashreplace").decode()
    return text


def apart(rows: list[Any], inner: str | None = None) -> tuple[list[dict[str, Any]], pa.Table]:
    """The rows that are objects (with an object or nothing at `inner`), and a batch of those that are not."""
    if all(type(row) is dict and (inner is None or type(row.get(inner)) is dict) for row in rows):
        return rows, _NO_ROWS
    good: list[dict[str, Any]] = []
    others = []
    for row in rows:
        if isinstance(row, dict) and (inner is None or isinstance(row.get(inner), dict | None)):
            good.append(row)
        else:
            others.append(row)
    ids = [id_of(row) for row in others]
    texts = [as_text(row) or "null" for row in others]
    return good, pa.table({"id": pa.array(ids, pa.string()), UNREADABLE: pa.array(texts, pa.string())})


def id_of(row: object) -> str | None:
    """The `id` of a row as text, also where the row could not be read but its id can; None where it has none."""
    if isinstance(row, Unread):
        found = _ID.search(row)
        return found[1] if found else None
    value = row.get("id") if isinstance(row, dict) else None
    return as_text(value) or None if isinstance(value, str | int) and not isinstance(value, bool) else None


_NO_ROWS = pa.table({"id": pa.array([], pa.string()), UNREADABLE: pa.array([], pa.string())})


class Ids:
    """How many rows came, those that came again counted once; rows without an id count each."""

    def __init__(self) -> None:
        self._pages: list[pa.Array] = []
        self._without = 0

    def add(self, page: list[Any]) -> None:
        ids = column_of([id_of(row) for row in page], pa.string())
        self._without += ids.null_count
        self._pages.append(ids)

    def count(self) -> int:
        if not self._pages:
            return 0
        return int(pc.count_distinct(pa.chunked_array(self._pages)).as_py()) + self._without
