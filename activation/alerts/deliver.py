"""Delivering the outbox: in order for each target, in flight before sending, never twice, one bad channel alone.

Pacing and ageing go by the wall clock, which is an argument: the business clock may stand still.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import Engine, Row, func, select, update

from activation.alerts.channels import Channel, Message, Sent
from activation.alerts.email import Email
from activation.alerts.routes import Routes
from activation.alerts.slack import Slack
from activation.ops import exclusively, open_ops, reading, writing
from activation.ops import tables as t
from lendloop.clock import Clock
from lendloop.errors import ConfigurationError, LockTimeoutError
from lendloop.settings import Settings

LOCK_TIMEOUT_S = 30.0
BUDGET_S = 45.0
"""A sensor's tick ends after 60 s."""
SETTLE_S = 2.0
"""An unanswered request may still be on its way in: so long before what is unknown is looked up."""
PATIENCE = 2
"""Transient failures of one target in one call, before it is left for the next."""
PENDING = ("planned", "in_flight", "unknown")


class DeliveryReport(BaseModel):
    """What one delivery did. `waiting` are due later (rate limit, back-off), `held` lack something, by reason."""

    sent: int = 0
    updated: int = 0
    recovered: int = 0
    failed: int = 0
    waiting: int = 0
    held: dict[str, int] = Field(default_factory=dict)
    failures: list[str] = Field(default_factory=list)
    note: str = ""

    @property
    def summary(self) -> str:
        """One line for a log."""
        held = "".join(f"; {count} held: {reason}" for reason, count in sorted(self.held.items()))
        return (
            f"{self.sent} sent, {self.updated} updated, {self.recovered} found again, {self.failed} failed,"
            f" {self.waiting} waiting{held}{'; ' + self.note if self.note else ''}"
        )


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def deliver_outbox(
    settings: Settings,
    routes: Routes,
    clock: Clock,
    *,
    budget_s: float = BUDGET_S,
    wall: Callable[[], datetime] = utc_now,
    pause: Callable[[float], None] = time.sleep,
) -> DeliveryReport:
    """Send what is due, for at most about `budget_s` seconds of waiting for rates; the rest stays for the next call.

    One process delivers at a time; another one that does is noted in the report and not an error.
    """
    engine = open_ops(settings)
    with reading(engine) as connection:
        if not connection.execute(select(func.count()).where(t.outbox.c.state.in_(PENDING))).scalar_one():
            return DeliveryReport()
    try:
        with exclusively(engine, settings, "outbox", "deliver notifications", LOCK_TIMEOUT_S):
            return _Delivery(engine, settings, routes, clock, budget_s, wall, pause).run()
    except LockTimeoutError as error:
        return DeliveryReport(note=str(error))


