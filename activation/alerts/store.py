"""Alerts, their events, notifications and outbox rows in operational state: reading and writing, no decisions."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from activation.alerts.content import View
from activation.alerts.machine import Alert, Event, Told
from activation.alerts.routes import Receiver
from activation.alerts.subject import Subject, of_failure
from activation.ops import tables as t

_IDS = 1_000
"""So many ids go into one statement."""


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
    identity = f"[{encode_basestring(rule)}, {encode_basestring(entity)}]"
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


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


def new_alert(subject: Subject, entity: str, alert: Alert, measured: Measured, baseline: bool) -> dict[str, Any]:
    """The row of an alert that was not known before."""
    return {
        "fingerprint": fingerprint(subject.rule, entity),
        "kind": subject.kind,
        "rule": subject.rule,
        "entity": entity,
        "version": 1,
        "baseline": baseline,
        "first_opened_at": alert.opened_at,
        **_measured_columns(measured),
        **alert_columns(alert),
    }


def insert_alerts(connection: Connection, rows: list[dict[str, Any]]) -> dict[str, Row[Any]]:
    """Write new alerts; gives their rows by fingerprint."""
    if not rows:
        return {}
    newest: int = connection.execute(select(func.coalesce(func.max(t.alert.c.id), 0))).scalar_one()
    connection.execute(insert(t.alert), rows)
    written = connection.execute(select(t.alert).where(t.alert.c.id > newest)).all()
    return {row.fingerprint: row for row in written}


def alert_changes(row: Row[Any], alert: Alert, measured: Measured) -> dict[str, Any]:
    """What brings a row to what is known now; its version grows with its state, and what people wrote stays."""
    values = {**alert_columns(alert), **_measured_columns(measured)}
    known = row._mapping
    changed = {name: value for name, value in values.items() if known[name] != value}
    if {"state", "severity", "episode"} & changed.keys():
        changed["version"] = row.version + 1
    if "episode" in changed:
        changed |= {"acknowledged_at": None, "snoozed_at": None, "baseline": False}
    return changed


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
    if subject.kind == "pipeline":
        subject = of_failure(subject, str(measured.entity_key.get("key", "")), str(measured.details.get("kind", "")))
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


def event_rows(
    alert_id: int, episode: int, events: tuple[Event, ...], now: datetime, actor: str = "lendloop"
) -> list[dict[str, Any]]:
    """What happened to an alert, as rows of `alert_event`."""
    return [
        {
            "alert_id": alert_id,
            "occurred_at": now,
            "episode": episode,
            "event": event.name,
            "actor": actor,
            "reason": event.reason,
        }
        for event in events
    ]


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


def told_alone(connection: Connection, rule: str) -> set[tuple[int, int]]:
    """The (alert, episode) of a rule that have a Slack message to themselves."""
    rows = connection.execute(
        select(t.notification.c.alert_id, t.notification.c.episode)
        .join(t.outbox, t.outbox.c.id == t.notification.c.outbox_id)
        .join(t.alert, t.alert.c.id == t.notification.c.alert_id)
        .where(t.alert.c.rule == rule, t.outbox.c.kind == "alert", t.outbox.c.channel == "slack")
    )
    return {(row.alert_id, row.episode) for row in rows}


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
    latest = {} if outbox_id is not None else _last_notifications(connection, [alert_id for alert_id, _ in alerts])
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
        if latest.get(alert_id) != (episode, decision, reason)
    ]
    if rows:
        connection.execute(insert(t.notification), rows)


def _last_notifications(connection: Connection, alert_ids: list[int]) -> dict[int, tuple[int, str, str]]:
    """Episode, decision and reason of each alert's newest notification row."""
    found: dict[int, tuple[int, str, str]] = {}
    notification = t.notification.c
    for at in range(0, len(alert_ids), _IDS):
        newest = (
            select(func.max(notification.id))
            .where(notification.alert_id.in_(alert_ids[at : at + _IDS]))
            .group_by(notification.alert_id)
        )
        for row in connection.execute(select(t.notification).where(notification.id.in_(newest))):
            found[row.alert_id] = (row.episode, row.decision, row.reason)
    return found
