"""HubSpot's CRM search over Arrow columns: filter groups, sorts, typed comparison.

Filters within a group are joined by AND, groups by OR. Strings compare without case; dates take
epoch milliseconds or ISO 8601; numbers compare as numbers; a value that is not of its property's
type matches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sandbox.lender import Columns, Rows

PropertyType = Literal["string", "number", "datetime", "date", "bool"]
Mask = npt.NDArray[np.bool_]

_NUMBERS = {"amount", "approved_amount", "hs_object_id"}
_DATES = {"date_of_birth"}
_BOOLEANS = {"sms_consent", "email_consent", "do_not_contact", "fraud_flag", "deceased", "in_dispute"}
_STAMPS = {"createdate", "lastmodifieddate", "hs_lastmodifieddate"}
SYSTEM_COLUMNS = {"createdate": "created_at", "lastmodifieddate": "updated_at", "hs_lastmodifieddate": "updated_at"}
"""Properties that HubSpot keeps itself, and the lender's column behind each."""

MAX_GROUPS, MAX_FILTERS = 5, 6


def property_type(name: str) -> PropertyType:
    """The type a property has in the portal."""
    if name in _STAMPS or name.endswith("_at"):
        return "datetime"
    if name in _DATES:
        return "date"
    if name in _NUMBERS:
        return "number"
    return "bool" if name in _BOOLEANS else "string"


def search_rows(columns: Columns, live: Rows, groups: Sequence[dict[str, Any]], sorts: Sequence[Any]) -> Rows:
    """The live rows that match, in order. Raises ValueError for filters that HubSpot refuses."""
    if len(groups) > MAX_GROUPS:
        raise ValueError(f"at most {MAX_GROUPS} filterGroups are allowed")
    order = _order(columns, live, sorts)
    if not groups:
        return order
    matching = np.zeros(len(columns), bool)
    for group in groups:
        filters = group.get("filters") or []
        if len(filters) > MAX_FILTERS:
            raise ValueError(f"at most {MAX_FILTERS} filters in a group are allowed")
        mask = np.ones(len(columns), bool)
        for one in filters:
            mask &= _filter_mask(columns, one)
        matching |= mask
    return order[matching[order]]


def _order(columns: Columns, live: Rows, sorts: Sequence[Any]) -> Rows:
    """Live rows by the one sort HubSpot takes; ties, and no sort at all, go by id."""
    if not sorts:
        return live
    if len(sorts) > 1:
        raise ValueError("only one sort is supported")
    sort = sorts[0]
    if isinstance(sort, str):
        name, falling = sort.removeprefix("-"), sort.startswith("-")
    else:
        name, falling = sort.get("propertyName", ""), sort.get("direction", "ASCENDING") == "DESCENDING"

    def make() -> Rows:
        values = _typed(columns, name)
        if not isinstance(values, np.ndarray):
            direction = "descending" if falling else "ascending"
            texts = pc.fill_null(values, "").take(pa.array(live))
            places = pc.sort_indices(texts, sort_keys=[("", direction)]).to_numpy()
        else:
            chosen = values[live]
            places = np.argsort(-chosen if falling else chosen, kind="stable")
        ordered: Rows = live[places]
        return ordered

    result: Rows = columns.once(("sort", name, falling), make)
    return result


def _typed(columns: Columns, name: str) -> Any:
    """A property: numbers and times as numpy's float64 with NaN, the rest as Arrow's text in lower case."""

    def make() -> Any:
        if name == "hs_object_id":
            return columns.ids.astype("float64")
        if name in SYSTEM_COLUMNS:
            column = columns.table[SYSTEM_COLUMNS[name]]
            micros = pc.cast(pc.cast(column, pa.timestamp("us", "UTC")), pa.int64())
            return np.floor(micros.to_pandas().astype("float64").to_numpy() / 1000)
        if name not in columns.names:
            raise ValueError(f"Property {name} does not exist")
        text = columns.table[name]
        kind = property_type(name)
        if kind == "number":
            return pd.to_numeric(text.to_pandas(), errors="coerce").to_numpy("float64")
        if kind in ("datetime", "date"):
            stamps = pd.to_datetime(text.to_pandas(), errors="coerce", utc=True, format="ISO8601")
            micros = stamps.dt.as_unit("us").to_numpy("datetime64[us]")
            return np.where(np.isnat(micros), np.nan, np.floor(micros.astype("int64") / 1000.0))
        return pc.utf8_lower(text)

    return columns.once(("typed", name), make)


def _operand(name: str, value: object) -> Any:
    kind = property_type(name)
    text = str(value)
    if kind == "number":
        return float(text)
    if kind in ("datetime", "date"):
        if re.fullmatch(r"-?\d+", text):
            return float(text)
        stamp = datetime.fromisoformat(text)
        return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp() * 1000 // 1
    return text.lower()


def _filter_mask(columns: Columns, one: dict[str, Any]) -> Mask:
    name, operator = str(one.get("propertyName", "")), str(one.get("operator", ""))
    values = _typed(columns, name)
    if isinstance(values, np.ndarray):
        known: Mask = ~np.isnan(values)
    else:
        known = _booleans(pc.not_equal(values, ""))
    if operator == "HAS_PROPERTY":
        return known
    if operator == "NOT_HAS_PROPERTY":
        return ~known
    if operator in ("IN", "NOT_IN"):
        chosen = [_operand(name, value) for value in one.get("values") or []]
        if not chosen:
            raise ValueError(f"operator {operator} on {name} needs values")
        if isinstance(values, np.ndarray):
            inside: Mask = np.isin(values, chosen)
        else:
            inside = _booleans(pc.is_in(values, value_set=pa.array(chosen, pa.string())))
        return known & (inside if operator == "IN" else ~inside)
    if "value" not in one:
        raise ValueError(f"operator {operator} on {name} needs a value")
    operand = _operand(name, one["value"])
    if operator == "BETWEEN":
        high = _operand(name, one["highValue"])
        return known & _compared("GTE", values, operand) & _compared("LTE", values, high)
    if operator in ("CONTAINS_TOKEN", "NOT_CONTAINS_TOKEN"):
        held = _holding(values, str(operand))
        return known & (held if operator == "CONTAINS_TOKEN" else ~held)
    if operator not in _COMPARISONS:
        raise ValueError(f"operator {operator!r} is not supported")
    return known & _compared(operator, values, operand)


def _holding(values: Any, token: str) -> Mask:
    """Which texts have the token as a word of its own; `*` stands for any further letters."""
    pattern = re.escape(token).replace(r"\*", r"\S*")
    words = re.compile(rf"(?:^|\W){pattern}(?:$|\W)")
    texts = values.tolist() if isinstance(values, np.ndarray) else values.to_pylist()
    return np.array([words.search(str(value or "")) is not None for value in texts], bool)


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "EQ": pc.equal,
    "NEQ": pc.not_equal,
    "LT": pc.less,
    "LTE": pc.less_equal,
    "GT": pc.greater,
    "GTE": pc.greater_equal,
}


def _compared(operator: str, values: Any, operand: Any) -> Mask:
    """False where there is no value."""
    column = pa.array(values, from_pandas=True) if isinstance(values, np.ndarray) else values
    return _booleans(_COMPARISONS[operator](column, operand))


def _booleans(column: Any) -> Mask:
    return np.asarray(pc.fill_null(column, False).to_numpy(zero_copy_only=False), bool)
