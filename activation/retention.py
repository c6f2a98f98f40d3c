"""Pruning what activation keeps: operational state, and the files of audiences that are no more.

Delivery ledgers are not pruned: they hold one row a person and destination, and removals need them.
What belongs here: which of activation's things go. What does not: when.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from activation.ops import open_ops
from activation.ops.retention import prune_ops
from lendloop.clock import Clock
from lendloop.retention import Pruned, cut_off, older_than, remove
from lendloop.settings import Settings


def prune_history(settings: Settings, clock: Clock, wall: datetime, *, dry_run: bool) -> list[Pruned]:
    """Operational state older than `keep_history_days`, one report a table."""
    before, before_wall = (cut_off(now, settings.keep_history_days) for now in (clock.as_of, wall))
    if before is None or before_wall is None:
        return []
    engine = open_ops(settings)
    try:
        removed = prune_ops(engine, before=before, before_wall=before_wall, dry_run=dry_run)
    finally:
        engine.dispose()
    return [Pruned(what=f"rows of {table}", removed=rows) for table, rows in removed.items()]


def prune_exports(settings: Settings, audiences: Collection[str], wall: datetime, *, dry_run: bool) -> Pruned:
    """The folders of audiences that are not defined any more; `audiences` names those that are."""
    gone = [folder for folder in settings.home.exports.glob("*") if folder.is_dir() and folder.name not in audiences]
    old = older_than(gone, cut_off(wall, settings.keep_exports_days))
    return remove("files of audiences that are no more", old, dry_run=dry_run)
