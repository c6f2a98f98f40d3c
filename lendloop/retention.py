"""How long things are kept: the shapes that every room's pruning shares, and files that belong to no room.

Belongs here: cut-offs, reports, drafts and logs. Not here: what a decision still depends on, which
each room knows about its own. A setting of 0 days keeps for good.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel

from lendloop.home import Home
from lendloop.publish import GRACE_S, collect_retired, read_catalog
from lendloop.settings import Settings
from lendloop.warehouse import warehouse_lock

DRAFT_DAYS = 1
"""A draft that old was left by a process that was killed: every writer ends within hours."""


class Pruned(BaseModel):
    """What went (or, in a dry run, would go) of one kind. `bytes` is what files freed; rows free space for reuse only."""

    what: str
    removed: int
    bytes: int = 0


def cut_off(now: datetime, days: int) -> datetime | None:
    """The instant before which things go; None when they are kept for good."""
    return now - timedelta(days=days) if days else None


def remove(what: str, paths: Iterable[Path], *, dry_run: bool) -> Pruned:
    """Delete files and folders, and count them. One that somebody else deleted meanwhile counts as nothing."""
    removed = size = 0
    for path in paths:
        try:
            held = size_of(path)
            if not dry_run:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        except FileNotFoundError:
            continue
        removed, size = removed + 1, size + held
    return Pruned(what=what, removed=removed, bytes=size)


def size_of(path: Path) -> int:
    """Bytes of a file, or of everything in a folder."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file())


def older_than(paths: Iterable[Path], moment: datetime | None) -> list[Path]:
    """The paths that were last written before `moment`; none when it is None."""
    if moment is None:
        return []
    limit, found = moment.timestamp(), []
    for path in paths:
        try:
            if path.stat().st_mtime < limit:
                found.append(path)
        except FileNotFoundError:
            continue
    return found


def prune_files(settings: Settings, wall: datetime, *, dry_run: bool) -> list[Pruned]:
    """Drafts of killed processes, logs of dbt, and published files whose grace is over."""
    home = settings.home
    if settings.keep_logs_days and not dry_run:
        _set_log_aside(home, wall)
    logs = [path for path in (home.dbt / "logs").glob("*.log*") if path.is_file()]
    return [
        remove("drafts of killed processes", older_than(_drafts(home), cut_off(wall, DRAFT_DAYS)), dry_run=dry_run),
        remove("logs of dbt", older_than(logs, cut_off(wall, settings.keep_logs_days)), dry_run=dry_run),
        _prune_published(settings, wall, dry_run=dry_run),
    ]


def _set_log_aside(home: Home, wall: datetime) -> None:
    """Give the log that dbt adds to a name of its own, so that what it says ages: dbt begins another."""
    log = home.dbt / "logs" / "dbt.log"
    aside = log.with_name(f"dbt-{wall:%Y-%m-%d}.log")
    if log.exists() and not aside.exists():
        log.rename(aside)


def _drafts(home: Home) -> list[Path]:
    """Files that a writer had not yet put in their place; the pretend lender keeps its own house."""
    places = [home.root.glob("*.tmp"), home.root.glob(".*.tmp")]
    folders = (home.published_files, home.contacts_files, home.quarantine, home.exports, home.dagster, home.delivery)
    places += [folder.rglob("*.tmp") for folder in folders]
    places += [home.dlt.glob("*.tmp"), home.dbt.glob("*.tmp")]
    return [path for place in places for path in place if path.is_file()]


def _prune_published(settings: Settings, wall: datetime, *, dry_run: bool) -> Pruned:
    """The publisher deletes these as it publishes; where nothing changes for long, this does."""
    home = settings.home
    before = wall.timestamp() - GRACE_S
    due = [home.root / path for path, since in read_catalog(home).retired.items() if since < before]
    report = remove("retired published files", [path for path in due if path.exists()], dry_run=True)
    if due and not dry_run:
        with warehouse_lock(home, "delete retired published files", settings.lock_timeout_s):
            collect_retired(home)
    return report
