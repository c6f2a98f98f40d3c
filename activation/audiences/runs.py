"""Sync runs in operational state: one row a destination and pass, and the last one of each audience.

Belongs here: reading and writing `sync_run`. Not here: what a run does.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, insert, select

from activation.audiences.definition import Audience
from activation.audiences.report import DestinationReport, SyncReport
from activation.ops import open_ops, reading, sync_run, writing
from lendloop.settings import Settings

NO_VERSION = 0
"""Of a pass of an audience that no file defines: those of files begin with 1."""


def keep_runs(settings: Settings, report: SyncReport, started_at: datetime) -> None:
    """Write a pass down, a row for each destination; one without any gets a row with destination `-`."""
    shared = {
        "candidates": report.candidates,
        "desired": report.desired,
        "held_back": report.held_back,
        "snapshot": report.snapshot,
        "audience_version": report.version,
        "audience_outcome": report.outcome,
    }
    parts: list[tuple[str, DestinationReport | None]] = [*report.destinations.items()] or [("-", None)]
    rows = [
        {
            "id": uuid.uuid4().hex,
            "audience": report.audience,
            "destination": name,
            "started_at": started_at,
            "finished_at": datetime.now(UTC),
            "as_of": report.as_of,
            "outcome": part.outcome if part else report.outcome,
            "counts": {**shared, **(part.model_dump(mode="json", exclude={"outcome", "errors"}) if part else {})},
            "error": "; ".join((part.errors if part else []) or report.errors) or None,
        }
        for name, part in parts
    ]
    engine = open_ops(settings)
    try:
        with writing(engine) as connection:
            connection.execute(insert(sync_run), rows)
    finally:
        engine.dispose()


def audience_status(settings: Settings, audiences: Iterable[Audience]) -> list[dict[str, Any]]:
    """The last pass of each audience, from operational state, with no network.

    One dict an audience: audience, title, owner, version, synced_at, as_of, outcome, candidates,
    desired, held_back, added, changed, removed, accepted, confirmed, rejected, unknown, requests and
    `destinations` (their last counts, outcome and error). Never synced: outcome `never`.
    """
    engine = open_ops(settings)
    try:
        with reading(engine) as connection:
            return [_status(connection, audience) for audience in audiences]
    finally:
        engine.dispose()


def failed_without_a_file(settings: Settings, audiences: Iterable[Audience]) -> list[str]:
    """One line for each destination at which those who said no could not be let go of, as no file defines their audience."""
    defined = {(audience.name, name) for audience in audiences for name in audience.destinations.names()}
    newest = select(sync_run.c.audience, sync_run.c.destination, func.max(sync_run.c.started_at).label("last"))
    last = newest.group_by(sync_run.c.audience, sync_run.c.destination).subquery()
    engine = open_ops(settings)
    try:
        with reading(engine) as connection:
            rows = connection.execute(
                select(sync_run)
                .join(
                    last,
                    (sync_run.c.audience == last.c.audience)
                    & (sync_run.c.destination == last.c.destination)
                    & (sync_run.c.started_at == last.c.last),
                )
                .where(sync_run.c.error.is_not(None))
                .order_by(sync_run.c.audience, sync_run.c.destination)
            ).all()
    finally:
        engine.dispose()
    return [
        f"audience {row.audience}, which no file defines, at {row.destination}: {row.error}"
        for row in rows
        if (row.audience, row.destination) not in defined and row.counts["audience_version"] == NO_VERSION
    ]


def _status(connection: Any, audience: Audience) -> dict[str, Any]:
    head: dict[str, Any] = {
        "audience": audience.name,
        "title": audience.title,
        "owner": audience.owner,
        "version": audience.version,
        "outcome": "never",
        "synced_at": None,
        "as_of": None,
        "candidates": 0,
        "desired": 0,
        "held_back": {},
        "errors": [],
        "destinations": {},
    }
    newest = connection.execute(
        select(sync_run.c.started_at)
        .where(sync_run.c.audience == audience.name)
        .order_by(sync_run.c.started_at.desc())
        .limit(1)
    ).scalar()
    parts: dict[str, dict[str, Any]] = {}
    if newest is not None:
        rows = connection.execute(
            select(sync_run).where(sync_run.c.audience == audience.name, sync_run.c.started_at == newest)
        ).mappings()
        for row in rows:
            counts = row["counts"]
            head |= {
                "outcome": counts["audience_outcome"],
                "synced_at": row["finished_at"].isoformat() if row["finished_at"] else None,
                "as_of": row["as_of"].isoformat(),
                **{name: counts[name] for name in ("candidates", "desired", "held_back", "snapshot")},
            }
            head["errors"] = [*head["errors"], *([row["error"]] if row["error"] else [])]
            if row["destination"] != "-":
                own = {k: v for k, v in counts.items() if k not in head and k != "audience_outcome"}
                parts[row["destination"]] = {"outcome": row["outcome"], "error": row["error"], **own}
    live = [part for part in parts.values() if part["outcome"] != "not_configured"]
    for name in ("added", "changed", "removed"):
        head[name] = max((part.get(name, 0) for part in live), default=0)
    for name in ("accepted", "confirmed", "rejected", "unknown", "requests"):
        head[name] = sum(part.get(name, 0) for part in live)
    return {**head, "destinations": parts}
