"""Zendesk's search syntax over Arrow columns, as far as a data team uses it.

`type:ticket status<solved tags:dispute created>2026-01-01 external_id:42 words`; terms are joined
by AND, a leading `-` turns one round. Statuses compare in their order from new to closed.
"""

from __future__ import annotations

import operator
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sandbox.lender import Columns, Rows

SEARCH_CEILING = 1000
"""Results a search gives over all its pages; beyond it a page is refused."""

_TERM = re.compile(r"(-?)(\w+)(<=|>=|<|>|:)(.+)")
_STATUSES = ("new", "open", "pending", "hold", "solved", "closed")
_DATES = {"created": "created_at", "updated": "updated_at", "solved": "updated_at"}
_NAMES = {"requester": "requester_id", "assignee": "assignee_id", "ticket_type": "type", "group": "group_id"}
_WORDS = {"tickets": ("subject", "description"), "users": ("name", "email", "phone")}
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    ":": operator.eq,
}

Mask = npt.NDArray[np.bool_]


def matching_rows(columns: Columns, kind: str, query: str) -> Rows:
    """Rows that match, newest update first; deleted ones are in no search. Raises ValueError for a term that can't be read."""
    mask: Mask = columns.once("not deleted", lambda: _is_there(columns, kind)).copy()
    for word in shlex.split(query):
        term = _TERM.fullmatch(word)
        if term is None:
            mask &= _with_word(columns, kind, word)
        elif term[2] != "type":
            found = _with_term(columns, term[2], term[3], term[4])
            mask &= ~found if term[1] else found

    def newest_first() -> Rows:
        changed = pc.cast(columns.table["updated_at"], "int64").to_numpy()[columns.by_id]
        ordered: Rows = columns.by_id[np.argsort(-changed, kind="stable")]
        return ordered

    order: Rows = columns.once("newest first", newest_first)
    return order[mask[order]]


def _is_there(columns: Columns, kind: str) -> Mask:
    if kind == "users":
        return (
            _booleans(columns.table["active"].cast(pa.bool_()))
            if "active" in columns.names
            else np.ones(len(columns), bool)
        )
    return ~_booleans(pc.equal(columns.table["status"].cast(pa.string()), "deleted"))


def _with_word(columns: Columns, kind: str, word: str) -> Mask:
    found = np.zeros(len(columns), bool)
    for name in _WORDS[kind]:
        if name in columns.names:
            found |= _booleans(pc.match_substring(columns.table[name], word, ignore_case=True))
    return found


def _with_term(columns: Columns, name: str, sign: str, value: str) -> Mask:
    compare = _COMPARE[sign]
    if name == "status":
        if value not in _STATUSES:
            raise ValueError(f"no such status: {value}")
        places = pc.index_in(columns.table["status"], value_set=pa.array(_STATUSES, pa.string())).to_pandas().fillna(-1)
        ranks = places.to_numpy(int)
        mask: Mask = compare(ranks, _STATUSES.index(value)) & (ranks >= 0)
        return mask
    if name in _DATES:
        moment = datetime.fromisoformat(value)
        limit = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)
        column = columns.table[_DATES[name]]
        micros = pc.cast(pc.cast(column, pa.timestamp("us", "UTC")), "int64").to_numpy()
        if sign == ":":
            return np.asarray((micros >= limit) & (micros < limit + 86_400_000_000))
        return np.asarray(compare(micros, limit))
    if name == "tags":
        return _booleans(pc.match_substring(columns.table["tags"], f'"{value}"'))
    column_name = _NAMES.get(name, name)
    if column_name not in columns.names:
        raise ValueError(f"no such search field: {name}")
    return _booleans(pc.equal(pc.cast(columns.table[column_name], "string"), value))


def _booleans(column: Any) -> Mask:
    return np.asarray(pc.fill_null(column, False).to_numpy(), bool)