class _Delivery:
    """One delivery, under its lock."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        routes: Routes,
        clock: Clock,
        budget_s: float,
        wall: Callable[[], datetime],
        pause: Callable[[float], None],
    ) -> None:
        self.engine, self.settings, self.routes, self.clock = engine, settings, routes, clock
        self.wall, self.pause = wall, pause
        self.deadline = wall() + timedelta(seconds=budget_s)
        self.channels: dict[str, Channel | str] = {}
        self.ready: dict[tuple[str, str], datetime] = {}
        self.faults: Counter[tuple[str, str]] = Counter()
        self.held: Counter[str] = Counter()
        self.report = DeliveryReport()

    def run(self) -> DeliveryReport:
        """Work through the targets side by side, each in order."""
        with writing(self.engine) as connection:
            connection.execute(
                update(t.outbox)
                .where(t.outbox.c.state == "in_flight")
                .values(state="unknown", reason="the process that sent it ended before it knew")
            )
        queues = self._queues()
        while queues:
            target = min(queues, key=lambda name: self._ready(name, queues[name][0]))
            wait_s = (self._ready(target, queues[target][0]) - self.wall()).total_seconds()
            if wait_s > 0:
                if self.wall() + timedelta(seconds=wait_s) > self.deadline:
                    break
                self.pause(wait_s)
            if self._deliver(target, queues[target][0]):
                queues[target].pop(0)
            elif self.faults[target] >= PATIENCE:
                self.report.waiting += len(queues.pop(target))
                continue
            if not queues[target]:
                del queues[target]
        self.report.waiting += sum(len(rows) for rows in queues.values())
        self.report.held = dict(self.held)
        return self.report

    def _queues(self) -> dict[tuple[str, str], list[int]]:
        """Pending rows by target, in order; what can't go anywhere is held, with its reason."""
        with reading(self.engine) as connection:
            rows = connection.execute(
                select(t.outbox).where(t.outbox.c.state.in_(PENDING)).order_by(t.outbox.c.id)
            ).all()
            latest = connection.execute(
                select(t.outbox.c.channel, t.outbox.c.target, func.max(t.outbox.c.attempted_wall).label("last_wall"))
                .where(t.outbox.c.attempted_wall.is_not(None))
                .group_by(t.outbox.c.channel, t.outbox.c.target)
            ).all()
        for sent in latest:
            target = self._target(sent.channel, sent.target)
            if target and sent.channel == "slack":
                last = min(sent.last_wall, self.wall())
                self.ready[("slack", target)] = last + timedelta(seconds=self.routes.slack_interval_s)
        queues: dict[tuple[str, str], list[int]] = {}
        too_old = self.wall() - timedelta(hours=self.routes.hold_at_most_hours)
        for row in rows:
            missing = self._missing(row.channel, row.target)
            if row.created_wall < too_old:
                reason = missing or row.reason or "it could not be sent"
                self._failed(row, f"given up after {self.routes.hold_at_most_hours} h: {reason}")
            elif missing:
                self.held[missing] += 1
                if row.reason != missing and row.state == "planned":
                    self._write(row.id, reason=missing)
            else:
                queues.setdefault((row.channel, str(self._target(row.channel, row.target))), []).append(row.id)
        return queues

    def _target(self, channel: str, named: str | None) -> str | None:
        return named or (self.settings.slack_channel if channel == "slack" else self.settings.alert_email)

    def _missing(self, channel: str, named: str | None) -> str | None:
        """Why a channel can't be used, if so."""
        settings = self.settings
        if channel == "slack" and (not settings.slack_url or not settings.slack_token):
            return "slack not configured"
        if channel == "email" and not settings.smtp_url:
            return "e-mail not configured"
        if self._target(channel, named) is None:
            return f"{'LENDLOOP_SLACK_CHANNEL' if channel == 'slack' else 'LENDLOOP_ALERT_EMAIL'} is not set"
        opened = self._channel(channel)
        return opened if isinstance(opened, str) else None

    def _channel(self, name: str) -> Channel | str:
        if name not in self.channels:
            try:
                self.channels[name] = Slack(self.settings) if name == "slack" else Email(self.settings)
            except ConfigurationError as error:
                self.channels[name] = str(error)
        return self.channels[name]

    def _ready(self, target: tuple[str, str], row_id: int) -> datetime:
        """When the head of a queue may go: its target's pace and its own time, which a clock set back does not put off."""
        epoch = datetime.min.replace(tzinfo=UTC)
        with reading(self.engine) as connection:
            row = connection.execute(select(t.outbox).where(t.outbox.c.id == row_id)).one()
        own: datetime = row.not_before_wall or epoch
        if row.not_before_wall and row.attempted_wall:
            own -= max(row.attempted_wall - self.wall(), timedelta())
        return max(self.ready.get(target, epoch), own)

    def _deliver(self, target: tuple[str, str], row_id: int) -> bool:
        """Work on one row; True when it is done with, False when it must wait."""
        with reading(self.engine) as connection:
            row = connection.execute(select(t.outbox).where(t.outbox.c.id == row_id)).one()
            parent = (
                connection.execute(select(t.outbox).where(t.outbox.c.id == row.parent_id)).one()
                if row.parent_id
                else None
            )
        if parent is not None and parent.state == "failed":
            self._failed(row, "the message it edits was never sent")
            return True
        if parent is not None and parent.state != "sent":
            self.report.waiting += 1
            return True
        edits = (parent.external_channel, parent.external_id) if parent is not None else None
        message = Message(row.uid, target[1], row.kind, row.payload, row.thread_key, edits)
        channel = self._channel(target[0])
        if isinstance(channel, str):
            return True
        if row.state == "unknown":
            now = self.wall()
            settled = (row.attempted_wall or now) + timedelta(seconds=SETTLE_S)
            if now < settled <= now + timedelta(seconds=SETTLE_S) and not edits:
                self._write(row.id, not_before_wall=settled)
                self.ready[target] = settled
                return False
            found = channel.find(message)
            if found.outcome != "retry":
                return self._settle(target, row, found, recovered=True)
        if not self._claim(row):
            return True
        answer = channel.send(message)
        if target[0] == "slack":
            self.ready[target] = self.wall() + timedelta(seconds=self.routes.slack_interval_s)
        return self._settle(target, row, answer)

    def _claim(self, row: Row[Any]) -> bool:
        """Put a row in flight as it was read; False when another process moved it since, should the lock be lost."""
        same = (t.outbox.c.id == row.id, t.outbox.c.state == row.state, t.outbox.c.attempts == row.attempts)
        values = {"state": "in_flight", "attempts": row.attempts + 1, "attempted_wall": self.wall()}
        with writing(self.engine) as connection:
            return bool(connection.execute(update(t.outbox).where(*same).values(**values)).rowcount)

    def _settle(self, target: tuple[str, str], row: Row[Any], answer: Sent, *, recovered: bool = False) -> bool:
        if answer.outcome == "sent":
            self._write(
                row.id,
                state="sent",
                reason=answer.reason,
                external_channel=answer.external_channel,
                external_id=answer.external_id,
                sent_as_of=self.clock.as_of,
                not_before_wall=None,
            )
            self.faults[target] = 0
            self.report.recovered += recovered
            self.report.updated += row.parent_id is not None
            self.report.sent += row.parent_id is None and not recovered
            return True
        if answer.outcome == "failed":
            self._failed(row, answer.reason or "refused")
            return True
        limited = answer.retry_after_s is not None
        delay_s = answer.retry_after_s if answer.retry_after_s is not None else min(2.0**row.attempts, 300.0)
        not_before = self.wall() + timedelta(seconds=delay_s)
        state = "unknown" if answer.outcome == "unknown" else "planned"
        self._write(row.id, state=state, reason=answer.reason, not_before_wall=not_before)
        self.ready[target] = max(not_before, self.ready.get(target, not_before))
        self.faults[target] += not limited
        return False

    def _failed(self, row: Row[Any], reason: str) -> None:
        self._write(row.id, state="failed", reason=reason)
        self.report.failed += 1
        self.report.failures.append(f"{row.channel} {row.target or 'default'}: {row.payload['text']}: {reason}")

    def _write(self, row_id: int, **values: Any) -> None:
        with writing(self.engine) as connection:
            connection.execute(update(t.outbox).where(t.outbox.c.id == row_id).values(**values))
