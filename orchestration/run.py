"""One headless pass: the main job in this process, on this installation's Dagster instance."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable

import dagster as dg

from lendloop.errors import ConfigurationError, TransientError
from lendloop.passes import record_pass
from lendloop.publish import read_catalog
from lendloop.settings import Settings
from lendloop.storage import storage_fault
from orchestration.activation import report_overdue, run_alerts
from orchestration.instance import PID_TAG, fail_orphans, open_instance
from orchestration.names import MAIN_JOB, VERDICT_STEP
from orchestration.report import Report, make_report


def run_pass(settings: Settings, progress: Callable[[str], None]) -> Report:
    """Run the main job once and report what it did. `progress` gets one line for each step.

    Raises nothing for a part that failed: the report's `failures` names it. Raises ConfigurationError for a home that
    can't be written, TransientError when its disk is full.
    """
    try:
        settings.home.prepare()
        report = _run(settings, progress)
    except ConfigurationError:
        raise
    except Exception as error:
        fault = storage_fault(settings.home, error)
        if fault is None:
            raise
        raise TransientError(fault) from error
    if fault := storage_fault(settings.home, *report.failures):
        report.failures.insert(0, fault)
    return report


def _run(settings: Settings, progress: Callable[[str], None]) -> Report:
    from activation.rules import load_rules
    from orchestration.definitions import build_defs
    from orchestration.resources import Hub

    began = time.monotonic()
    version = read_catalog(settings.home).version
    defs = build_defs(settings)
    with open_instance(settings) as instance:
        rules = load_rules(settings.definitions)
        killed = fail_orphans(instance)
        if killed and report_overdue(settings, settings.clock()):
            run_alerts(instance, Hub(), rules)
        run_id = str(uuid.uuid4())
        instance.add_event_listener(run_id, lambda entry: _tell(entry, progress))
        result = defs.resolve_job_def(MAIN_JOB).execute_in_process(
            instance=instance,
            run_id=run_id,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags={PID_TAG: str(os.getpid()), "lendloop/by": "lendloop run"},
        )
        crashed = [_describe(event) for event in result.all_events if event.is_step_failure]
        clock = settings.clock()
        record_pass(settings.home, clock.as_of, len(crashed))
        report_overdue(settings, clock)
        run_alerts(instance, Hub(), rules)
    report = make_report(settings)
    named = [line for line in crashed if not line.startswith(VERDICT_STEP)]
    report.failures = [*named, *report.failures] or (crashed if not result.success else [])
    report.changed = report.version != version
    report.duration_s = round(time.monotonic() - began, 2)
    return report


def _tell(entry: dg.EventLogEntry, progress: Callable[[str], None]) -> None:
    event = entry.dagster_event
    if event is None or event.step_key is None:
        return
    if event.is_step_success:
        progress(f"{event.step_key} {event.step_success_data.duration_ms / 1000:.1f} s")
    elif event.is_step_failure:
        progress(f"{event.step_key} failed")


def _describe(event: dg.DagsterEvent) -> str:
    error = event.step_failure_data.error
    cause = error.cause if error and error.cause else error
    return f"{event.step_key}: {(cause.message if cause else 'failed').strip()}"
