"""Pruning Dagster's storage and files, and that a pass does it once a day."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType

from lendloop.clock import Clock
from lendloop.publish import Catalog, PublishedTable, read_catalog, write_catalog
from lendloop.retention import prune_files
from lendloop.settings import Settings, load_settings
from orchestration.instance import open_instance
from orchestration.retention import prune_dagster, prune_daily

KEY = dg.AssetKey("something")


@pytest.fixture
def settings(clean_environment: pytest.MonkeyPatch) -> Settings:
    return load_settings()


@dg.asset(key=KEY, check_specs=[dg.AssetCheckSpec("holds", asset=KEY)])
def something(context: dg.AssetExecutionContext):
    if context.has_tag("fails"):
        raise dg.Failure("on purpose")
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])


def run(instance: dg.DagsterInstance, *, fails: bool = False) -> str:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    tags = {"fails": "true"} if fails else {}
    return dg.materialize([something], instance=instance, run_config=quiet, tags=tags, raise_on_error=False).run_id


def after(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_runs_go_with_events_and_files_and_failed_ones_later(settings: Settings) -> None:
    with open_instance(settings) as instance:
        first, failed, second = run(instance), run(instance, fails=True), run(instance)
        shards = settings.home.dagster / "history" / "runs"
        assert prune_dagster(instance, settings, after(6), dry_run=False)[0].removed == 0

        assert prune_dagster(instance, settings, after(8), dry_run=True)[0].removed == 2
        runs, checks = prune_dagster(instance, settings, after(8), dry_run=False)
        assert (runs.removed, checks.removed) == (2, 2), "the newest evaluation stays"
        assert runs.bytes > 0
        assert [one.run_id for one in instance.get_runs()] == [failed]
        for gone in (first, second):
            assert not list(shards.glob(f"{gone}*"))
            assert not (settings.home.dagster / "storage" / gone).exists()
        materialized = instance.get_latest_materialization_event(KEY)
        assert materialized is not None
        assert materialized.run_id == second
        check = instance.event_log_storage.get_latest_asset_check_execution_by_key([dg.AssetCheckKey(KEY, "holds")])
        assert [record.run_id for record in check.values()] == [second]

        assert prune_dagster(instance, settings, after(31), dry_run=False)[0].removed == 1
        assert instance.get_runs() == []


def test_a_run_that_goes_on_is_never_pruned(settings: Settings) -> None:
    with open_instance(settings) as instance:
        instance.add_run(dg.DagsterRun("main", run_id="a-run", status=dg.DagsterRunStatus.STARTED))
        assert prune_dagster(instance, settings, after(1000), dry_run=False)[0].removed == 0


def test_zero_days_keep_for_good(settings: Settings) -> None:
    kept = settings.model_copy(update={"keep_runs_days": 0, "keep_failed_runs_days": 0})
    with open_instance(kept) as instance:
        run(instance)
        run(instance, fails=True)
        assert [part.removed for part in prune_dagster(instance, kept, after(9999), dry_run=False)] == [0, 0]


def test_ticks_are_purged_by_the_daemon_as_the_settings_say(settings: Settings) -> None:
    with open_instance(settings) as instance:
        for kind in (InstigatorType.SENSOR, InstigatorType.SCHEDULE):
            kept = {status.value: days for status, days in instance.get_tick_retention_settings(kind).items()}
            assert kept == {"STARTED": 7, "SKIPPED": 7, "SUCCESS": 7, "FAILURE": 30}


def test_a_pass_prunes_once_a_day(settings: Settings) -> None:
    clock = Clock(datetime.now(UTC))
    with open_instance(settings) as instance:
        assert prune_daily(settings, clock, instance)
        assert prune_daily(settings, clock, instance) == []
        (settings.home.root / "last_prune").write_text("2001-01-01")
        assert prune_daily(settings, clock, instance)


def test_drafts_logs_and_retired_files_go_after_their_time(settings: Settings) -> None:
    home, now = settings.home.prepare(), datetime.now(UTC)
    kept_file, retired = home.published_files / "a.parquet", home.published_files / "trusted" / "t" / "b.parquet"
    aged: dict[Path, float] = {
        home.published_files / ".catalog.json.12.tmp": 1.5,
        home.dlt / "status_crm.13.tmp": 0.5,
        home.dbt / "logs" / "dbt.log.1": 15,
        home.dbt / "logs" / "dbt.log": 0,
        kept_file: 20,
        retired: 2,
    }
    for path, days in aged.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        moment = (now - timedelta(days=days)).timestamp()
        os.utime(path, (moment, moment))
    table = PublishedTable(group="g", rows=1, files=["a.parquet"], published_as_of=now, version=1)
    write_catalog(home, Catalog(tables={"trusted.a": table}, retired={str(retired): now.timestamp() - 7200}))

    dry = prune_files(settings, now, dry_run=True)
    assert [part.removed for part in dry] == [1, 1, 1]
    assert all(path.exists() for path in aged)
    assert prune_files(settings, now, dry_run=False) == dry
    assert [path.name for path in aged if path.exists()] == ["status_crm.13.tmp", "a.parquet"]
    # what dbt adds to day by day would never be old
    assert [path.name for path in (home.dbt / "logs").iterdir()] == [f"dbt-{now:%Y-%m-%d}.log"]
    assert read_catalog(home).retired == {}
