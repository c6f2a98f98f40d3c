"""What a KPI is now and was: its values, what the catalogue says of them, and how they are written for people.

Only what is published is read. What does not belong here: what a KPI is (`kpis`), and how it is shown (orchestration).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import duckdb

from governance.kpis import Kpi
from lendloop.clock import Clock
from lendloop.errors import ConfigurationError
from lendloop.project import markets
from lendloop.publish import Catalog, GroupState
from lendloop.settings import SourceName
from lendloop.source_status import SourceStatus
from lendloop.standing import Standing as DatasetStanding

TREND_DAYS = 30
TREND_MONTHS = 12
NO_MARKET = "ZZ"
"""The market of what can't be told to belong to one."""

COUNTED: Mapping[str, SourceName] = {"portfolio": "ledger", "crm": "crm", "support": "support"}
"""The source whose rows the numbers of a consistency group count."""

By = Literal["market", "product"]


@dataclass(frozen=True)
class Value:
    """A KPI in one market or product, in one currency, on one day or month. Blank: `value` is None."""

    period: date
    market: str
    product: str | None
    currency: str | None
    numerator: Decimal | None
    denominator: Decimal | None
    value: Decimal | None


@dataclass(frozen=True)
class Standing:
    """What the catalogue says of a KPI now, in one market and currency. `trend` is oldest first, None for a gap."""

    kpi: Kpi
    market: str | None
    currency: str | None
    period: date | None
    value: Decimal | None
    trend: tuple[Decimal | None, ...]
    published_as_of: datetime | None
    status: Literal["ok", "stale", "demoted", "blank"]
    reason: str | None

    @property
    def of(self) -> str:
        """The day or month that its value is of, as people write it; empty where it is blank."""
        if self.period is None or self.value is None:
            return ""
        return f"{self.period:%Y-%m}" if self.kpi.refresh == "monthly" else f"{self.period:%Y-%m-%d}"


def check_market(market: str | None) -> None:
    """Raises ConfigurationError that lists the known markets when this is none of them."""
    known = [*(row["market"] for row in markets()), NO_MARKET]
    if market is not None and market not in known:
        raise ConfigurationError(f"unknown market {market!r}: one of {', '.join(known)}")


def kpi_values(
    connection: duckdb.DuckDBPyConnection,
    kpi: Kpi,
    *,
    since: date = date.min,
    until: date = date.max,
    by: By = "market",
    market: str | None = None,
) -> list[Value]:
    """The KPI by day or month, market and currency, also by product if asked for; oldest first.

    Products together are divided anew from the sums, and blank when one of them is. `connection` is open on what is
    published.
    """
    product = kpi.product if by == "product" and kpi.product else "null"
    conditions = [f"{kpi.period} between $since and $until", *(f"{name} = ${name}" for name in kpi.where)]
    given: dict[str, Any] = {"since": since, "until": until, **kpi.where}
    if market:
        conditions.append("market = $market")
        given["market"] = market
    query = (
        f"select {kpi.period}, market, cast({product} as varchar), {'currency' if kpi.has_currency else 'null'},"
        f" {_sum(kpi.numerator)}, {_sum(kpi.denominator or '1')}"
        f" from {kpi.table} where {' and '.join(conditions)} group by 1, 2, 3, 4 order by 1, 2, 3, 4"
    )
    return [
        Value(period, where, which, currency, top, bottom if kpi.denominator else None, _divided(kpi, top, bottom))
        for period, where, which, currency, top, bottom in connection.execute(query, given).fetchall()
    ]


def _sum(expression: str) -> str:
    """A sum that is blank when one of its parts is."""
    return f"case when count({expression}) = count(*) then cast(sum({expression}) as decimal(38, 6)) end"


def _divided(kpi: Kpi, numerator: Decimal | None, denominator: Decimal | None) -> Decimal | None:
    if kpi.denominator is None or numerator is None:
        return numerator
    return (numerator / denominator).quantize(Decimal("0.000001")) if denominator else None


def amount(kpi: Kpi, value: Decimal | None, currency: str | None) -> str | None:
    """A value as people write it: a share in percent, money with its currency; None where it is blank."""
    if value is None:
        return None
    if kpi.unit == "share":
        return f"{value * 100:,.1f} %"
    return f"{value:,.2f} {currency}" if kpi.unit == "money" else f"{value:,.0f}"


