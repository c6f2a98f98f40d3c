"""A vendor's JSON answer into Python, so that one row that is no proper JSON does not take its page with it.

What belongs here: bytes to objects. What does not: what a value must be (contract), and requests (http).

The fast way reads what is proper. Where it can't (half a surrogate pair, bytes that are no UTF-8, NaN, numbers that no
float holds, depth), or where an object names a key twice, the answer is read with care, row by row if need be: a value
that can't be trusted becomes a text with a NUL in front, which the contract refuses and quarantine keeps.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

UNTRUSTED = "\0"
"""Stands in front of a text in place of a value that can't be trusted; no column takes it."""
DEEPEST = 64
"""Objects within objects of one row; what lies deeper is cut off, and its value refused."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]', re.DOTALL)
_KEYS = b'":'


class Unread(str):
    """A row whose text is no JSON, though its page is."""

    __slots__ = ()


def read_answer(content: bytes, rows: str | None = None) -> Any:
    """The JSON value of an answer. `rows` names the list whose rows may be bad one by one.

    Raises ValueError when the whole is no JSON.
    """
    try:
        body = orjson.loads(content)
        # a key that stands twice is silently dropped: it shows in the number of keys
        if content.count(_KEYS) == orjson.dumps(body).count(_KEYS):
            return body
    except (orjson.JSONDecodeError, TypeError):
        pass
    text = content.decode("utf-8", "surrogateescape")
    try:
        return _read(text)
    except (ValueError, RecursionError):
        return _read_by_rows(text, rows)


def _read(text: str) -> Any:
    return json.loads(
        text,
        strict=False,
        object_pairs_hook=_object,
        parse_constant=lambda name: UNTRUSTED + name,
        parse_int=_whole_number,
        parse_float=_number,
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a key with two different values has neither."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            value = f"{UNTRUSTED}{key} stands twice: {as_json(found[key])}, {as_json(value)}"
        found[key] = value
    return found


def _whole_number(text: str) -> int | str:
    return int(text) if len(text) < 1000 else UNTRUSTED + text


def _number(text: str) -> float | str:
    value = float(text)
    return value if abs(value) != float("inf") else UNTRUSTED + text


def as_json(value: Any) -> str:
    """A value as JSON with sorted keys, whatever it holds; what no proper JSON can hold has UNTRUSTED in front."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        return UNTRUSTED + json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return UNTRUSTED + text if r"\u0000" in text else text


def _read_by_rows(text: str, rows: str | None) -> Any:
    """The answer with each element of the list `rows` read by itself. Raises ValueError where that can't be found."""
    if rows is None:
        raise ValueError("no JSON")
    start, end, elements = _elements(text, rows)
    body = _read(f"{text[:start]}{text[end:]}")
    if not isinstance(body, dict):
        raise ValueError("no JSON object")
    return {**body, rows: [_element(element) for element in elements]}


def _element(text: str) -> Any:
    try:
        return _read(text)
    except (ValueError, RecursionError):
        return Unread(text.strip())


def _elements(text: str, rows: str) -> tuple[int, int, list[str]]:
    """Where the inside of the list begins and ends, and its elements, what is too deep in them cut off."""
    path: list[str] = []
    before = ["", ""]
    elements: list[str] = []
    parts: list[str] = []
    at = start = -1
    for found in _TOKEN.finditer(text):
        sign = found[0]
        if sign in "[{":
            if start < 0 and sign == "[" and path == ["{"] and before == [json.dumps(rows), ":"]:
                start = at = found.end()
            path.append(sign)
            if start >= 0 and len(path) == DEEPEST + 3:
                parts.append(text[at : found.start()])
        elif sign in "]}":
            if not path or path.pop() + sign not in ("[]", "{}"):
                raise ValueError("no JSON: brackets do not match")
            if start >= 0 and len(path) == DEEPEST + 2:
                parts.append('"\\u0000nested too deep"')
                at = found.end()
            if start >= 0 and len(path) == 1:
                last = "".join([*parts, text[at : found.start()]])
                return start, found.start(), [*elements, last] if last.strip() or elements else elements
        elif sign == "," and start >= 0 and len(path) == 2:
            elements.append("".join([*parts, text[at : found.start()]]))
            parts, at = [], found.end()
        before = [before[1], sign]
    raise ValueError(f"no JSON: the list {rows} does not end")
