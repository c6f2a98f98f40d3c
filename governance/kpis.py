"""The catalogue of KPIs: what each is, where it stands, what it is now, and the rows behind a value.

A KPI is a dbt metric, or an SQL model of kpi that says in its meta what a metric can't express; both are listed alike. One
declaration with a series (first-payment default after 1, 7 and 30 days) is one KPI for each value. What does not belong
here: how a number is computed (dbt_project) and how it is shown (orchestration). Only what is published is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import duckdb
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lendloop.clock import Clock
from lendloop.errors import ConfigurationError
from lendloop.project import markets
from lendloop.publish import Catalog, GroupState
from lendloop.source_status import SourceStatus
from lendloop.standing import Standing as DatasetStanding

ROWS = Path(__file__).with_name("rows")
TREND_DAYS = 30
TREND_MONTHS = 12
SHOWN_ROWS = 20
TOLERANCE = Decimal("0.001")
"""Shares of a cost are rounded to millionths each; a sum of rows may differ from the value's by that."""
NO_MARKET = "ZZ"
"""The market of what can't be told to belong to one."""
DIMENSIONS = frozenset({"market", "product_id", "product_name", "currency"})

By = Literal["market", "product"]
Refresh = Literal["daily", "monthly"]
Unit = Literal["share", "money", "count"]


class Declared(BaseModel):
    """What a metric or a model says of a KPI in its meta, under `kpi`. `series` are values of the key's own column."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str = ""
    """The table of kpi where it stands; of a model that says it of itself, that model."""
    term: str
    owner: str
    refresh: Refresh
    version: int
    unit: Unit
    rows: list[str] = Field(min_length=1)
    """Files of governance/rows, the finest first: the first whose rows add up to a value explains it."""
    series: list[dict[str, int | str]] = Field(default_factory=list)
    series_name: str = "{}"
    needs: Literal["costs"] | None = None
    """The source without which the KPI is blank."""
    label: str = ""
    column: str = ""
    numerator: str = ""
    denominator: str = ""


@dataclass(frozen=True)
class Kpi:
    """One KPI. `numerator` and `denominator` are SQL over the columns of `table`; a sum has no denominator."""

    name: str
    term: str
    label: str
    meaning: str
    kind: Literal["metric", "sql"]
    owner: str
    refresh: Refresh
    version: int
    unit: Unit
    table: str
    column: str
    numerator: str
    denominator: str | None
    period: str
    """The column of the day, or of the month's first day, that a value is of."""
    product: str | None
    has_currency: bool
    where: Mapping[str, int | str]
    group: str
    freshness: timedelta
    rows: tuple[str, ...]
    needs: Literal["costs"] | None

    @property
    def place(self) -> str:
        """Where it stands: `kpi.table.column`, and the row of its series."""
        series = ", ".join(f"{name} = {value}" for name, value in self.where.items())
        return f"{self.table}.{self.column}" + (f" ({series})" if series else "")


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


def read_kpis(manifest: Mapping[str, Any]) -> list[Kpi]:
    """Every KPI that the dbt project declares, in the order of tables and their columns.

    `manifest` is dbt's manifest.json as a dict. Raises ConfigurationError that names what is declared wrong.
    """
    models = {
        node["alias"]: node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["schema"] == "kpi"
    }
    kpis: list[Kpi] = []
    for metric in manifest["metrics"].values():
        if "kpi" in metric["config"].get("meta", {}):
            kpis += _of_metric(metric, models)
    for model in models.values():
        for declared in model["config"].get("meta", {}).get("kpis", []):
            kpis += _of_model(declared, model, models)
    names = [kpi.name for kpi in kpis]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"KPIs with one name: {', '.join(twice)}")
    places = {f"kpi.{name}": {column: place for place, column in enumerate(models[name]["columns"])} for name in models}
    return sorted(kpis, key=lambda kpi: (kpi.table, places[kpi.table][kpi.column]))


def _of_metric(metric: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[Kpi]:
    parts, name = metric["type_params"], metric["name"]
    declared = _declared(metric["config"]["meta"]["kpi"], f"metric {name}")
    denominator = parts["denominator"]["name"] if metric["type"] == "ratio" else None
    numerator = parts["numerator"]["name"] if metric["type"] == "ratio" else name
    label = metric["label"] or name
    yield from _expand(declared, "metric", name, label, numerator, denominator, metric["description"], models)


def _of_model(found: object, model: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[Kpi]:
    declared = _declared({**found, "table": model["alias"]} if isinstance(found, dict) else found, model["alias"])
    meaning = model["columns"].get(declared.column, {}).get("description", "")
    denominator = declared.denominator or None
    yield from _expand(
        declared, "sql", declared.column, declared.label, declared.numerator, denominator, meaning, models
    )


def _declared(found: object, what: str) -> Declared:
    try:
        return Declared.model_validate(found)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigurationError(f"{what}: its meta `kpi` is wrong: {faults}") from None


def _expand(
    declared: Declared,
    kind: Literal["metric", "sql"],
    column: str,
    label: str,
    numerator: str,
    denominator: str | None,
    meaning: str,
    models: Mapping[str, Any],
) -> Iterator[Kpi]:
    model = models.get(declared.table)
    if model is None or column not in model["columns"]:
        raise ConfigurationError(f"KPI {column} stands in no column of {declared.table}")
    if missing := [name for name in declared.rows if not (ROWS / f"{name}.sql").exists()]:
        raise ConfigurationError(f"KPI {column}: no governance/rows/{missing[0]}.sql")
    key = list(model["config"]["meta"]["key"])
    own = [name for name in key[1:] if name not in DIMENSIONS]
    for where in declared.series or [{}]:
        if sorted(where) != sorted(own):
            raise ConfigurationError(f"KPI {column}: its series must name {', '.join(own) or 'nothing'}")
        values = [str(value).replace("-", "_").replace("+", "_plus") for value in where.values()]
        shown = [str(value) for value in where.values()]
        yield Kpi(
            name=declared.series_name.format(*values) if where else column,
            term=declared.term,
            label=label.format(*shown),
            meaning=" ".join(meaning.split("\n\n")[0].split()),
            kind=kind,
            owner=declared.owner,
            refresh=declared.refresh,
            version=declared.version,
            unit=declared.unit,
            table=f"kpi.{declared.table}",
            column=column,
            numerator=numerator,
            denominator=denominator,
            period=key[0],
            product=next((name for name in key if name.startswith("product")), None),
            has_currency="currency" in key,
            where=where,
            group=str(model["group"]),
            freshness=timedelta(hours=_fail_hours(model["config"]["meta"])),
            rows=tuple(declared.rows),
            needs=declared.needs,
        )


def _fail_hours(meta: Mapping[str, Any]) -> float:
    return float(meta["freshness"]["fail_hours"])


def find_kpi(kpis: Sequence[Kpi], name: str) -> Kpi:
    """The KPI of a name. Raises ConfigurationError that lists the known."""
    for kpi in kpis:
        if kpi.name == name:
            return kpi
    raise ConfigurationError(f"unknown KPI {name!r}: one of {', '.join(kpi.name for kpi in kpis)}")


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
    demoted, stale = demotions.doubt(kpi.table), _stale(kpi, group, clock)
    found = []
    for (where, currency), values in series.items():
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


def _stale(kpi: Kpi, group: GroupState, clock: Clock) -> str | None:
    if group.state != "fresh":
        return f"its group keeps version {group.version}: {group.reason}"
    if group.published_as_of and clock.as_of - group.published_as_of > kpi.freshness:
        return f"older than {kpi.freshness.total_seconds() / 3600:.0f} hours"
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
