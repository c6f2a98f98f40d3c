"""What an alert is about, in words and behaviour: a rule's file, or the machinery itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from activation.alerts.machine import Behaviour
from activation.rules.model import Rule
from activation.rules.text import fill, number

PIPELINE = "pipeline"
MACHINERY_OWNER = "data-platform"


@dataclass(frozen=True)
class Subject:
    """A rule as alerts need it."""

    rule: str
    kind: Literal["data", "pipeline"]
    title: str
    owner: str
    system: str
    urgency: str
    sla_hours: int
    entity_label: str
    unit: str
    number_format: Literal["number", "percent"]
    summary: str
    link: str
    actions: tuple[str, ...]
    routes: tuple[str, ...]
    notify_backfill: bool
    group_over: int
    backfill_after: timedelta | None
    behaviour: Behaviour
    tables: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def label(self, key: Mapping[str, Any], details: Mapping[str, Any]) -> str:
        """The entity as a person reads it."""
        return fill(self.entity_label, {**details, **key})

    def measured(self, value: Any, known: Mapping[str, Any]) -> str:
        """A value with its unit."""
        return f"{number(value, self.number_format)} {fill(self.unit, known)}".strip()


def of_rule(rule: Rule) -> Subject:
    """The subject of a rule's alerts."""
    event = rule.happened_once
    return Subject(
        rule=rule.rule,
        kind="data",
        title=rule.title,
        owner=rule.owner,
        system=rule.system,
        urgency=rule.urgency,
        sla_hours=rule.sla_hours,
        entity_label=rule.entity_label,
        unit=rule.unit,
        number_format=rule.number_format,
        summary=rule.summary,
        link=rule.link,
        actions=rule.actions,
        routes=rule.routes,
        notify_backfill=rule.notify_backfill,
        group_over=rule.group_over,
        backfill_after=timedelta(days=event.backfill_after_days) if event else None,
        behaviour=Behaviour(
            once=event is not None,
            resolve_after=timedelta(hours=event.resolve_after_hours) if event and event.resolve_after_hours else None,
            remind_after=timedelta(hours=rule.remind_after_hours) if rule.remind_after_hours else None,
        ),
        tables=rule.tables,
        sources=rule.requires.sources,
    )


def pipeline(default_route: str) -> Subject:
    """The subject of pipeline alerts: something failed, so data may be missing."""
    return Subject(
        rule=PIPELINE,
        kind="pipeline",
        title="Pipeline failure",
        owner=MACHINERY_OWNER,
        system="lendloop",
        urgency="now",
        sla_hours=4,
        entity_label="{key}",
        unit="failures",
        number_format="number",
        summary="{key} failed: {message}",
        link="{address}",
        actions=("Open the failed step and its log", "Fix the cause and run it again: the alert closes by itself"),
        routes=(default_route,),
        notify_backfill=True,
        group_over=5,
        backfill_after=None,
        behaviour=Behaviour(remind_after=timedelta(hours=24)),
    )
