"""The state machine of one alert, and the decision whether to tell anybody: pure functions of state and clock.

What belongs here: states, episodes, decisions with their reasons. What does not: storage, words, channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from activation.rules.model import SEVERITIES, Severity

State = Literal["open", "acknowledged", "snoozed", "resolved"]
DecisionKind = Literal["notify", "remind", "resolve", "hold", "quiet"]


@dataclass(frozen=True)
class Told:
    """The last notification of an alert: of which episode, how severe, when, and whether it fired."""

    episode: int
    severity: Severity
    at: datetime
    firing: bool


@dataclass(frozen=True)
class Alert:
    """What the machine knows of an alert. `open_since`: since when it waits for somebody."""

    state: State
    severity: Severity
    episode: int
    opened_at: datetime
    open_since: datetime
    accepted_severity: Severity | None = None
    snoozed_until: datetime | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    told: Told | None = None

    @property
    def firing(self) -> bool:
        return self.state != "resolved"


@dataclass(frozen=True)
class Seen:
    """An entity as last evaluated. `fresh`: it began to fire since the machine last looked.

    `untrusted`, when set, says why its absence proves nothing.
    """

    firing: bool
    severity: Severity
    fresh: bool = False
    untrusted: str | None = None


@dataclass(frozen=True)
class Behaviour:
    """How a rule's alerts behave. `once`: they are about events, which do not go away."""

    once: bool = False
    resolve_after: timedelta | None = None
    remind_after: timedelta | None = None


@dataclass(frozen=True)
class Event:
    """What happened to an alert, and why."""

    name: Literal["opened", "reopened", "worsened", "eased", "unsnoozed", "resolved"]
    reason: str


@dataclass(frozen=True)
class Decision:
    """Whether to tell, and why; `hold` is a notification that is due and not sent."""

    kind: DecisionKind
    reason: str


def worse(one: Severity, other: Severity | None) -> bool:
    """Whether `one` is more severe than `other`."""
    return other is not None and SEVERITIES.index(one) > SEVERITIES.index(other)


def step(
    alert: Alert | None, seen: Seen, now: datetime, behaviour: Behaviour
) -> tuple[Alert | None, tuple[Event, ...]]:
    """The alert after what was seen, and what happened to it."""
    if alert is None:
        if not seen.firing:
            return None, ()
        return Alert("open", seen.severity, 1, now, now), (Event("opened", "it fires for the first time"),)
    if not alert.firing:
        return _resolved(alert, seen, now, behaviour)
    if not seen.firing:
        if seen.untrusted:
            return alert, ()
        return _resolve(alert, now, "cleared", "it no longer holds")
    alert, events = _still_firing(alert, seen, now)
    too_old = behaviour.resolve_after is not None and now - alert.opened_at >= behaviour.resolve_after
    if too_old and not seen.untrusted:
        alert, aged = _resolve(alert, now, "age", f"open for {_hours(now - alert.opened_at)}")
        return alert, (*events, *aged)
    return alert, events


def _resolved(alert: Alert, seen: Seen, now: datetime, behaviour: Behaviour) -> tuple[Alert, tuple[Event, ...]]:
    if not seen.firing or (behaviour.once and not seen.fresh):
        return alert, ()
    reopened = Alert("open", seen.severity, alert.episode + 1, now, now, told=alert.told)
    return reopened, (Event("reopened", f"it fires again; episode {reopened.episode}"),)


def _resolve(alert: Alert, now: datetime, by: str, reason: str) -> tuple[Alert, tuple[Event, ...]]:
    return replace(alert, state="resolved", resolved_at=now, resolved_by=by, snoozed_until=None), (
        Event("resolved", reason),
    )


def _still_firing(alert: Alert, seen: Seen, now: datetime) -> tuple[Alert, tuple[Event, ...]]:
    changed = replace(alert, severity=seen.severity)
    if alert.state in ("acknowledged", "snoozed") and worse(seen.severity, alert.accepted_severity):
        changed = replace(changed, state="open", open_since=now, snoozed_until=None, accepted_severity=None)
        return changed, (Event("worsened", f"{seen.severity}, was {alert.state} at {alert.accepted_severity}"),)
    events: tuple[Event, ...] = ()
    if worse(seen.severity, alert.severity):
        events = (Event("worsened", f"{seen.severity}, was {alert.severity}"),)
    elif worse(alert.severity, seen.severity):
        events = (Event("eased", f"{seen.severity}, was {alert.severity}"),)
    if alert.state == "snoozed" and alert.snoozed_until is not None and now >= alert.snoozed_until:
        changed = replace(changed, state="open", open_since=now, snoozed_until=None, accepted_severity=None)
        events = (*events, Event("unsnoozed", "the snooze is over"))
    return changed, events


def decide(alert: Alert, holds: tuple[str, ...], now: datetime, behaviour: Behaviour) -> Decision:
    """Whether to tell, from (last notification, firing now, clock). `holds` are reasons not to."""
    told = alert.told if alert.told is not None and alert.told.episode == alert.episode else None
    if not alert.firing:
        if told is None:
            return Decision("quiet", "over before anybody was told")
        if told.firing:
            return Decision("resolve", f"it is over: {alert.resolved_by}")
        return Decision("quiet", "that it is over was told")
    kind, reason = _due(alert, told, now, behaviour)
    if kind == "quiet":
        return Decision(kind, reason)
    if alert.state == "acknowledged":
        return Decision("hold", "acknowledged")
    if alert.state == "snoozed":
        return Decision("hold", f"snoozed until {alert.snoozed_until:%Y-%m-%d %H:%M} UTC")
    return Decision("hold", holds[0]) if holds else Decision(kind, reason)


def _due(alert: Alert, told: Told | None, now: datetime, behaviour: Behaviour) -> tuple[DecisionKind, str]:
    if told is None:
        return "notify", "new" if alert.episode == 1 else f"open again, episode {alert.episode}"
    if worse(alert.severity, told.severity):
        return "notify", f"worse: {alert.severity}, was {told.severity}"
    if alert.state == "open":
        if told.at < alert.open_since:
            return "remind", "it waits for somebody again"
        if behaviour.remind_after is not None and now - told.at >= behaviour.remind_after:
            return "remind", f"still open, last told {_hours(now - told.at)} ago"
    return "quiet", "nothing new since it was told"


def tell(alert: Alert, now: datetime) -> Alert:
    """The alert once a notification of its present state is on its way."""
    return replace(alert, told=Told(alert.episode, alert.severity, now, alert.firing))


def acknowledge(alert: Alert) -> Alert:
    """Somebody looks after it: quiet until it gets worse or is over."""
    return replace(alert, state="acknowledged", accepted_severity=alert.severity, snoozed_until=None)


def snooze(alert: Alert, until: datetime) -> Alert:
    """Quiet until then, unless it gets worse."""
    return replace(alert, state="snoozed", accepted_severity=alert.severity, snoozed_until=until)


def _hours(length: timedelta) -> str:
    return f"{int(length.total_seconds() // 3600)} h"
