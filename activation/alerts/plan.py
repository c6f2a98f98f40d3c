"""Which messages the decided notifications become: one each, one for a group, one digest for history."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from activation.alerts import content
from activation.alerts.content import View
from activation.alerts.machine import Decision
from activation.alerts.routes import Receiver, Routes
from activation.alerts.store import enqueue, fingerprint, write_notifications

MAX_PAGES = 25
"""A group lists so many pages at most; the rest is counted."""


@dataclass(frozen=True)
class Told:
    """One notification that was decided."""

    alert_id: int
    view: View
    decision: Decision
    baseline: bool

    @property
    def ids(self) -> tuple[int, int]:
        return self.alert_id, self.view.alert.episode


@dataclass
class Plan:
    """Collects what is to be told, then writes outbox and notification rows."""

    connection: Connection
    routes: Routes
    now: datetime
    collected: list[Told] = field(default_factory=list)

    def add(self, told: Told) -> None:
        self.collected.append(told)

    def enqueue(self) -> int:
        """Write the messages; returns how many."""
        if not self.collected:
            return 0
        messages = 0
        for receiver, rows in self._by_receiver():
            digest = [row for row in rows if row.baseline and row.decision.kind == "notify"]
            messages += self._digest(receiver, digest)
            groups: dict[tuple[str, str], list[Told]] = defaultdict(list)
            for row in rows:
                if not (row.baseline and row.decision.kind == "notify"):
                    groups[(row.view.subject.rule, row.decision.kind)].append(row)
            for (rule, kind), members in groups.items():
                messages += self._rule(receiver, rule, kind, sorted(members, key=_worst_first))
        return messages

    def _by_receiver(self) -> list[tuple[Receiver, list[Told]]]:
        found: dict[str, tuple[Receiver, list[Told]]] = {}
        unrouted: list[tuple[int, int]] = []
        for row in self.collected:
            subject = row.view.subject
            receivers = self.routes.receivers(subject.routes, row.view.alert.severity, subject.owner)
            if not receivers:
                unrouted.append(row.ids)
            for receiver in receivers:
                found.setdefault(receiver.name, (receiver, []))[1].append(row)
        write_notifications(self.connection, unrouted, "held", "no route takes its severity and owner", self.now)
        return list(found.values())

    def _digest(self, receiver: Receiver, rows: list[Told]) -> int:
        if not rows:
            return 0
        by_rule: dict[str, list[View]] = defaultdict(list)
        for row in sorted(rows, key=_worst_first):
            by_rule[row.view.subject.rule].append(row.view)
        self._write(
            receiver, "digest", content.digest_message(list(by_rule.values())), rows, "a first load or backfill"
        )
        return 1

    def _rule(self, receiver: Receiver, rule: str, kind: str, rows: list[Told]) -> int:
        subject = rows[0].view.subject
        if len(rows) <= subject.group_over:
            for row in rows:
                payload = (
                    content.resolved_message([row.view])
                    if kind == "resolve"
                    else content.alert_message(row.view, reminder=kind == "remind")
                )
                outbox_kind = "resolved" if kind == "resolve" else "reminder" if kind == "remind" else "alert"
                self._write(receiver, outbox_kind, payload, [row], row.decision.reason)
            return len(rows)
        if kind == "resolve":
            self._write(
                receiver, "group_resolved", content.resolved_message([r.view for r in rows]), rows, "it is over"
            )
            return 1
        pages = content.paginate([row.view for row in rows[: MAX_PAGES * content.GROUP_PAGE]])
        shown = pages[: 1 if kind == "remind" else MAX_PAGES]
        position = 0
        for number, page in enumerate(shown, start=1):
            last = number == len(shown)
            members = rows[position:] if last else rows[position : position + len(page)]
            position += len(page)
            payload = content.group_message(
                page,
                [row.view for row in rows],
                page=number,
                pages=len(shown),
                reminder=kind == "remind",
                unlisted=len(members) - len(page),
            )
            reason = f"grouped: {len(rows)} at once, more than {subject.group_over}"
            self._write(receiver, "group_reminder" if kind == "remind" else "group", payload, members, reason)
        return len(shown)

    def _write(self, receiver: Receiver, kind: str, payload: dict[str, Any], rows: list[Told], reason: str) -> None:
        thread = fingerprint(rows[0].view.subject.rule, str(rows[0].alert_id) if len(rows) == 1 else "group")
        outbox_id = enqueue(
            self.connection,
            receiver,
            kind,
            payload,
            dedup_key=f"{receiver.name}:{kind}:{_identity(rows, self.now if 'remind' in kind else None)}",
            now=self.now,
            thread_key=thread,
        )
        write_notifications(
            self.connection, [row.ids for row in rows], "planned", reason, self.now, receiver.name, outbox_id
        )


def _worst_first(row: Told) -> tuple[int, Decimal, int]:
    order = {"critical": 0, "warning": 1, "info": 2}
    return order[row.view.alert.severity], -(row.view.deviance or Decimal(0)), row.alert_id


def _identity(rows: list[Told], moment: datetime | None) -> str:
    """The same issue gives the same key: who, which episode, how severe, what was told before, and for reminders when."""
    parts = sorted(
        f"{row.alert_id}:{row.view.alert.episode}:{row.view.alert.severity}:{_told_before(row)}" for row in rows
    )
    if moment is not None:
        parts.append(moment.isoformat())
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:24]


def _told_before(row: Told) -> str:
    """When this episode was told last: one that eased and is as bad as before is told again."""
    told = row.view.alert.told
    return told.at.isoformat() if told is not None and told.episode == row.view.alert.episode else ""