def standing(
    connection: duckdb.DuckDBPyConnection | None,
    kpi: Kpi,
    catalog: Catalog,
    sources: Mapping[str, SourceStatus],
    clock: Clock,
    market: str | None = None,
    *,
    demotions: DatasetStanding,
) -> list[Standing]:
    """What the catalogue says of a KPI now, by market and currency. `connection` is None before the first publication.

    A value is `demoted` when its table is, or rests on one that is: it may be looked at, and is not agreed.
    """
    group = catalog.groups.get(kpi.group, GroupState())
    if connection is None or kpi.table not in catalog.tables:
        why = group.reason or "nothing of its group is published yet"
        return [Standing(kpi, market, None, None, None, (), group.published_as_of, "blank", why)]
    series: dict[tuple[str, str | None], list[Value]] = {}
    for value in kpi_values(connection, kpi, market=market):
        series.setdefault((value.market, value.currency), []).append(value)
    if not series:
        why = "no row of it exists yet"
        return [Standing(kpi, market, None, None, None, (), group.published_as_of, "blank", why)]
    demoted, stale = demotions.doubt(kpi.table), _stale(kpi, group, sources, clock)
    found = []
    for where, currency in sorted(series, key=lambda one: (one[0], one[1] or "")):
        values = series[where, currency]
        now = _latest(kpi, values)
        blank = _why_blank(kpi, now, sources)
        found.append(
            Standing(
                kpi,
                where,
                currency,
                now.period,
                now.value,
                _trend(kpi, values, now.period),
                group.published_as_of,
                "blank" if blank else "demoted" if demoted else "stale" if stale else "ok",
                blank or demoted or stale,
            )
        )
    return found


def _latest(kpi: Kpi, values: Sequence[Value]) -> Value:
    """The newest value. Where cells mature, the newest that has; where costs are needed, the newest, blank or not."""
    if kpi.needs:
        return values[-1]
    return next((value for value in reversed(values) if value.value is not None), values[-1])


def _stale(kpi: Kpi, group: GroupState, sources: Mapping[str, SourceStatus], clock: Clock) -> str | None:
    """Why a value is older than it promises, if so: what is published, or what was read of the source that it counts."""
    promised = f"{kpi.freshness.total_seconds() / 3600:.0f} hours"
    if group.state != "fresh":
        return f"its group keeps version {group.version}: {group.reason}"
    if group.published_as_of and clock.as_of - group.published_as_of > kpi.freshness:
        return f"older than {promised}"
    source = sources.get(COUNTED.get(kpi.group, ""))
    if source and not source.configured:
        return f"the {source.source} is not configured any more: what is left of it grows old"
    if source and source.succeeded_as_of and clock.as_of - source.succeeded_as_of > kpi.freshness:
        read = f"{source.succeeded_as_of:%Y-%m-%d %H:%M} UTC"
        return f"the {source.source} was last read in full {read}, more than {promised} ago"
    return None


def _why_blank(kpi: Kpi, value: Value, sources: Mapping[str, SourceStatus]) -> str | None:
    if value.value is not None:
        return None
    if kpi.needs and value.numerator is None:
        if not sources[kpi.needs].configured:
            return "LENDLOOP_COSTS_FILE is not set: what the business costs is not known"
        return f"the file of costs lacks a kind that it needs, until {value.period:%Y-%m}"
    if value.denominator == 0 and (kpi.needs or not kpi.where):
        return "nothing to divide by"
    return "nothing is old enough yet"


def _trend(kpi: Kpi, values: Sequence[Value], until: date) -> tuple[Decimal | None, ...]:
    """The last 30 days or 12 months until then; days without a row are gaps."""
    known = {value.period: value.value for value in values}
    if kpi.refresh == "monthly":
        months = [until.replace(day=1)]
        while len(months) < TREND_MONTHS:
            months.append((months[-1] - timedelta(days=1)).replace(day=1))
        return tuple(known.get(month) for month in reversed(months))
    return tuple(known.get(until - timedelta(days=ago)) for ago in range(TREND_DAYS - 1, -1, -1))
