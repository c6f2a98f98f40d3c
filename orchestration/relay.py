"""From Dagster's event log to alerts: failed checks, steps, runs, sensors and schedules, and their recoveries.

A failed check is a data failure; a step that fails without an evaluation is a system failure. Rules'
own checks are left out: their findings reach the alerts by themselves. Reading is by run, from a
cursor kept in operational state, in the order things happened; reading an event twice changes nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorStatus, TickStatus
from pydantic import BaseModel, Field

from activation.alerts import PipelineFailure, report_failures
from activation.ops import open_ops
from activation.ops.cursors import read_cursor, write_cursor
from lendloop.clock import Clock
from lendloop.settings import Settings
from orchestration.instance import ORPHANED
from orchestration.names import AS_USUAL, COMPLETE, RULE_CHECK, STEWARD, VERDICT_STEP

CURSOR = "dagster_event_log"
OVERLAP = timedelta(hours=1)
"""Runs are read again that far back: a run that goes on is updated only when its status changes."""
_EVENTS = {
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_SUCCESS,
}


def relay_events(instance: dg.DagsterInstance, settings: Settings, clock: Clock) -> int:
    """Report what failed and what recovered since the last call. Returns the number of events reported."""
    engine = open_ops(settings)
    cursor = _Cursor.model_validate_json(read_cursor(engine, CURSOR) or "{}")
    reported: list[PipelineFailure] = []
    seen = _Cursor(newest=cursor.newest)
    since = cursor.newest - OVERLAP if cursor.newest else None
    for record in instance.get_run_records(
        dg.RunsFilter(updated_after=since), order_by="update_timestamp", ascending=True
    ):
        run = record.dagster_run
        events = instance.get_records_for_run(run.run_id, cursor=cursor.runs.get(run.run_id), of_type=_EVENTS)
        reported += filter(None, (_translate(entry.event_log_entry, run) for entry in events.records))
        seen.runs[run.run_id] = events.cursor
        seen.newest = record.update_timestamp
    reported += _instigators(instance)
    if reported:
        report_failures(settings, reported, clock)
    if seen != cursor:
        write_cursor(engine, CURSOR, seen.model_dump_json())
    return len(reported)


class _Cursor(BaseModel):
    """Up to which update of a run all is read, and how far into each of the latest runs."""

    newest: datetime | None = None
    runs: dict[str, str] = Field(default_factory=dict)


def _translate(entry: dg.EventLogEntry, run: dg.DagsterRun) -> PipelineFailure | None:
    event = entry.dagster_event
    if event is None:
        return None
    if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        return _check(event, run)
    if event.event_type in (dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.STEP_SUCCESS):
        failed = event.event_type == dg.DagsterEventType.STEP_FAILURE
        if event.step_key == VERDICT_STEP:
            return None
        error = event.step_failure_data.error if failed else None
        return PipelineFailure(
            key=f"step:{event.step_key}",
            kind="asset",
            message=(error.cause or error).message.strip() if error else "succeeded",
            link=f"/runs/{run.run_id}",
            resolved=not failed,
        )
    failed = event.event_type == dg.DagsterEventType.RUN_FAILURE
    if failed and _explained(event):
        return None
    return PipelineFailure(
        key=f"run:{run.job_name}",
        kind="run",
        message=(event.message or "the run failed").strip(),
        link=f"/runs/{run.run_id}",
        resolved=not failed,
    )


def _explained(event: dg.DagsterEvent) -> bool:
    """A run that failed because steps did, each of them reported by itself; or one that was killed.

    The latter is found by the pass that finishes its work, or that is reported itself when it can't.
    """
    message = event.message or ""
    return "Steps failed" in message or "steps failed" in message or ORPHANED in message


def _check(event: dg.DagsterEvent, run: dg.DagsterRun) -> PipelineFailure | None:
    evaluation = event.asset_check_evaluation_data
    if evaluation.check_name == RULE_CHECK:
        return None
    asset = evaluation.asset_key.to_user_string()
    details = {name: value.value for name, value in evaluation.metadata.items()}
    is_hint = evaluation.check_name in (AS_USUAL, COMPLETE)
    holds_back = evaluation.asset_key.path[0] in ("trusted", "kpi") and not is_hint
    said = next((details[name] for name in ("error", "message", "stale", "demoted", "errors") if details.get(name)), "")
    return PipelineFailure(
        key=f"check:{asset}:{evaluation.check_name}",
        kind="hint" if is_hint else "audience" if evaluation.asset_key.path[0] == "audiences" else "check",
        message=f"{evaluation.check_name} of {asset.replace('/', '.')}"
        + (f" (for {details[STEWARD]})" if STEWARD in details else "")
        + (f": {said}" if said else ""),
        link=f"/assets/{'/'.join(evaluation.asset_key.path)}?view=checks",
        sources=(evaluation.asset_key.path[1],) if evaluation.asset_key.path[0] == "sources" else (),
        datasets=(".".join(evaluation.asset_key.path),) if holds_back else (),
        resolved=bool(evaluation.passed),
    )


def _instigators(instance: dg.DagsterInstance) -> list[PipelineFailure]:
    """The latest tick of each sensor and schedule that is running."""
    found = []
    for state in instance.all_instigator_state():
        if state.status == InstigatorStatus.STOPPED or state.instigator_type not in (
            InstigatorType.SENSOR,
            InstigatorType.SCHEDULE,
        ):
            continue
        ticks: Any = instance.get_ticks(
            state.instigator_origin_id,
            state.selector_id,
            limit=1,
            statuses=[TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE],
        )
        for tick in ticks:
            failed = tick.status == TickStatus.FAILURE
            found.append(
                PipelineFailure(
                    key=f"{state.instigator_type.value.lower()}:{state.instigator_name}",
                    kind="sensor",
                    message=tick.error.message.strip() if failed and tick.error else "ticked",
                    link="/automation",
                    resolved=not failed,
                )
            )
    return found
