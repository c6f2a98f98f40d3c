"""Python values of one column into Arrow, whatever mixture a source sends. Nothing else."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa

UNREADABLE = "_unreadable"
"""The column of a batch whose rows have no body that could be read: their text, beside the key column alone."""


def column_of(values: list[Any], kind: pa.DataType | None = None) -> pa.Array:
    """An Arrow column: of the type that fits all values, or text where they are mixed or nested.

    With `kind` set to a text type, everything becomes text.
    """
    if kind is None:
        try:
            column = pa.array(values)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            return pa.array([as_text(value) for value in values], pa.string())
        if not pa.types.is_nested(column.type) and not pa.types.is_binary(column.type):
            return column
    return pa.array([as_text(value) for value in values], pa.string())


def as_text(value: Any) -> str | None:
    """A value as the text that a person would find in the source; nested ones as JSON with sorted keys."""
    if value is None or isinstance(value, str):
        return None if value is None else value.encode("utf-8", "replace").decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8", "replace")
    return str(value)


def apart(rows: list[Any], inner: str | None = None) -> tuple[list[dict[str, Any]], pa.Table]:
    """The rows that are objects (with an object or nothing at `inner`), and a batch of those that are not."""
    good: list[dict[str, Any]] = []
    others = []
    for row in rows:
        if isinstance(row, dict) and (inner is None or isinstance(row.get(inner), dict | None)):
            good.append(row)
        else:
            others.append(row)
    ids = [as_text(row.get("id")) if isinstance(row, dict) else None for row in others]
    texts = [as_text(row) or "null" for row in others]
    return good, pa.table({"id": pa.array(ids, pa.string()), UNREADABLE: pa.array(texts, pa.string())})
