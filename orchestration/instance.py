"""Dagster's own home: its configuration under `LENDLOOP_HOME/dagster`, and runs whose process died."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import yaml

from lendloop.settings import Settings

PID_TAG = "lendloop/pid"
ORPHANED = "ended before the run did"
"""What the failure of a run says whose process was killed."""

_CONFIGURATION = {
    "telemetry": {"enabled": False},
    "nux": {"enabled": False},
    "sensors": {"use_threads": True, "num_workers": 4},
    "schedules": {"use_threads": True, "num_workers": 2},
    "concurrency": {"runs": {"max_concurrent_runs": 4}},
    "run_coordinator": {
        "module": "dagster.core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {"dequeue_interval_seconds": 1},
    },
    "run_monitoring": {"enabled": True, "poll_interval_seconds": 30},
}


def prepare_dagster_home(settings: Settings) -> Path:
    """Write `dagster.yaml`, point `DAGSTER_HOME` at its folder and switch telemetry off. Returns the folder."""
    home = settings.home.prepare().dagster
    path = home / "dagster.yaml"
    text = "# Written by lendloop at every start.\n" + yaml.safe_dump(_CONFIGURATION)
    if not path.exists() or path.read_text() != text:
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(text)
        os.replace(draft, path)
    os.environ.update(DAGSTER_HOME=str(home), DO_NOT_TRACK="1", DAGSTER_DISABLE_TELEMETRY="1")
    return home


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The instance of this installation. Close it with `with`."""
    prepare_dagster_home(settings)
    return dg.DagsterInstance.get()


_UNFINISHED = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


def fail_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Report as failed each run of the command line whose process is gone. Returns their ids.

    To be called before this process starts a run: one that bears its own id is of a process before it, as in
    containers that give everyone the same. A re-execution inherits the tags of its parent, but not its process.
    """
    orphans = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        pid = run.tags.get(PID_TAG)
        if pid and run.parent_run_id is None and (int(pid) == os.getpid() or not _is_alive(int(pid))):
            instance.report_run_failed(run, f"process {pid} {ORPHANED}; the next pass finishes its work")
            orphans.append(run.run_id)
    return orphans


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
