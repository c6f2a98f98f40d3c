"""How values become text: exact numbers with thousands, filled-in templates, nothing that looks personal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from activation.rules.parameters import PLACEHOLDER

_E_MAIL = re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+\.[^\s@<>\"']+")
_PHONE = re.compile(r"\+\d[\d\s().-]{6,}\d")


def fill(template: str, values: Mapping[str, Any]) -> str:
    """Put `values` in place of `{name}`; a name without a value becomes `?`."""
    return PLACEHOLDER.sub(lambda match: shown(values.get(match[1])), template)


def shown(value: Any) -> str:
    """A value as a person reads it, masked."""
    if value is None:
        return "?"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal | float):
        return number(Decimal(str(value)))
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return mask(str(value))


def number(value: Decimal | None, style: str = "number") -> str:
    """`61200.5` as `61,200.5`; with `percent`, `0.5312` as `53.12 %`."""
    if value is None:
        return "?"
    if style == "percent":
        return f"{number((value * 100).quantize(Decimal('0.01')))} %"
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def mask(text: str) -> str:
    """Hide whatever looks like an e-mail address or a telephone number."""
    return _PHONE.sub("[number hidden]", _E_MAIL.sub("[address hidden]", text))


def plain(value: Any) -> Any:
    """A value of a query as JSON can keep it: decimals and times as text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return str(value)
