"""Dagster's own home: its configuration under `LENDLOOP_HOME/dagster`, where it stores, and runs whose process died."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from lendloop.errors import ConfigurationError, TransientError
from lendloop.locks import file_lock
from lendloop.settings import Settings
from orchestration.dagster_files import kept_open

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


STORAGE_VARIABLE = "LENDLOOP_DAGSTER_URL"


def _tick_retention(settings: Settings) -> dict[str, Any]:
    """How long Dagster's daemon keeps ticks of schedules and sensors, as dagster.yaml says it; -1 is for good."""
    days = settings.keep_runs_days or -1
    kept = {"skipped": days, "success": days, "started": days, "failure": settings.keep_failed_runs_days or -1}
    return {name: {"purge_after_days": kept} for name in ("schedule", "sensor")}


def prepare_dagster_home(settings: Settings) -> Path:
    """Write `dagster.yaml`, point `DAGSTER_HOME` at its folder and switch telemetry off. Returns the folder.

    The file names the variable of the storage's URL, never the URL: Dagster's processes inherit the variable.
    Raises ConfigurationError for a URL that can't hold Dagster's storage.
    """
    home = settings.home.prepare().dagster
    path = home / "dagster.yaml"
    configuration: dict[str, Any] = {**_CONFIGURATION, "retention": _tick_retention(settings)}
    if settings.dagster_url:
        configuration["storage"] = {"postgres": {"postgres_url": {"env": STORAGE_VARIABLE}}}
        os.environ[STORAGE_VARIABLE] = storage_url(settings).render_as_string(hide_password=False)
    text = "# Written by lendloop at every start.\n" + yaml.safe_dump(configuration)
    if not path.exists() or path.read_text() != text:
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(text)
        os.replace(draft, path)
    os.environ.update(DAGSTER_HOME=str(home), DO_NOT_TRACK="1", DAGSTER_DISABLE_TELEMETRY="1")
    return home


def storage_url(settings: Settings) -> URL:
    """`LENDLOOP_DAGSTER_URL` with the driver that Dagster is written for, its times in UTC.

    Dagster keeps instants without a zone, as the session's zone has them. Raises ConfigurationError.
    """
    try:
        url = make_url(settings.secret("dagster_url"))
    except ArgumentError:
        raise ConfigurationError(f"{STORAGE_VARIABLE} is no URL: give postgresql://user@host/name") from None
    if url.get_backend_name() != "postgresql":
        raise ConfigurationError(
            f"{STORAGE_VARIABLE} names a {url.get_backend_name()} database: Dagster's storage takes postgresql"
        )
    options = str(url.query.get("options", ""))
    if "timezone" not in options.lower():
        url = url.update_query_dict({"options": f"{options} -ctimezone=UTC".strip()})
    return url.set(drivername="postgresql+psycopg2")


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance of this installation.

    Raises TransientError, naming the server, when the storage does not answer or stops doing so inside.
    """
    prepare_dagster_home(settings)
    if not settings.dagster_url:
        # processes that make its SQLite files at the same time leave two versions in them, which no later one opens
        with file_lock(settings.home.locks / "dagster.lock", "opening Dagster's storage", settings.lock_timeout_s):
            opened = dg.DagsterInstance.get()
        with kept_open(settings.home.dagster), opened as instance:
            yield instance
        return
    from dagster_postgres.utils import DagsterPostgresException

    try:
        with dg.DagsterInstance.get() as instance:
            yield instance
    except (DBAPIError, DagsterPostgresException) as error:
        cause = error if isinstance(error, DBAPIError) else error.__cause__
        reason = str(cause.orig if isinstance(cause, DBAPIError) else error).strip().splitlines()[0]
        where = storage_url(settings).set(drivername="postgresql", query={}).render_as_string()
        raise TransientError(f"Dagster's storage at {where} does not answer: {reason}") from error


_UNFINISHED = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


def fail_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Report as failed each run of the command line whose process is gone. Returns their ids.

    To be called before this process starts a run: one that bears its own id is of a process before it, as in
    containers that give everyone the same. A re-execution inherits the tags of its parent, but not its process.
    """
    orphans = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        pid = run.tags.get(PID_TAG)
        if pid and run.parent_run_id is None and (int(pid) == os.getpid() or not is_alive(int(pid))):
            instance.report_run_failed(run, f"process {pid} {ORPHANED}; the next pass finishes its work")
            orphans.append(run.run_id)
    return orphans


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
