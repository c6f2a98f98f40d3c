"""What people do to alerts: acknowledge, snooze, silence, send again. Each is audited."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from activation.alerts import content, machine
from activation.alerts.machine import Alert
from activation.alerts.routes import Routes
from activation.alerts.store import alert_columns, enqueue_updates, measured_of, read_alert, view_of
from activation.alerts.subject import PIPELINE, of_rule, pipeline
from activation.ops import open_ops, writing
from activation.ops import tables as t
from activation.rules.model import Rule
from lendloop.clock import Clock
from lendloop.errors import ConfigurationError, PermanentError
from lendloop.settings import Settings


def acknowledge_alert(
    settings: Settings,
    alert_id: int,
    *,
    expected_version: int,
    actor: str,
    clock: Clock,
    rules: list[Rule],
    routes: Routes,
    note: str | None = None,
) -> int:
    """Take an alert on; returns its new version.

    Raises PermanentError when it is not there, resolved, or changed since `expected_version`.
    """
    columns: dict[str, Any] = {"acknowledged_at": clock.as_of}
    return _change(
        settings,
        alert_id,
        expected_version,
        actor,
        clock,
        rules,
        routes,
        note,
        "acknowledged",
        machine.acknowledge,
        columns,
    )


def snooze_alert(
    settings: Settings,
    alert_id: int,
    *,
    until: datetime,
    expected_version: int,
    actor: str,
    clock: Clock,
    rules: list[Rule],
    routes: Routes,
    note: str | None = None,
) -> int:
    """Be quiet about an alert until then, unless it gets worse; returns its new version.

    Raises PermanentError as `acknowledge_alert` does, ConfigurationError when `until` is past.
    """
    if until <= clock.as_of:
        raise ConfigurationError(f"a snooze must end after {clock.as_of:%Y-%m-%d %H:%M} UTC")
    columns: dict[str, Any] = {"snoozed_at": clock.as_of}

    def snoozed(alert: Alert) -> Alert:
        return machine.snooze(alert, until)

    return _change(settings, alert_id, expected_version, actor, clock, rules, routes, note, "snoozed", snoozed, columns)


def _change(
    settings: Settings,
    alert_id: int,
    expected_version: int,
    actor: str,
    clock: Clock,
    rules: list[Rule],
    routes: Routes,
    note: str | None,
    action: str,
    move: Callable[[Alert], Alert],
    columns: dict[str, Any],
) -> int:
    with writing(open_ops(settings)) as connection:
        row = connection.execute(select(t.alert).where(t.alert.c.id == alert_id).with_for_update()).one_or_none()
        if row is None:
            raise PermanentError(f"there is no alert {alert_id}")
        if row.version != expected_version or row.state == "resolved":
            raise PermanentError(f"alert {alert_id} has changed: it is {row.state}, version {row.version}; look again")
        alert = move(read_alert(row))
        version: int = row.version + 1
        values = {**alert_columns(alert), **columns, "version": version, "handled_by": actor}
        if note is not None:
            values["note"] = note
        connection.execute(update(t.alert).where(t.alert.c.id == alert_id).values(**values))
        connection.execute(
            insert(t.alert_event).values(
                alert_id=alert_id, occurred_at=clock.as_of, episode=row.episode, event=action, actor=actor, reason=note
            )
        )
        connection.execute(
            insert(t.audit).values(
                occurred_at=clock.as_of, actor=actor, action=action, subject=f"alert {alert_id}", details={"note": note}
            )
        )
        subjects = {PIPELINE: pipeline(routes.default)} | {rule.rule: of_rule(rule) for rule in rules}
        if row.rule in subjects:
            changed = connection.execute(select(t.alert).where(t.alert.c.id == alert_id)).one()
            view = view_of(changed, alert, subjects[row.rule], measured_of(changed), routes.link_base)
            enqueue_updates(connection, alert_id, view, content.alert_message(view), clock.as_of)
        return version


def silence_rule(
    settings: Settings,
    rule: str,
    *,
    until: datetime,
    actor: str,
    comment: str,
    clock: Clock,
    entity: str | None = None,
) -> None:
    """Notify nobody of a rule (or one entity of it) from now until then; that something is over is still told."""
    with writing(open_ops(settings)) as connection:
        connection.execute(
            insert(t.silence).values(
                rule=rule, entity=entity, starts_at=clock.as_of, ends_at=until, created_by=actor, comment=comment
            )
        )
        connection.execute(
            insert(t.audit).values(
                occurred_at=clock.as_of,
                actor=actor,
                action="silenced",
                subject=f"rule {rule}",
                details={"comment": comment},
            )
        )


def resend_failed(settings: Settings, *, actor: str, clock: Clock) -> int:
    """Plan every failed message again, once its cause is mended; returns how many."""
    with writing(open_ops(settings)) as connection:
        count = connection.execute(
            update(t.outbox)
            .where(t.outbox.c.state == "failed")
            .values(state="planned", attempts=0, not_before_wall=None, created_wall=datetime.now(clock.as_of.tzinfo))
        ).rowcount
        connection.execute(
            insert(t.audit).values(
                occurred_at=clock.as_of, actor=actor, action="resent", subject="outbox", details={"messages": count}
            )
        )
    return int(count)
