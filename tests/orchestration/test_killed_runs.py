"""Runs whose process was killed: closed by the next pass, whatever they had come to, and no news to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import select

from activation.ops import open_ops, reading
from activation.ops import tables as t
from lendloop.clock import parse_clock
from lendloop.settings import Settings, load_settings
from orchestration.instance import PID_TAG, fail_orphans
from orchestration.relay import relay_events

CLOCK = parse_clock("2026-07-01T18:00:00Z")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def dead() -> int:
    """The id of a process that is gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def add_run(instance: dg.DagsterInstance, pid: int, status: dg.DagsterRunStatus, parent: str | None = None) -> str:
    """A run with these facts; returns its id."""
    run_id = str(uuid.uuid4())
    tags = {PID_TAG: str(pid)}
    run = dg.DagsterRun("main", run_id=run_id, status=status, tags=tags, parent_run_id=parent, root_run_id=parent)
    return instance.add_run(run).run_id


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "STARTED"])
def test_an_unfinished_run_of_a_process_that_is_gone_is_failed(
    instance: dg.DagsterInstance, dead: int, status: str
) -> None:
    run = add_run(instance, dead, dg.DagsterRunStatus[status])
    assert fail_orphans(instance) == [run]
    assert [one.status for one in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
    assert fail_orphans(instance) == []


def test_a_run_of_a_process_that_lives_is_left_alone(instance: dg.DagsterInstance) -> None:
    add_run(instance, os.getppid(), dg.DagsterRunStatus.STARTED)
    assert fail_orphans(instance) == []


def test_a_run_of_an_earlier_process_with_the_same_id_is_failed(instance: dg.DagsterInstance) -> None:
    run = add_run(instance, os.getpid(), dg.DagsterRunStatus.STARTED)
    assert fail_orphans(instance) == [run]


def test_a_re_execution_that_inherits_the_id_of_a_process_that_is_gone_is_left_alone(
    instance: dg.DagsterInstance, dead: int
) -> None:
    first = add_run(instance, dead, dg.DagsterRunStatus.SUCCESS)
    add_run(instance, dead, dg.DagsterRunStatus.STARTED, parent=first)
    assert fail_orphans(instance) == []


def test_that_a_run_was_killed_is_told_to_nobody_and_another_failure_is(
    dead: int, tmp_path: Path, clean_environment: pytest.MonkeyPatch
) -> None:
    settings = load_settings()
    settings.home.prepare()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        add_run(instance, dead, dg.DagsterRunStatus.STARTED)
        assert fail_orphans(instance)
        relay_events(instance, settings, CLOCK)
        assert failing(settings) == []
        run = instance.get_run_by_id(add_run(instance, os.getppid(), dg.DagsterRunStatus.STARTED))
        assert run is not None
        instance.report_run_failed(run, "out of disk")
        relay_events(instance, settings, CLOCK)
    assert failing(settings) == ["run:main"]


def failing(settings: Settings) -> list[str]:
    with reading(open_ops(settings)) as connection:
        return list(connection.execute(select(t.pipeline_failure.c.key)).scalars())
