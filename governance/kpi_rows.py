"""The rows behind a value of a KPI: the finest kind of row (governance/rows) that adds up to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb

from governance.kpi_values import By, Value, kpi_values
from governance.kpis import ROWS, Kpi
from lendloop.errors import ConfigurationError

SHOWN_ROWS = 20
TOLERANCE = Decimal("0.001")
"""Shares of a cost are rounded to millionths each; a sum of rows may differ from the value's by that."""


@dataclass(frozen=True)
class Explained:
    """A value and the rows behind it: `rows` are shown, `others` are how many more there are and what they add up to."""

    value: Value
    rows_of: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    others: int
    others_numerator: Decimal
    others_denominator: Decimal
    total: int
    adds_up: bool


@dataclass(frozen=True)
class _Found:
    columns: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    total: int = 0
    numerator: Decimal = Decimal(0)
    denominator: Decimal = Decimal(0)


def explain(
    connection: duckdb.DuckDBPyConnection,
    kpi: Kpi,
    *,
    on: date | None = None,
    by: By = "market",
    market: str | None = None,
    limit: int = SHOWN_ROWS,
) -> list[Explained]:
    """The values of a day (or the month it lies in; the newest value without one), each with the rows behind it.

    Raises ConfigurationError when there is no value then, or the KPI has no products.
    """
    if by == "product" and kpi.product is None:
        raise ConfigurationError(f"{kpi.name} is not kept by product")
    everything = kpi_values(connection, kpi, by=by, market=market)
    period = _period(kpi, everything, on)
    return [_explained(connection, kpi, value, by, limit) for value in everything if value.period == period]


def _period(kpi: Kpi, values: Sequence[Value], on: date | None) -> date:
    """The period of the values that a date asks for."""
    periods = sorted({value.period for value in values})
    if on is None:
        known = [value for value in values if value.value is not None]
        if not known:
            raise ConfigurationError(f"{kpi.name} has no value yet")
        return max(value.period for value in known)
    asked = on.replace(day=1) if kpi.refresh == "monthly" else on
    if asked not in periods:
        near = min(periods, key=lambda period: abs(period - asked), default=None)
        raise ConfigurationError(
            f"{kpi.name} has no value of {asked}" + (f"; the nearest is of {near}" if near else "")
        )
    return asked


def _explained(connection: duckdb.DuckDBPyConnection, kpi: Kpi, value: Value, by: By, limit: int) -> Explained:
    found, name, adds_up = _Found(), kpi.rows[0], False
    for name in kpi.rows:
        found = _rows_behind(connection, kpi, value, name, by, limit)
        adds_up = _same(found.numerator, value.numerator) and (
            kpi.denominator is None or _same(found.denominator, value.denominator)
        )
        if adds_up:
            break
    shown = [tuple(row) for row in found.rows]
    return Explained(
        value=value,
        rows_of=name,
        columns=found.columns,
        rows=tuple(shown),
        others=found.total - len(shown),
        others_numerator=found.numerator - sum((row[-2] for row in shown), Decimal(0)),
        others_denominator=found.denominator - sum((row[-1] for row in shown), Decimal(0)),
        total=found.total,
        adds_up=adds_up,
    )


def _same(one: Decimal, other: Decimal | None) -> bool:
    return abs(one - (other or Decimal(0))) <= TOLERANCE


def _rows_behind(
    connection: duckdb.DuckDBPyConnection, kpi: Kpi, value: Value, name: str, by: By, limit: int
) -> _Found:
    """The rows of a file of governance/rows that belong to a value, those that weigh most first."""
    query = (ROWS / f"{name}.sql").read_text()
    relation = f"({query}) as found"
    given: dict[str, Any] = {
        "period": value.period,
        **{key: shown for key, shown in kpi.where.items() if f"${key}" in query},
    }
    described = connection.execute(f"select * from {relation} limit 0", given).description
    keys = [column[0] for column in described][: [column[0] for column in described].index("market")]
    conditions = ["market = $market"]
    given["market"] = value.market
    if kpi.has_currency:
        conditions.append("currency = $currency")
        given["currency"] = value.currency
    if by == "product":
        conditions.append(f"cast({kpi.product} as varchar) = $product")
        given["product"] = value.product
    numerator, denominator = (
        f"cast(coalesce({part}, 0) as decimal(38, 6))" for part in (kpi.numerator, kpi.denominator or "0")
    )
    chosen = (
        f"select {', '.join(keys)}, {numerator} as numerator, {denominator} as denominator"
        f" from {relation} where {' and '.join(conditions)}"
    )
    chosen = f"select * from ({chosen}) as chosen where numerator <> 0 or denominator <> 0"
    totals = connection.execute(
        f"select count(*), coalesce(sum(numerator), 0), coalesce(sum(denominator), 0) from ({chosen}) as counted", given
    ).fetchone()
    if totals is None:
        raise RuntimeError("a count has one row")
    rows = connection.execute(
        f"{chosen} order by abs(numerator) desc, abs(denominator) desc, {', '.join(keys)} limit {int(limit)}", given
    ).fetchall()
    return _Found((*keys, "numerator", "denominator"), rows, int(totals[0]), totals[1], totals[2])
