"""What failed in the machinery itself: recorded until its next success, so that missing data closes no alert."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, Row, insert, select, update

from activation.ops import tables as t
from lendloop.clock import Clock

MESSAGE_LIMIT = 2000
Kind = Literal[
    "asset", "run", "overdue", "sensor", "check", "hint", "late", "stale", "demotion", "source", "rule", "audience"
]  # fmt: skip
WARNINGS = ("hint", "late")
"""Kinds whose alert is a warning; that of any other is critical."""


class PipelineFailure(BaseModel):
    """A failure of an asset, run, sensor, check, source or rule, or (`resolved`) its next success.

    `key` names the part that failed (asset key and step), the same at each report. `rules`, `sources` and
    `datasets` (`trusted.fct_loan`) are what it makes unreliable: the data alerts of every rule that is named,
    or needs one of them, are inhibited and none of them closes meanwhile. `message` must carry no personal data.
    A `hint` is a check that says that something may be wrong, `late` a dataset that is not yet stale: a warning each.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    kind: Kind = "asset"
    message: str = ""
    link: str | None = None
    rules: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    resolved: bool = False


def record_failures(connection: Connection, failures: Iterable[PipelineFailure], clock: Clock) -> None:
    """Write failures and recoveries, the latest of a key last. A recovery of what never failed changes nothing."""
    table = t.pipeline_failure
    for failure in failures:
        known = connection.execute(select(table).where(table.c.key == failure.key)).one_or_none()
        if failure.resolved:
            if known is not None and known.resolved_at is None:
                connection.execute(update(table).where(table.c.key == failure.key).values(resolved_at=clock.as_of))
            continue
        values: dict[str, Any] = {
            "kind": failure.kind,
            "message": _cut(failure.message),
            "link": failure.link,
            "rules": list(failure.rules),
            "sources": list(failure.sources),
            "datasets": list(failure.datasets),
            "last_seen_at": clock.as_of,
            "resolved_at": None,
        }
        if known is None:
            connection.execute(
                insert(table).values(key=failure.key, occurrences=1, unseen=True, first_seen_at=clock.as_of, **values)
            )
            continue
        if known.resolved_at is not None:
            values |= {"first_seen_at": clock.as_of, "unseen": True}
        connection.execute(
            update(table).where(table.c.key == failure.key).values(occurrences=known.occurrences + 1, **values)
        )


def _cut(message: str) -> str:
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"


def standing_failures(connection: Connection) -> list[Row[Any]]:
    """The failures without a success since, by key."""
    table = t.pipeline_failure
    return list(connection.execute(select(table).where(table.c.resolved_at.is_(None)).order_by(table.c.key)).all())


def concerning(
    failures: Iterable[Row[Any]], rule: str, sources: Collection[str], datasets: Collection[str]
) -> str | None:
    """The key of a failure that makes a rule's data unreliable, if one does."""
    for row in failures:
        if rule in row.rules or set(sources) & set(row.sources) or set(datasets) & set(row.datasets):
            return str(row.key)
    return None
