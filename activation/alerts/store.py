"""Alerts, their events, notifications and outbox rows in operational state: reading and writing, no decisions."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from activation.alerts.content import View
from activation.alerts.machine import Alert, Event, Told
from activation.alerts.routes import Receiver
from activation.alerts.subject import Subject
from activation.ops import tables as t


@dataclass(frozen=True)
class Measured:
    """What an evaluation says of an entity, as the latest of it."""

    entity_key: Mapping[str, Any]
    details: Mapping[str, Any]
    value: Decimal | None
    threshold: Decimal | None
    deviance: Decimal | None


def fingerprint(rule: str, entity: str) -> str:
    """An alert's identity: its rule and its entity's key, nothing else."""
    return hashlib.sha256(json.dumps([rule, entity], ensure_ascii=False).encode()).hexdigest()[:32]


def read_alert(row: Row[Any]) -> Alert:
    """The machine's view of a row of `alert`."""
    told = None
    if row.notified_at is not None:
        told = Told(row.notified_episode, row.notified_severity, row.notified_at, row.notified_firing)
    return Alert(
        state=row.state,
        severity=row.severity,
        episode=row.episode,
        opened_at=row.opened_at,
        open_since=row.open_since,
        accepted_severity=row.accepted_severity,
        snoozed_until=row.snoozed_until,
        resolved_at=row.resolved_at,
        resolved_by=row.resolved_by,
        told=told,
    )


def alert_columns(alert: Alert) -> dict[str, Any]:
    """The columns of `alert` that the machine owns."""
    told = alert.told
    return {
        "state": alert.state,
        "severity": alert.severity,
        "episode": alert.episode,
        "opened_at": alert.opened_at,
        "open_since": alert.open_since,
        "accepted_severity": alert.accepted_severity,
        "snoozed_until": alert.snoozed_until,
        "resolved_at": alert.resolved_at,
        "resolved_by": alert.resolved_by,
        "notified_episode": told.episode if told else None,
        "notified_severity": told.severity if told else None,
        "notified_at": told.at if told else None,
        "notified_firing": told.firing if told else None,
    }


def insert_alert(
    connection: Connection, subject: Subject, entity: str, alert: Alert, measured: Measured, baseline: bool
) -> int:
    """A new alert's row; returns its id."""
    created: int = connection.execute(
        insert(t.alert)
        .values(
            fingerprint=fingerprint(subject.rule, entity),
            kind=subject.kind,
            rule=subject.rule,
            entity=entity,
            version=1,
            baseline=baseline,
            first_opened_at=alert.opened_at,
            **_measured_columns(measured),
            **alert_columns(alert),
        )
        .returning(t.alert.c.id)
    ).scalar_one()
    return created


def update_alert(connection: Connection, row: Row[Any], alert: Alert, measured: Measured) -> None:
    """Bring a row to what is known now; its version grows with its state, and what people wrote stays."""
    values = {**alert_columns(alert), **_measured_columns(measured)}
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    if not changed:
        return
    if {"state", "severity", "episode"} & set(changed):
        changed["version"] = row.version + 1
    if "episode" in changed:
        changed |= {"acknowledged_at": None, "snoozed_at": None, "baseline": False}
    connection.execute(update(t.alert).where(t.alert.c.id == row.id).values(**changed))


def _measured_columns(measured: Measured) -> dict[str, Any]:
    return {
        "entity_key": dict(measured.entity_key),
        "details": dict(measured.details),
        "value": measured.value,
        "threshold": measured.threshold,
        "deviance": measured.deviance,
    }


def view_of(row: Row[Any], alert: Alert, subject: Subject, measured: Measured, base: str) -> View:
    """What a message about an alert may say. `row` gives what people wrote."""
    return View(
        subject=subject,
        alert=alert,
        entity_key=measured.entity_key,
        details=measured.details,
        value=measured.value,
        threshold=measured.threshold,
        deviance=measured.deviance,
        base=base,
        handled_by=row.assignee or row.handled_by,
        note=row.note,
    )


