"""Pruning everything that is kept for a time: one function for the pass, the command and the tests.

Each room says what of its own may go; Dagster's storage is here. A pass prunes once a day.
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable

from activation.audiences import load_audiences
from activation.retention import prune_exports, prune_history
from ingestion.retention import prune_quarantine, prune_raw
from lendloop.clock import Clock
from lendloop.home import Home
from lendloop.retention import Pruned, cut_off, prune_files
from lendloop.settings import Settings

RUNS_AT_ONCE = 1_000
"""Runs that one call deletes at the most; the rest goes next time."""
_FAILED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def prune_daily(settings: Settings, clock: Clock, instance: dg.DagsterInstance) -> list[Pruned]:
    """`prune_all` in the first pass of each day by the wall clock; afterwards one look at a file."""
    wall = datetime.now(UTC)
    marker = settings.home.root / "last_prune"
    if marker.exists() and marker.read_text() == f"{wall:%Y-%m-%d}":
        return []
    pruned = prune_all(settings, clock, instance, wall)
    draft = marker.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(f"{wall:%Y-%m-%d}")
    os.replace(draft, marker)
    return pruned


def prune_all(
    settings: Settings, clock: Clock, instance: dg.DagsterInstance, wall: datetime, *, dry_run: bool = False
) -> list[Pruned]:
    """Delete what is older than the settings keep, or only say what would go. Reports come in a fixed order.

    Raises LendloopError when a part can't be reached; what was deleted before stays deleted.
    """
    audiences = {audience.audience for audience in load_audiences(settings.definitions / "audiences")}
    return [
        *prune_raw(settings, clock, dry_run=dry_run),
        prune_quarantine(settings, wall, dry_run=dry_run),
        *prune_history(settings, clock, wall, dry_run=dry_run),
        prune_exports(settings, audiences, wall, dry_run=dry_run),
        *prune_files(settings, wall, dry_run=dry_run),
        *prune_dagster(instance, settings, wall, dry_run=dry_run),
    ]


def prune_dagster(instance: dg.DagsterInstance, settings: Settings, wall: datetime, *, dry_run: bool) -> list[Pruned]:
    """Finished runs with their events and logs, and old check evaluations except the newest of each check.

    An asset's last materialisation stays known to Dagster without its run.
    """
    runs = [
        record.dagster_run.run_id
        for statuses, days in (
            ([dg.DagsterRunStatus.SUCCESS], settings.keep_runs_days),
            (_FAILED, settings.keep_failed_runs_days),
        )
        if (before := cut_off(wall, days)) is not None
        for record in instance.get_run_records(
            dg.RunsFilter(statuses=statuses, updated_before=before), limit=RUNS_AT_ONCE
        )
    ]
    freed = sum(_run_size(settings.home, run_id) for run_id in runs)
    if not dry_run:
        for run_id in runs:
            instance.delete_run(run_id)
            _delete_files(settings.home, run_id)
    before = cut_off(wall, settings.keep_runs_days)
    checks = _prune_checks(instance, before, dry_run) if before else 0
    return [
        Pruned(what="Dagster runs", removed=len(runs), bytes=freed),
        Pruned(what="Dagster check evaluations", removed=checks),
    ]


def _prune_checks(instance: dg.DagsterInstance, before: datetime, dry_run: bool) -> int:
    """Dagster deletes no check evaluation itself, not even with its run."""
    table = AssetCheckExecutionsTable
    storage: Any = instance.event_log_storage
    if not hasattr(storage, "index_connection"):
        return 0
    newest = sa.select(sa.func.max(table.c.id)).group_by(table.c.asset_key, table.c.check_name)
    old = sa.and_(table.c.create_timestamp < before.replace(tzinfo=None), table.c.id.not_in(newest))
    with storage.index_connection() as connection:
        if dry_run:
            return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(old)).scalar_one())
        return int(connection.execute(table.delete().where(old)).rowcount)


def _run_size(home: Home, run_id: str) -> int:
    return sum(path.stat().st_size for path in (home.dagster / "history" / "runs").glob(f"{run_id}.db*"))


def _delete_files(home: Home, run_id: str) -> None:
    """What Dagster leaves of a deleted run: its file of events (SQLite only) and its captured output."""
    for path in (home.dagster / "history" / "runs").glob(f"{run_id}.db*"):
        path.unlink(missing_ok=True)
    shutil.rmtree(home.dagster / "storage" / run_id, ignore_errors=True)
