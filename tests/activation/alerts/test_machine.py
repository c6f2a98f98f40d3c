"""The state machine: a table of steps and decisions, a language of pushes and wants, and properties."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activation.alerts.machine import Alert, Behaviour, Seen, Told, acknowledge, decide, snooze, step, tell
from activation.rules.model import SEVERITIES

START = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FIRES, CEASED = Seen(True, "warning"), Seen(False, "warning")
WORSE = Seen(True, "critical")
OPEN = Alert("open", "warning", 1, START, START)
TOLD = replace(OPEN, told=Told(1, "warning", START, True))
OVER = replace(TOLD, state="resolved", resolved_at=START + HOUR, resolved_by="cleared")
CONDITION = Behaviour(remind_after=24 * HOUR)
EVENT = Behaviour(once=True, resolve_after=48 * HOUR)


@pytest.mark.parametrize(
    ("alert", "seen", "hours", "behaviour", "state", "episode", "events"),
    [
        (None, FIRES, 0, CONDITION, "open", 1, ["opened"]),
        (None, CEASED, 0, CONDITION, None, None, []),
        (OPEN, FIRES, 1, CONDITION, "open", 1, []),
        (OPEN, CEASED, 1, CONDITION, "resolved", 1, ["resolved"]),
        (OPEN, replace(CEASED, untrusted="source failed"), 1, CONDITION, "open", 1, []),
        (acknowledge(OPEN), CEASED, 1, CONDITION, "resolved", 1, ["resolved"]),
        (acknowledge(OPEN), FIRES, 100, CONDITION, "acknowledged", 1, []),
        (acknowledge(OPEN), WORSE, 1, CONDITION, "open", 1, ["worsened"]),
        (snooze(OPEN, START + 4 * HOUR), FIRES, 3.99, CONDITION, "snoozed", 1, []),
        (snooze(OPEN, START + 4 * HOUR), FIRES, 4, CONDITION, "open", 1, ["unsnoozed"]),
        (snooze(OPEN, START + 4 * HOUR), WORSE, 1, CONDITION, "open", 1, ["worsened"]),
        (snooze(OPEN, START + 4 * HOUR), CEASED, 1, CONDITION, "resolved", 1, ["resolved"]),
        (OPEN, WORSE, 1, CONDITION, "open", 1, ["worsened"]),
        (replace(OPEN, severity="critical"), FIRES, 1, CONDITION, "open", 1, ["eased"]),
        (OVER, FIRES, 2, CONDITION, "open", 2, ["reopened"]),
        (OVER, CEASED, 2, CONDITION, "resolved", 1, []),
        (OPEN, FIRES, 47.99, EVENT, "open", 1, []),
        (OPEN, FIRES, 48, EVENT, "resolved", 1, ["resolved"]),
        (OPEN, replace(FIRES, untrusted="source failed"), 48, EVENT, "open", 1, []),
        (replace(OVER, resolved_by="age"), FIRES, 60, EVENT, "resolved", 1, []),
        (replace(OVER, resolved_by="age"), replace(FIRES, fresh=True), 60, EVENT, "open", 2, ["reopened"]),
    ],
)
def test_steps(
    alert: Any, seen: Any, hours: float, behaviour: Any, state: Any, episode: Any, events: list[str]
) -> None:
    after, happened = step(alert, seen, START + timedelta(hours=hours), behaviour)
    assert (after.state if after else None, after.episode if after else None) == (state, episode)
    assert [event.name for event in happened] == events


@pytest.mark.parametrize(
    ("alert", "holds", "hours", "kind", "reason"),
    [
        (OPEN, (), 0, "notify", "new"),
        (OPEN, ("inhibited",), 0, "hold", "inhibited"),
        (acknowledge(OPEN), (), 1, "hold", "acknowledged"),
        (snooze(OPEN, START + 4 * HOUR), (), 1, "hold", "snoozed until 2026-03-02 16:00 UTC"),
        (TOLD, (), 23.99, "quiet", "nothing new since it was told"),
        (TOLD, (), 24, "remind", "still open, last told 24 h ago"),
        (TOLD, ("silenced",), 24, "hold", "silenced"),
        (acknowledge(TOLD), (), 100, "quiet", "nothing new since it was told"),
        (replace(TOLD, severity="critical"), (), 1, "notify", "worse: critical, was warning"),
        (replace(TOLD, open_since=START + HOUR), (), 1, "remind", "it waits for somebody again"),
        (replace(TOLD, episode=2), (), 1, "notify", "open again, episode 2"),
        (OVER, (), 1, "resolve", "it is over: cleared"),
        (OVER, ("silenced",), 1, "resolve", "it is over: cleared"),
        (replace(OVER, told=None), (), 1, "quiet", "over before anybody was told"),
        (tell(OVER, START), (), 1, "quiet", "that it is over was told"),
    ],
)
def test_decisions(alert: Alert, holds: tuple[str, ...], hours: float, kind: str, reason: str) -> None:
    decision = decide(alert, holds, START + timedelta(hours=hours), CONDITION)
    assert (decision.kind, decision.reason) == (kind, reason)


@dataclass
class Receiver:
    """Pushes at a time, wants between two times; whatever else arrives is a failure."""

    behaviour: Behaviour = CONDITION
    every: timedelta = timedelta(minutes=30)
    pushes: list[tuple[float, Seen]] = field(default_factory=list)
    acts: list[tuple[float, Any]] = field(default_factory=list)
    wants: list[tuple[float, float, str]] = field(default_factory=list)

    def push(self, at: float, seen: Seen) -> Receiver:
        self.pushes.append((at, seen))
        return self

    def act(self, at: float, what: Any) -> Receiver:
        self.acts.append((at, what))
        return self

    def want(self, after: float, until: float, kind: str) -> Receiver:
        self.wants.append((after, until, kind))
        return self

    def run(self, hours: float) -> None:
        alert: Alert | None = None
        seen = CEASED
        got: list[tuple[float, str]] = []
        ticks = int(timedelta(hours=hours) / self.every)
        for tick in range(ticks + 1):
            now = START + tick * self.every
            at = (now - START) / HOUR
            seen = next((pushed for when, pushed in reversed(self.pushes) if when <= at), seen)
            alert, _ = step(alert, seen, now, self.behaviour)
            if alert is None:
                continue
            for when, what in [act for act in self.acts if act[0] <= at]:
                alert = what(alert)
                self.acts.remove((when, what))
            decision = decide(alert, (), now, self.behaviour)
            if decision.kind in ("notify", "remind", "resolve"):
                got.append((at, decision.kind))
                alert = tell(alert, now)
        for after, until, kind in self.wants:
            match = next((one for one in got if after <= one[0] <= until and one[1] == kind), None)
            assert match, f"nothing like {kind} between {after} h and {until} h: {got}"
            got.remove(match)
        assert got == [], "nobody wanted these"


def test_a_condition_is_told_reminded_and_ended() -> None:
    receiver = Receiver().push(0, FIRES).push(50, CEASED)
    receiver.want(0, 0.5, "notify").want(24, 24.5, "remind").want(48, 48.5, "remind").want(50, 50.5, "resolve").run(80)


def test_an_acknowledged_alert_is_quiet_until_it_worsens_or_ends() -> None:
    receiver = Receiver().push(0, FIRES).act(2, acknowledge).push(60, WORSE).push(70, CEASED)
    receiver.want(0, 0.5, "notify").want(60, 60.5, "notify").want(70, 70.5, "resolve").run(100)


def test_a_snooze_holds_its_time_and_then_speaks_up() -> None:
    receiver = Receiver().push(0, FIRES).act(1, lambda alert: snooze(alert, START + 40 * HOUR)).push(50, CEASED)
    receiver.want(0, 0.5, "notify").want(40, 40.5, "remind").want(50, 50.5, "resolve").run(100)


def test_an_event_is_told_once_and_ends_by_age_for_good() -> None:
    Receiver(EVENT).push(0, FIRES).want(0, 0.5, "notify").want(48, 48.5, "resolve").run(200)


def test_flapping_is_an_episode_each() -> None:
    receiver = Receiver().push(0, FIRES).push(1, CEASED).push(2, FIRES).push(3, CEASED)
    receiver.want(0, 0, "notify").want(1, 1, "resolve").want(2, 2, "notify").want(3, 3, "resolve").run(30)


seens = st.builds(
    Seen,
    firing=st.booleans(),
    severity=st.sampled_from(SEVERITIES),
    fresh=st.booleans(),
    untrusted=st.none() | st.just("a source failed"),
)
people = st.sampled_from(["none", "acknowledge", "snooze"])
histories = st.lists(st.tuples(seens, people, st.integers(0, 60), st.booleans()), max_size=25)
behaviours = st.sampled_from([CONDITION, EVENT, Behaviour(), Behaviour(once=True)])


@given(histories, behaviours)
def test_whatever_happens_every_episode_is_told_once_ended_once_and_never_by_missing_data(
    history: list[tuple[Seen, str, int, bool]], behaviour: Behaviour
) -> None:
    alert: Alert | None = None
    now = START
    notified: list[int] = []
    resolved: list[int] = []
    for seen, person, hours, held in history:
        now += timedelta(hours=hours)
        before = alert
        alert, _ = step(alert, seen, now, behaviour)
        if alert is None:
            assert not seen.firing
            continue
        if before is not None:
            assert alert.episode - before.episode in (0, 1)
            if before.firing and seen.untrusted:
                assert alert.firing, "missing data closed an alert"
        again, more = step(alert, replace(seen, fresh=False), now, behaviour)
        assert (again, more) == (alert, ()), "a step at the same moment is not idempotent"
        if alert.firing and person == "acknowledge":
            alert = acknowledge(alert)
        elif alert.firing and person == "snooze":
            alert = snooze(alert, now + 10 * HOUR)
        decision = decide(alert, ("held",) if held else (), now, behaviour)
        assert decision.reason
        if decision.kind in ("notify", "remind", "resolve"):
            assert decision.kind == "resolve" or not held
            assert alert.state in ("open", "resolved")
            worsening = alert.told is not None and alert.told.episode == alert.episode
            if decision.kind == "notify" and not worsening:
                notified.append(alert.episode)
            if decision.kind == "resolve":
                resolved.append(alert.episode)
            alert = tell(alert, now)
            assert decide(alert, (), now, behaviour).kind == "quiet", "told twice at the same moment"
    assert notified == sorted(set(notified))
    assert resolved == sorted(set(resolved))
    assert set(resolved) <= set(notified)