def measured_of(row: Row[Any]) -> Measured:
    """The measured part of a row of `finding` or of `alert`."""
    return Measured(row.entity_key, row.details, row.value, row.threshold, row.deviance)


def write_events(
    connection: Connection,
    alert_id: int,
    episode: int,
    events: tuple[Event, ...],
    now: datetime,
    actor: str = "lendloop",
) -> None:
    """What happened to an alert."""
    if events:
        connection.execute(
            insert(t.alert_event),
            [
                {
                    "alert_id": alert_id,
                    "occurred_at": now,
                    "episode": episode,
                    "event": event.name,
                    "actor": actor,
                    "reason": event.reason,
                }
                for event in events
            ],
        )


def enqueue(
    connection: Connection,
    receiver: Receiver,
    kind: str,
    payload: dict[str, Any],
    *,
    dedup_key: str,
    now: datetime,
    thread_key: str | None = None,
    parent_id: int | None = None,
) -> int:
    """Put a message into the outbox, once for its key; returns the row's id."""
    known: int | None = connection.execute(select(t.outbox.c.id).where(t.outbox.c.dedup_key == dedup_key)).scalar()
    if known is not None:
        return known
    created: int = connection.execute(
        insert(t.outbox)
        .values(
            uid=uuid.uuid4().hex,
            dedup_key=dedup_key,
            channel=receiver.channel,
            target=receiver.target,
            kind=kind,
            payload=payload,
            thread_key=thread_key,
            parent_id=parent_id,
            state="planned",
            attempts=0,
            created_as_of=now,
            created_wall=datetime.now(UTC),
        )
        .returning(t.outbox.c.id)
    ).scalar_one()
    return created


def enqueue_updates(connection: Connection, alert_id: int, view: View, payload: dict[str, Any], now: datetime) -> int:
    """Have each Slack message that this alert has to itself, in this episode, say how it stands now."""
    own = connection.execute(
        select(t.outbox.c.id, t.outbox.c.target)
        .join(t.notification, t.notification.c.outbox_id == t.outbox.c.id)
        .where(
            t.notification.c.alert_id == alert_id,
            t.notification.c.episode == view.alert.episode,
            t.outbox.c.kind == "alert",
            t.outbox.c.channel == "slack",
        )
    ).all()
    content = hashlib.sha256(json.dumps(payload["blocks"], sort_keys=True).encode()).hexdigest()[:16]
    for message in own:
        latest = connection.execute(
            select(func.count()).select_from(t.outbox).where(t.outbox.c.parent_id == message.id)
        ).scalar_one()
        enqueue(
            connection,
            Receiver(channel="slack", target=message.target),
            "update",
            payload,
            dedup_key=f"update:{message.id}:{latest}:{content}",
            now=now,
            parent_id=message.id,
        )
    return len(own)


def write_notifications(
    connection: Connection,
    alerts: list[tuple[int, int]],
    decision: str,
    reason: str,
    now: datetime,
    receiver: str | None = None,
    outbox_id: int | None = None,
) -> None:
    """One row for each (alert, episode): a notification planned, or held back with its reason.

    A hold is written once for as long as its reason stays the same.
    """
    rows = [
        {
            "alert_id": alert_id,
            "episode": episode,
            "decided_at": now,
            "decision": decision,
            "reason": reason,
            "receiver": receiver,
            "outbox_id": outbox_id,
        }
        for alert_id, episode in alerts
        if outbox_id is not None or last_notification(connection, alert_id) != (episode, decision, reason)
    ]
    if rows:
        connection.execute(insert(t.notification), rows)


def last_notification(connection: Connection, alert_id: int) -> tuple[int, str, str] | None:
    """Episode, decision and reason of an alert's newest notification row."""
    row = connection.execute(
        select(t.notification.c.episode, t.notification.c.decision, t.notification.c.reason)
        .where(t.notification.c.alert_id == alert_id)
        .order_by(t.notification.c.id.desc())
        .limit(1)
    ).one_or_none()
    return (row.episode, row.decision, row.reason) if row else None
