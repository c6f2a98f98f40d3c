"""From findings and failures to alerts and messages: the state machine over everything, in one transaction."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Row, insert, select, update

from activation.alerts import content
from activation.alerts.content import View
from activation.alerts.machine import Alert, Decision, Event, Seen, decide, step, tell
from activation.alerts.plan import Plan, Told
from activation.alerts.routes import Routes
from activation.alerts.store import (
    Measured,
    alert_changes,
    enqueue_updates,
    event_rows,
    fingerprint,
    insert_alerts,
    measured_of,
    new_alert,
    read_alert,
    told_alone,
    view_of,
    write_notifications,
)
from activation.alerts.subject import PIPELINE, Subject, of_rule, pipeline
from activation.ops import open_ops, writing
from activation.ops import tables as t
from activation.ops.bulk import update_rows
from activation.ops.failures import WARNINGS, PipelineFailure, concerning, record_failures
from activation.rules.model import Rule
from lendloop.clock import Clock
from lendloop.collector import uncollected
from lendloop.settings import Settings


class AlertReport(BaseModel):
    """What one advance did. `held` counts notifications that were due and not planned, by reason."""

    opened: int = 0
    reopened: int = 0
    resolved: int = 0
    open_now: int = 0
    frozen: int = 0
    messages: int = 0
    held: dict[str, int] = Field(default_factory=dict)

    @property
    def summary(self) -> str:
        """One line for a log."""
        held = "".join(f"; {count} held back: {reason}" for reason, count in sorted(self.held.items()))
        return (
            f"{self.opened} opened, {self.reopened} open again, {self.resolved} resolved, {self.open_now} open now,"
            f" {self.frozen} frozen, {self.messages} messages planned{held}"
        )


@dataclass(frozen=True)
class Entity:
    """One entity of a subject as last evaluated."""

    entity: str
    measured: Measured
    severity: Any
    firing: bool
    unseen: bool
    occurred_at: datetime | None = None


def report_failures(settings: Settings, failures: list[PipelineFailure], clock: Clock) -> None:
    """Keep failures of the machinery, and recoveries, for the next `advance_alerts`."""
    with writing(open_ops(settings)) as connection:
        record_failures(connection, failures, clock)


@uncollected()
def advance_alerts(settings: Settings, rules: list[Rule], routes: Routes, clock: Clock) -> AlertReport:
    """Move every alert to what findings and failures say, and plan the messages, in one transaction.

    Calling it again without anything new changes nothing. Sends nothing: see `deliver_outbox`.
    """
    with writing(open_ops(settings)) as connection:
        return _Advance(connection, routes, clock.as_of).run(rules)


@dataclass
class _Written:
    """What the alerts of one subject have to have written: rows of `alert_event`, holds by reason, changes by id."""

    events: list[dict[str, Any]] = field(default_factory=list)
    held: defaultdict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    changes: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    changed_views: list[tuple[int, View]] = field(default_factory=list)


@dataclass
class _Advance:
    connection: Connection
    routes: Routes
    now: datetime
    report: AlertReport = field(default_factory=AlertReport)
    held: Counter[str] = field(default_factory=Counter)

    def run(self, rules: list[Rule]) -> AlertReport:
        failures = self.connection.execute(select(t.pipeline_failure).order_by(t.pipeline_failure.c.key)).all()
        silences = self.connection.execute(
            select(t.silence).where(t.silence.c.starts_at <= self.now, t.silence.c.ends_at > self.now)
        ).all()
        plan = Plan(self.connection, self.routes, self.now)
        machinery = pipeline(self.routes.default)
        self._subject(machinery, [self._failure(row) for row in failures], None, silences, plan, first=False)
        self.connection.execute(update(t.pipeline_failure).where(t.pipeline_failure.c.unseen).values(unseen=False))
        broken = [row for row in failures if row.resolved_at is None]
        for rule in rules:
            subject = of_rule(rule)
            self._subject(
                subject,
                self._findings(subject),
                concerning(broken, subject.rule, subject.sources, subject.tables),
                silences,
                plan,
                first=self._is_first(subject),
            )
            self.connection.execute(
                update(t.finding).where(t.finding.c.rule == rule.rule, t.finding.c.unseen).values(unseen=False)
            )
            self.connection.execute(
                update(t.rule_evaluation)
                .where(t.rule_evaluation.c.rule == rule.rule, t.rule_evaluation.c.advanced_at.is_(None))
                .values(advanced_at=self.now)
            )
        self.report.messages += plan.enqueue()
        self.report.held = dict(self.held)
        return self.report

    def _findings(self, subject: Subject) -> list[Entity]:
        rows = self.connection.execute(
            select(t.finding).where(t.finding.c.rule == subject.rule).order_by(t.finding.c.id)
        ).all()
        return [
            Entity(row.entity, measured_of(row), row.severity, row.firing, row.unseen, row.occurred_at) for row in rows
        ]

    def _failure(self, row: Row[Any]) -> Entity:
        link = row.link or ""
        address = link if link.startswith(("http://", "https://")) else f"{self.routes.link_base.rstrip('/')}{link}"
        known = {"key": row.key}
        details = {"message": next(iter(row.message.strip().splitlines()), "no message")}
        times = Decimal(row.occurrences)
        measured = Measured(known, details | {"address": address, "kind": row.kind}, times, Decimal(0), times)
        severity = "warning" if row.kind in WARNINGS else "critical"
        return Entity(row.key, measured, severity, row.resolved_at is None, row.unseen)

    def _is_first(self, subject: Subject) -> bool:
        """Whether no evaluation that could be made has reached the alerts yet."""
        evaluation = t.rule_evaluation.c
        known = self.connection.execute(
            select(evaluation.id)
            .where(
                evaluation.rule == subject.rule,
                evaluation.advanced_at.is_not(None),
                evaluation.outcome.in_(("passed", "failed")),
            )
            .limit(1)
        )
        return known.first() is None

    def _subject(
        self, subject: Subject, entities: list[Entity], inhibitor: str | None, silences: Any, plan: Plan, *, first: bool
    ) -> None:
        known = {
            row.fingerprint: row
            for row in self.connection.execute(select(t.alert).where(t.alert.c.rule == subject.rule)).all()
        }
        moved: list[tuple[str, Entity, Alert, tuple[Event, ...]]] = []
        born: list[dict[str, Any]] = []
        for entity in entities:
            key = fingerprint(subject.rule, entity.entity)
            row = known.get(key)
            alert, events = self._step(subject, entity, read_alert(row) if row is not None else None, inhibitor)
            if alert is None:
                continue
            moved.append((key, entity, alert, events))
            if row is None:
                baseline = not subject.notify_backfill and (first or _is_history(subject, entity, self.now))
                born.append(new_alert(subject, entity.entity, alert, entity.measured, baseline))
        known |= insert_alerts(self.connection, born)
        written = _Written()
        for key, entity, alert, events in moved:
            row = known[key]
            written.events += event_rows(row.id, alert.episode, events, self.now)
            self._count(alert, events)
            holds = _holds(subject, entity.entity, inhibitor, silences)
            self._tell(subject, entity, row, alert, events, holds, plan, written)
        self._write(subject, written)

    def _write(self, subject: Subject, written: _Written) -> None:
        if written.events:
            self.connection.execute(insert(t.alert_event), written.events)
        for reason, alerts in written.held.items():
            self.held[reason] += len(alerts)
            write_notifications(self.connection, alerts, "held", reason, self.now)
        update_rows(self.connection, t.alert, written.changes)
        alone = told_alone(self.connection, subject.rule) if written.changed_views else set()
        for alert_id, view in written.changed_views:
            if (alert_id, view.alert.episode) in alone:
                self.report.messages += enqueue_updates(
                    self.connection, alert_id, view, content.alert_message(view), self.now
                )

    def _step(
        self, subject: Subject, entity: Entity, alert: Alert | None, inhibitor: str | None
    ) -> tuple[Alert | None, tuple[Event, ...]]:
        """What fired and ceased between two looks is opened and resolved, so that nobody misses it."""
        events: tuple[Event, ...] = ()
        if entity.unseen and not entity.firing:
            alert, events = step(alert, Seen(True, entity.severity, True), self.now, subject.behaviour)
        seen = Seen(entity.firing, entity.severity, entity.unseen, inhibitor)
        after, more = step(alert, seen, self.now, subject.behaviour)
        if after is not None and after.firing and not entity.firing:
            self.report.frozen += 1
        return after, (*events, *more)

    def _count(self, alert: Alert, events: tuple[Event, ...]) -> None:
        names = [event.name for event in events]
        self.report.opened += "opened" in names
        self.report.reopened += "reopened" in names
        self.report.resolved += "resolved" in names
        self.report.open_now += alert.firing

    def _tell(
        self,
        subject: Subject,
        entity: Entity,
        row: Row[Any],
        alert: Alert,
        events: tuple[Event, ...],
        holds: tuple[str, ...],
        plan: Plan,
        written: _Written,
    ) -> None:
        decision = self._decide(alert, events, holds, subject)
        measured = entity.measured if entity.firing or entity.unseen else measured_of(row)
        told = alert
        if decision.kind in ("notify", "remind", "resolve"):
            told = tell(alert, self.now)
            view = view_of(row, alert, subject, measured, self.routes.link_base)
            plan.add(Told(row.id, view, decision, baseline=bool(row.baseline) and alert.episode == 1))
        elif decision.kind == "hold":
            written.held[decision.reason].append((row.id, alert.episode))
        written.changes.append((row.id, alert_changes(row, told, measured)))
        if events and decision.kind != "notify":
            written.changed_views.append((row.id, view_of(row, alert, subject, measured, self.routes.link_base)))

    def _decide(self, alert: Alert, events: tuple[Event, ...], holds: tuple[str, ...], subject: Subject) -> Decision:
        names = {event.name for event in events}
        if "resolved" in names and names & {"opened", "reopened"} and not holds:
            return Decision("notify", "it fired and ceased before anybody could be told")
        return decide(alert, holds, self.now, subject.behaviour)


def _is_history(subject: Subject, entity: Entity, now: datetime) -> bool:
    return (
        subject.backfill_after is not None
        and entity.occurred_at is not None
        and now - entity.occurred_at > subject.backfill_after
    )


def _holds(subject: Subject, entity: str, inhibitor: str | None, silences: Any) -> tuple[str, ...]:
    holds = [f"inhibited by {PIPELINE} alert {inhibitor}"] if inhibitor else []
    holds += [
        f"silenced until {silence.ends_at:%Y-%m-%d %H:%M} UTC"
        for silence in silences
        if silence.rule == subject.rule and silence.entity in (None, entity)
    ]
    return tuple(holds)


__all__ = ["AlertReport", "View", "advance_alerts", "report_failures"]
