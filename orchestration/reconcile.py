"""Reconciliation as a check on each group's publication: from source to raw to trusted.

What belongs here: both steps at once, and the check. What does not: comparing (`governance.reconcile`,
`ingestion.reconcile`, `ingestion.reconcile_vendor`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from governance.manifest import read_manifest
from governance.reconcile import Comparison, reconcile_trusted
from governance.registry import Dataset, read_registry
from ingestion.reconcile import GROUPS, reconcile_costs, reconcile_ledger, reconcile_loads
from ingestion.reconcile_vendor import COUNTED, reconcile_vendor
from ingestion.tables import TABLES
from lendloop.clock import Clock
from lendloop.errors import LendloopError
from lendloop.formats import read_json, write_json
from lendloop.home import Home
from lendloop.publish import read_catalog
from lendloop.settings import Settings
from lendloop.warehouse import open_warehouse
from orchestration.plots import table
from orchestration.resources import Hub
from orchestration.zones import CATALOGUE, group_key

RECONCILES = "reconciles"


def reconcile(settings: Settings, clock: Clock, *, whole: bool, on: date | None = None) -> list[Comparison]:
    """Every comparison from source to raw to trusted; of the sources all days with `whole`, or one with `on`.

    A source that does not answer is said in its comparison.
    """
    compared: list[Comparison] = []
    if settings.is_configured("ledger"):
        try:
            compared += reconcile_ledger(settings, clock, whole=whole, on=on)
        except LendloopError as error:
            compared.append(
                Comparison("ledger", "raw_ledger", GROUPS["ledger"], (), not_compared=str(error), is_reached=False)
            )
    for source in COUNTED:
        if settings.is_configured(source):
            compared += reconcile_vendor(source, settings, clock, whole=whole, on=on)
    if settings.is_configured("costs"):
        compared.append(reconcile_costs(settings, on))
    if on is None:
        others = [source for source in TABLES if source not in ("ledger", "costs") and settings.is_configured(source)]
        compared += reconcile_loads(settings, others)
    datasets = read_registry(read_manifest(settings.home))
    with open_warehouse(settings.home, "reconcile trusted", settings.lock_timeout_s) as connection:
        built_at = read_catalog(settings.home).built_at
        return compared + reconcile_trusted(connection, settings.home, datasets, built_at, on)


class _Last(BaseModel):
    """What the last reconciliation looked at, and what it found: faults by group."""

    format: int = 1
    built_at: datetime | None = None
    business_date: date | None = None
    faults: dict[str, list[str]] = {}


def _file(home: Home) -> Path:
    return home.dbt / "reconciled.json"


def _last(home: Home) -> _Last:
    try:
        return read_json(_file(home), _Last)
    except (FileNotFoundError, ValueError):
        return _Last()


def reconciliation_check(datasets: Mapping[str, Dataset]) -> dg.AssetChecksDefinition:
    """One check on each group whose datasets reconcile with raw. Nothing is compared again when nothing was built.

    A source that did not answer is a warning, and asked again by the next pass.
    """
    groups = sorted(
        {one.consistency_group for one in datasets.values() if one.parameters.reconciles} | {*GROUPS.values()}
    )

    @dg.multi_asset_check(
        name="reconcile",
        specs=[
            dg.AssetCheckSpec(
                RECONCILES,
                asset=group_key(group),
                additional_deps=[CATALOGUE],
                description="Rows and sums agree from source to raw to trusted on every day, or each difference has a reason.",
            )
            for group in groups
        ],
    )
    def check(hub: Hub) -> Iterator[dg.AssetCheckResult]:
        settings, clock = hub.settings, hub.clock
        before = _last(settings.home)
        now = _Last(built_at=read_catalog(settings.home).built_at, business_date=clock.business_date())
        compared: list[Comparison] = []
        if (before.built_at, before.business_date) == (now.built_at, now.business_date) and not before.faults:
            now = before
        else:
            compared = reconcile(settings, clock, whole=False)
            for comparison in compared:
                if faults := comparison.faults():
                    now.faults.setdefault(comparison.group, []).extend(faults)
            if all(one.is_reached for one in compared):
                write_json(_file(settings.home), now)
        for group in groups:
            faults = now.faults.get(group, [])
            mine = [one for one in compared if one.group == group]
            silent = [f"{one.name} was not compared: {one.not_compared}" for one in mine if not one.is_reached]
            metadata: dict[str, Any] = {"errors": "; ".join([*faults, *silent])}
            if mine:
                metadata["compared"] = table(COLUMNS, [summary(one) for one in mine])
            yield dg.AssetCheckResult(
                check_name=RECONCILES,
                asset_key=group_key(group),
                passed=not faults and not silent,
                severity=dg.AssetCheckSeverity.ERROR if faults else dg.AssetCheckSeverity.WARN,
                metadata=metadata,
            )

    return check


COLUMNS = ["from", "to", "rows", "rows there", "days agreed", "explained", "unexplained"]


def summary(comparison: Comparison) -> tuple[object, ...]:
    """A comparison as a row under `COLUMNS`."""
    if comparison.not_compared:
        return comparison.left, comparison.right, comparison.not_compared, "", "", "", ""
    return (
        comparison.left,
        comparison.right,
        sum(day.left.rows for day in comparison.days),
        sum(day.right.rows for day in comparison.days),
        *(comparison.count(state) for state in ("agreed", "explained", "unexplained")),
    )
