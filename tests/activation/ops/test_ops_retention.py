"""What is pruned of operational state, and what stays because a decision rests on it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Table, insert, select

from activation.ops import open_ops, reading, writing
from activation.ops import tables as t
from activation.ops.retention import prune_ops
from lendloop.settings import load_settings

NOW = datetime(2026, 6, 30, tzinfo=UTC)
OLD, NEW = NOW - timedelta(days=100), NOW - timedelta(days=10)
BEFORE = NOW - timedelta(days=90)


@pytest.fixture
def ops(ops_settings: dict[str, str], tmp_path: Path) -> Iterator[Engine]:
    engine = open_ops(load_settings(LENDLOOP_HOME=tmp_path, **ops_settings))
    yield engine
    engine.dispose()


def add(ops: Engine, table: Table, **values: Any) -> Any:
    with writing(ops) as connection:
        return connection.execute(insert(table).values(**values)).inserted_primary_key[0]


def add_alert(ops: Engine, name: str, state: str, **values: Any) -> int:
    facts = {
        "kind": "data", "rule": "r", "severity": "warning", "version": 1, "baseline": False, "episode": 1,
        "resolved_at": OLD if state == "resolved" else None, "first_opened_at": OLD, "opened_at": OLD, "open_since": OLD,
    }  # fmt: skip
    facts |= {"fingerprint": name, "entity": name, "entity_key": {}, "details": {}, "state": state, **values}
    return add(ops, t.alert, **facts)


def add_event(ops: Engine, alert: int, at: datetime, episode: int = 1) -> int:
    return add(ops, t.alert_event, alert_id=alert, occurred_at=at, episode=episode, event="opened", actor="lendloop")


def add_message(ops: Engine, name: str, state: str = "sent", at: datetime = OLD, parent: int | None = None) -> int:
    return add(
        ops, t.outbox, uid=name, dedup_key=name, channel="slack", kind="update" if parent else "alert", payload={},
        state=state, attempts=1, created_as_of=at, created_wall=at, parent_id=parent,
    )  # fmt: skip


def tell(ops: Engine, alert: int, message: int, at: datetime, episode: int = 1) -> int:
    return add(
        ops, t.notification, alert_id=alert, episode=episode, decided_at=at, decision="planned", reason="new",
        outbox_id=message,
    )  # fmt: skip


def add_evaluation(ops: Engine, rule: str, outcome: str, at: datetime = OLD, advanced: bool = True) -> int:
    return add(
        ops, t.rule_evaluation, rule=rule, rule_version="1", as_of=at, outcome=outcome, findings=0, new_findings=0,
        cleared_findings=0, frozen=False, duration_ms=1, advanced_at=at if advanced else None,
    )  # fmt: skip


def add_finding(ops: Engine, entity: str, evaluation: int, **values: Any) -> int:
    return add(
        ops, t.finding, rule="r", entity=entity, entity_key={}, severity="warning", details={}, first_seen_at=OLD,
        last_seen_at=OLD, evaluation_id=evaluation, **values,
    )  # fmt: skip


def ids(ops: Engine, table: Table) -> set[Any]:
    with reading(ops) as connection:
        return set(connection.execute(select(table.primary_key.columns[0])).scalars())


def prune(ops: Engine, *, dry_run: bool = False) -> dict[str, int]:
    return prune_ops(ops, before=BEFORE, before_wall=BEFORE, dry_run=dry_run)


@pytest.mark.parametrize("ops_settings", ["sqlite", "postgresql"], indirect=True)
def test_history_of_what_is_over_goes_and_what_is_open_keeps_its_own(ops: Engine) -> None:
    over, lasting, again = (
        add_alert(ops, "over", "resolved"),
        add_alert(ops, "lasting", "open"),
        add_alert(ops, "again", "open", episode=2),
    )
    add_event(ops, over, OLD)
    kept_events = {add_event(ops, lasting, OLD), add_event(ops, over, NEW), add_event(ops, again, OLD, episode=2)}
    add_event(ops, again, OLD, episode=1)
    told_over, told_lasting = add_message(ops, "of what is over"), add_message(ops, "of what lasts")
    add_message(ops, "its update", parent=told_over)
    kept_update = add_message(ops, "update of what lasts", parent=told_lasting)
    failed, waiting = add_message(ops, "failed", "failed"), add_message(ops, "waiting", "planned")
    renewed = add_message(ops, "edited lately")
    edit = add_message(ops, "a late edit", at=NEW, parent=renewed)
    add_message(ops, "old and told")
    newest = add_message(ops, "the newest row")
    tell(ops, over, told_over, OLD)
    kept_notification = tell(ops, lasting, told_lasting, OLD)

    assert prune(ops, dry_run=True)["notification"] == 1
    assert len(ids(ops, t.notification)) == 2
    removed = prune(ops)

    assert ids(ops, t.alert) == {over, lasting, again}
    assert ids(ops, t.alert_event) == kept_events
    assert ids(ops, t.notification) == {kept_notification}
    assert ids(ops, t.outbox) == {told_lasting, kept_update, failed, waiting, renewed, edit, newest}
    assert removed["outbox"] == 3
    assert set(prune(ops).values()) == {0}


@pytest.mark.parametrize("ops_settings", ["sqlite", "postgresql"], indirect=True)
def test_a_rule_and_an_audience_still_show_that_they_ran_before(ops: Engine) -> None:
    add_evaluation(ops, "r", "passed")
    told = add_evaluation(ops, "r", "passed")
    add_evaluation(ops, "r", "skipped")
    newest = add_evaluation(ops, "r", "error")
    quiet = add_evaluation(ops, "quiet", "skipped")
    waiting = add_evaluation(ops, "waiting", "failed", advanced=False)
    add_evaluation(ops, "waiting", "failed")
    latest = add_evaluation(ops, "waiting", "failed")
    for name, at in (("first", OLD - timedelta(hours=1)), ("last", OLD)):
        add(
            ops, t.sync_run, id=name, audience="recovery", destination="drop", started_at=at, as_of=at, outcome="done",
            counts={},
        )  # fmt: skip
    prune(ops)
    assert ids(ops, t.rule_evaluation) == {told, newest, quiet, waiting, latest}
    assert ids(ops, t.sync_run) == {"last"}


def test_a_finding_that_fires_or_was_not_met_yet_stays_with_its_evaluation(ops: Engine) -> None:
    evaluations = [add_evaluation(ops, "r", "failed") for _ in range(5)]
    fires = add_finding(ops, "fires", evaluations[0], firing=True, unseen=False)
    unmet = add_finding(ops, "unmet", evaluations[1], firing=False, unseen=True, cleared_at=OLD)
    fresh = add_finding(ops, "fresh", evaluations[2], firing=False, unseen=False, cleared_at=NEW)
    add_finding(ops, "over", evaluations[3], firing=False, unseen=False, cleared_at=OLD)
    prune(ops)
    assert ids(ops, t.finding) == {fires, unmet, fresh}
    assert ids(ops, t.rule_evaluation) == {evaluations[0], evaluations[1], evaluations[2], evaluations[4]}


def test_a_failure_of_the_machinery_stays_while_it_or_its_alert_stands(ops: Engine) -> None:
    shared = {
        "kind": "asset", "message": "", "rules": [], "sources": [], "datasets": [], "occurrences": 1, "unseen": False,
        "first_seen_at": OLD, "last_seen_at": OLD,
    }  # fmt: skip
    add_alert(ops, "untold", "open", kind="pipeline", rule="pipeline")
    for key, resolved in (("stands", None), ("untold", OLD), ("over", OLD), ("just over", NEW)):
        add(ops, t.pipeline_failure, key=key, resolved_at=resolved, **shared)
    add(ops, t.cursor, name="dagster_event_log", value="1", updated_wall=OLD)
    for ends in (OLD, NEW):
        add(ops, t.silence, rule="r", starts_at=OLD, ends_at=ends, created_by="a", comment="")
    prune(ops)
    assert ids(ops, t.pipeline_failure) == {"stands", "untold", "just over"}
    assert ids(ops, t.cursor) == {"dagster_event_log"}
    assert len(ids(ops, t.silence)) == 1
