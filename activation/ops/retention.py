"""Pruning operational state: what is over and was told long ago goes, what a decision rests on stays.

Alerts themselves stay (episode, what was told last), and so do failed messages, cursors, the audit of
what people did, and the evaluation and sync run that say of a rule or an audience that it ran before.
Belongs here: those rules. Not here: when pruning runs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, Table, and_, delete, func, or_, select

from activation.ops import tables as t
from activation.ops.engine import writing

PIPELINE = "pipeline"
"""The name under which alerts on the machinery itself keep their rule."""


def prune_ops(engine: Engine, *, before: datetime, before_wall: datetime, dry_run: bool) -> dict[str, int]:
    """Delete what is older, in one transaction; returns the rows that went (or would), by table.

    `before` is an instant of the business clock, `before_wall` one of the wall clock.
    """
    with writing(engine) as connection:
        removed = {
            table.name: connection.execute(delete(table).where(over(before, before_wall))).rowcount
            for table, over in _OVER
        }
        removed[t.outbox.name] = _prune_outbox(connection, before_wall)
        if dry_run:
            connection.rollback()
    return removed


def _notifications(before: datetime, _wall: datetime) -> ColumnElement[bool]:
    return and_(t.notification.c.decided_at < before, _past_episode(t.notification, before))


def _events(before: datetime, _wall: datetime) -> ColumnElement[bool]:
    return and_(t.alert_event.c.occurred_at < before, _past_episode(t.alert_event, before))


def _past_episode(table: Table, before: datetime) -> ColumnElement[bool]:
    """Of an alert that has been over since then, or of an episode before its present one."""
    over = select(t.alert.c.id).where(t.alert.c.state == "resolved", t.alert.c.resolved_at < before)
    present = select(t.alert.c.episode).where(t.alert.c.id == table.c.alert_id).scalar_subquery()
    return or_(table.c.alert_id.in_(over), table.c.episode < present)


def _findings(before: datetime, _wall: datetime) -> ColumnElement[bool]:
    return and_(t.finding.c.firing.is_(False), t.finding.c.unseen.is_(False), t.finding.c.cleared_at < before)


def _evaluations(before: datetime, _wall: datetime) -> ColumnElement[bool]:
    made = t.rule_evaluation.alias()
    newest = select(func.max(made.c.id)).where(made.c.rule == t.rule_evaluation.c.rule)
    newest_told = newest.where(made.c.advanced_at.is_not(None), made.c.outcome.in_(("passed", "failed")))
    return and_(
        t.rule_evaluation.c.as_of < before,
        t.rule_evaluation.c.advanced_at.is_not(None),
        t.rule_evaluation.c.id.not_in(select(t.finding.c.evaluation_id)),
        t.rule_evaluation.c.id != newest.scalar_subquery(),
        t.rule_evaluation.c.id != func.coalesce(newest_told.scalar_subquery(), 0),
    )


def _failures(before: datetime, _wall: datetime) -> ColumnElement[bool]:
    standing = select(t.alert.c.entity).where(t.alert.c.kind == PIPELINE, t.alert.c.state != "resolved")
    return and_(
        t.pipeline_failure.c.resolved_at < before,
        t.pipeline_failure.c.unseen.is_(False),
        t.pipeline_failure.c.key.not_in(standing),
    )


def _sync_runs(_before: datetime, wall: datetime) -> ColumnElement[bool]:
    other = t.sync_run.alias()
    newest = select(func.max(other.c.started_at)).where(other.c.audience == t.sync_run.c.audience).scalar_subquery()
    return and_(t.sync_run.c.started_at < wall, t.sync_run.c.started_at < newest)


def _silences(before: datetime, _wall: datetime) -> ColumnElement[bool]:
    return t.silence.c.ends_at < before


_OVER: tuple[tuple[Table, Callable[[datetime, datetime], ColumnElement[bool]]], ...] = (
    (t.notification, _notifications),
    (t.alert_event, _events),
    (t.finding, _findings),
    (t.rule_evaluation, _evaluations),
    (t.pipeline_failure, _failures),
    (t.sync_run, _sync_runs),
    (t.silence, _silences),
)
"""In an order in which no row goes that another one still refers to."""


def _prune_outbox(connection: Connection, before_wall: datetime) -> int:
    """Delete messages that were sent and that no notification names, each with all its updates or not at all.

    A message's key is made of ids, so the newest row stays: an id is never given twice.
    """
    newest = connection.execute(select(func.max(t.outbox.c.id))).scalar()
    named = select(t.notification.c.outbox_id).where(t.notification.c.outbox_id.is_not(None))

    stays = or_(
        t.outbox.c.state != "sent",
        t.outbox.c.created_wall >= before_wall,
        t.outbox.c.id == newest,
        t.outbox.c.id.in_(named),
    )
    kept = select(func.coalesce(t.outbox.c.parent_id, t.outbox.c.id)).where(stays)
    originals = select(t.outbox.c.id).where(t.outbox.c.parent_id.is_(None), t.outbox.c.id.not_in(kept))
    gone: list[int] = list(connection.execute(originals).scalars())
    removed = 0
    for start in range(0, len(gone), 500):
        some = gone[start : start + 500]
        removed += connection.execute(delete(t.outbox).where(t.outbox.c.parent_id.in_(some))).rowcount
        removed += connection.execute(delete(t.outbox).where(t.outbox.c.id.in_(some))).rowcount
    return removed
