"""What is published, as far as the site shows it: states, counts of checks, and KPIs over time.

Belongs here: reading the published catalogue. Not here: drawing or wording. The reasons that a build gives are left out:
they may quote a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal

import duckdb

from governance.freshness import lateness, made_as_of
from governance.kpi_values import Standing, kpi_values, standing
from governance.kpis import Kpi
from governance.quality import Standing as Quality
from governance.registry import Dataset
from governance.watch import Verdict, read_verdicts
from lendloop.clock import Clock
from lendloop.home import Home
from lendloop.passes import LastPass, read_last_pass
from lendloop.publish import Catalog, GroupState, read_catalog
from lendloop.source_status import SourceStatus, read_status
from lendloop.standing import Standing as DatasetStanding
from lendloop.standing import read_standing

CHART_DAYS = 90
CHART_MONTHS = 18

State = Literal["fresh", "late", "stale", "absent"]


@dataclass(frozen=True)
class DatasetFigures:
    """`state`: fresh, late (past its hours of warning), stale (past its promise, or its group failed), absent.

    `quality` is None where it was never measured, `verdict` where it is not compared with its past. `doubt` says why it is
    not agreed now: demoted, or resting on what is.
    """

    state: State
    published_as_of: datetime | None
    rows: int | None
    checks_passed: int
    checks_failed: int
    quality: Quality | None
    doubt: str | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class KpiFigures:
    """`lines` by currency, then market: days or months with values, oldest first. A share has all under currency ""."""

    standings: tuple[Standing, ...]
    lines: Mapping[str, Mapping[str, tuple[tuple[date, Decimal | None], ...]]]


@dataclass(frozen=True)
class Figures:
    """Keys are `schema.table`, names of KPIs, consistency groups and sources."""

    as_of: datetime
    version: int
    datasets: Mapping[str, DatasetFigures]
    kpis: Mapping[str, KpiFigures]
    groups: Mapping[str, GroupState]
    sources: Mapping[str, SourceStatus]


def read_figures(
    home: Home, clock: Clock, datasets: Mapping[str, Dataset], kpis: Iterable[Kpi], quality: Iterable[Quality]
) -> Figures | None:
    """What stands in a home, or None before the first publication. Opens what is published, and no lock.

    `quality` stands in the warehouse, which the caller opens.
    """
    catalog = read_catalog(home)
    if not catalog.version or not home.published.exists():
        return None
    sources, demotions, last = read_status(home), read_standing(home), read_last_pass(home)
    measured = {one.dataset: one for one in quality}
    verdicts = read_verdicts(home)
    with duckdb.connect(str(home.published), read_only=True) as connection:
        shown = {kpi.name: _kpi(connection, kpi, catalog, sources, clock, demotions) for kpi in kpis}
    return Figures(
        as_of=clock.as_of,
        version=catalog.version,
        datasets={
            key: _dataset(dataset, catalog, last, clock, measured.get(key), demotions.doubt(key), verdicts.get(key))
            for key, dataset in datasets.items()
        },
        kpis=shown,
        groups=catalog.groups,
        sources=dict(sources),
    )


def _dataset(
    dataset: Dataset,
    catalog: Catalog,
    last: LastPass | None,
    clock: Clock,
    quality: Quality | None,
    doubt: str | None,
    verdict: Verdict | None,
) -> DatasetFigures:
    group = catalog.groups.get(dataset.consistency_group, GroupState())
    table = catalog.tables.get(dataset.key)
    passed, failed = catalog.checks.get(dataset.key, (0, 0))
    return DatasetFigures(
        state=_state(dataset, group, last, clock) if table else "absent",
        published_as_of=group.published_as_of,
        rows=table.rows if table else None,
        checks_passed=passed,
        checks_failed=failed,
        quality=quality,
        doubt=doubt,
        verdict=verdict,
    )


def _state(dataset: Dataset, group: GroupState, last: LastPass | None, clock: Clock) -> State:
    made = made_as_of(group, last)
    if group.state != "fresh" or made is None:
        return "stale"
    return lateness(dataset, made, clock) or "fresh"


def _kpi(
    connection: duckdb.DuckDBPyConnection,
    kpi: Kpi,
    catalog: Catalog,
    sources: Mapping[str, SourceStatus],
    clock: Clock,
    demotions: DatasetStanding,
) -> KpiFigures:
    standings = tuple(standing(connection, kpi, catalog, sources, clock, demotions=demotions))
    if kpi.table not in catalog.tables:
        return KpiFigures(standings, {})
    until = clock.business_date()
    since = until - timedelta(days=CHART_DAYS if kpi.refresh == "daily" else CHART_MONTHS * 31)
    lines: dict[str, dict[str, list[tuple[date, Decimal | None]]]] = {}
    for value in sorted(kpi_values(connection, kpi, since=since), key=lambda value: (value.market, value.period)):
        apart = value.currency or "" if kpi.unit == "money" else ""
        lines.setdefault(apart, {}).setdefault(_line(value.market, value.currency, standings), []).append(
            (value.period, value.value)
        )
    return KpiFigures(
        standings,
        {apart: {name: tuple(points) for name, points in found.items()} for apart, found in sorted(lines.items())},
    )


def _line(market: str, currency: str | None, standings: Sequence[Standing]) -> str:
    """A market, with its currency where it has several."""
    several = len({one.currency for one in standings if one.market == market}) > 1
    return f"{market} {currency}" if several else market
