"""Failures in Dagster become alerts, and their recoveries too: checks, steps, runs, sensors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._utils.error import SerializableErrorInfo
from sqlalchemy import select

from activation.alerts import advance_alerts, alert_status, load_routes
from activation.ops import open_ops
from activation.ops.tables import outbox, pipeline_failure
from lendloop.clock import Clock
from lendloop.settings import Settings, load_settings
from orchestration.instance import open_instance
from orchestration.names import AS_USUAL, STEWARD
from orchestration.relay import relay_events

CLOCK = Clock(datetime(2026, 7, 1, 18, tzinfo=UTC))
mood = {"check": True, "step": True}


@dg.multi_asset(name="loans", specs=[dg.AssetSpec("loans")], check_specs=[dg.AssetCheckSpec("is_whole", asset="loans")])
def loans() -> Iterator[Any]:
    if not mood["step"]:
        raise ValueError("the disk is full")
    yield dg.MaterializeResult(asset_key="loans")
    yield dg.AssetCheckResult(
        asset_key="loans",
        check_name="is_whole",
        passed=mood["check"],
        metadata={"error": "3 loans have no client", STEWARD: "data-platform"},
    )


@pytest.fixture
def settings(clean_environment: pytest.MonkeyPatch) -> Settings:
    return load_settings()


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with open_instance(settings) as instance:
        yield instance


def run(instance: dg.DagsterInstance, **changed: bool) -> None:
    mood.update({"check": True, "step": True} | changed)
    dg.materialize([loans], instance=instance, raise_on_error=False)


def alerts(instance: dg.DagsterInstance, settings: Settings) -> dict[str, str]:
    relay_events(instance, settings, CLOCK)
    advance_alerts(settings, [], load_routes(settings.definitions), CLOCK)
    return {alert["entity"]: alert["state"] for alert in alert_status(settings)}


def test_a_failed_check_opens_an_alert_and_its_next_success_resolves_it(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    run(instance)
    assert alerts(instance, settings) == {}
    run(instance, check=False)
    assert alerts(instance, settings) == {"check:loans:is_whole": "open"}
    with open_ops(settings).connect() as connection:
        told = connection.execute(select(pipeline_failure.c.message)).scalar_one()
    assert told == "is_whole of loans (for data-platform): 3 loans have no client"
    run(instance)
    assert alerts(instance, settings) == {"check:loans:is_whole": "resolved"}


def test_an_audience_that_was_stopped_is_told_with_its_reason_and_what_to_do(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    key = dg.AssetKey(["audiences", "recovery"])

    @dg.asset(key=key, check_specs=[dg.AssetCheckSpec("delivered", asset=key)])
    def recovery() -> Iterator[Any]:
        yield dg.MaterializeResult()
        metadata = {"errors": "drop: too_many_removals: 7 of 9", STEWARD: "collections"}
        yield dg.AssetCheckResult(check_name="delivered", passed=False, metadata=metadata)

    dg.materialize([recovery], instance=instance)
    alerts(instance, settings)
    with open_ops(settings).connect() as connection:
        told = connection.execute(select(outbox.c.payload)).scalars().all()
    assert {message["subject"] for message in told} == {"[lendloop] Audience not delivered: recovery"}
    assert all("(for collections): drop: too_many_removals: 7 of 9" in message["body"] for message in told)
    assert all("`guards` of the audience's file" in message["body"] for message in told)


def test_what_may_be_wrong_is_told_as_a_warning_and_what_is_wrong_as_critical(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    @dg.asset(name="visits", check_specs=[dg.AssetCheckSpec(name, asset="visits") for name in (AS_USUAL, "is_whole")])
    def visits() -> Iterator[Any]:
        yield dg.MaterializeResult()
        for name in (AS_USUAL, "is_whole"):
            yield dg.AssetCheckResult(check_name=name, passed=False)

    dg.materialize([visits], instance=instance)
    relay_events(instance, settings, CLOCK)
    advance_alerts(settings, [], load_routes(settings.definitions), CLOCK)
    told = {alert["entity"]: alert["severity"] for alert in alert_status(settings)}
    assert told == {f"check:visits:{AS_USUAL}": "warning", "check:visits:is_whole": "critical"}


def test_a_check_that_failed_and_recovered_between_two_looks_leaves_no_open_alert(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    run(instance, check=False)
    run(instance)
    assert "open" not in alerts(instance, settings).values()


def test_a_failed_step_opens_an_alert_of_its_own_and_the_run_is_not_told_twice(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    run(instance, step=False)
    assert alerts(instance, settings) == {"step:loans": "open"}
    run(instance)
    assert alerts(instance, settings) == {"step:loans": "resolved"}


def test_looking_again_changes_nothing(instance: dg.DagsterInstance, settings: Settings) -> None:
    run(instance, check=False)
    first = alerts(instance, settings)
    assert relay_events(instance, settings, CLOCK) == 0
    assert alerts(instance, settings) == first


def test_a_failing_sensor_is_told_until_it_ticks_again(instance: dg.DagsterInstance, settings: Settings) -> None:
    from dagster._core.remote_origin import (
        ManagedGrpcPythonEnvCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="orchestration.definitions"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), "alerts")
    instance.add_instigator_state(
        InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData(min_interval=30))
    )

    def tick(status: TickStatus, at: float) -> None:
        error = SerializableErrorInfo("Slack said no", [], None) if status == TickStatus.FAILURE else None
        instance.create_tick(
            TickData(
                instigator_origin_id=origin.get_id(),
                instigator_name="alerts",
                instigator_type=InstigatorType.SENSOR,
                status=status,
                timestamp=at,
                selector_id=origin.get_selector().get_id(),
                error=error,
            )
        )

    tick(TickStatus.FAILURE, 1_000.0)
    assert alerts(instance, settings) == {"sensor:alerts": "open"}
    tick(TickStatus.SKIPPED, 2_000.0)
    assert alerts(instance, settings) == {"sensor:alerts": "resolved"}
