"""What stands now, for a person or a script: read from operational state, no network."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from activation.ops import open_ops, reading
from activation.ops import tables as t
from activation.rules.text import mask, shown
from lendloop.settings import Settings


def alert_status(settings: Settings) -> list[dict[str, Any]]:
    """Every alert, by rule and entity.

    Keys: id, rule, entity (its key as text), state, episode, severity, kind (data or pipeline), baseline, version,
    deviance (text), opened_at, resolved_at, notified_at (ISO 8601 UTC by the business clock; None: nobody has been
    reached in this episode).
    """
    with reading(open_ops(settings)) as connection:
        reached = (
            select(t.notification.c.alert_id, t.notification.c.episode, func.max(t.outbox.c.sent_as_of).label("sent"))
            .join(t.outbox, t.outbox.c.id == t.notification.c.outbox_id)
            .where(t.outbox.c.state == "sent")
            .group_by(t.notification.c.alert_id, t.notification.c.episode)
            .subquery()
        )
        rows = connection.execute(
            select(t.alert, reached.c.sent).outerjoin(
                reached, (reached.c.alert_id == t.alert.c.id) & (reached.c.episode == t.alert.c.episode)
            )
        ).all()
    return [
        {
            "id": row.id,
            "rule": row.rule,
            "entity": mask(" ".join(shown(part) for part in row.entity_key.values())),
            "state": row.state,
            "episode": row.episode,
            "severity": row.severity,
            "kind": row.kind,
            "baseline": row.baseline,
            "version": row.version,
            "deviance": None if row.deviance is None else format(row.deviance, "f"),
            "opened_at": row.opened_at.isoformat(),
            "resolved_at": row.resolved_at.isoformat() if row.resolved_at else None,
            "notified_at": row.sent.isoformat() if row.sent else None,
        }
        for row in sorted(rows, key=lambda row: (row.rule, row.entity))
    ]


def outbox_failures(settings: Settings) -> list[str]:
    """One line for each message that was given up, the newest first."""
    with reading(open_ops(settings)) as connection:
        rows = connection.execute(
            select(t.outbox).where(t.outbox.c.state == "failed").order_by(t.outbox.c.id.desc())
        ).all()
    return [f"{row.channel} {row.target or 'default'}: {row.payload['text']}: {row.reason}" for row in rows]
