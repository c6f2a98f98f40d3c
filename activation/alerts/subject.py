"""What an alert is about, in words and behaviour: a rule's file, or the machinery itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

from activation.alerts.machine import Behaviour
from activation.rules.model import Rule
from activation.rules.text import fill, number

PIPELINE = "pipeline"
MACHINERY_OWNER = "data-platform"
_LOOK = "Open the failed step and its log"
_CLOSES = "Fix the cause and run it again: the alert closes by itself"
_DOCTOR = "See what `lendloop doctor` says: it looks at every system and at the passes"
_IN_WORDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "asset": ("Step failed", (_LOOK, _CLOSES)),
    "run": ("Run failed", (_LOOK, _CLOSES)),
    "overdue": ("No pass came to its end", (_DOCTOR, "Start one by hand with `lendloop run`, and see how it ends")),
    "sensor": ("Sensor or schedule failed", ("Open Automation and the last tick's error", _CLOSES)),
    "source": ("Source failed", (_DOCTOR, "Treat what is made of it as old; the next read that ends closes the alert")),
    "rule": ("Rule failed", ("Mend its file, or what it reads; `lendloop check` tests it", _CLOSES)),
    "check": ("Check failed", ("Open the check: it says which rows fail it", _CLOSES)),
    "audience": (
        "Audience not delivered",
        (
            "Read what stopped it: a source that is stale or demoted is mended there, and the next pass goes on",
            "A guard rail that a real change ran into is set wider in `guards` of the audience's file, by its owner",
            "Until then nobody is added; who said no is removed even so",
        ),
    ),
    "hint": (
        "Not as usual",
        (
            "Open the check: it says what differs, and from what",
            "Ask whoever keeps the source whether that is so; nothing is held back meanwhile",
        ),
    ),
    "late": ("Dataset late", (_DOCTOR, "Look at the checks of its group: one that fails keeps yesterday's version")),
    "stale": (
        "Dataset stale",
        (
            _DOCTOR,
            "Look at the checks of its group: one that fails keeps yesterday's version",
            "Treat its numbers as old until it is over",
        ),
    ),
    "demotion": (
        "Dataset demoted",
        (
            "Look at the check that failed last, and mend its cause",
            "After three clean days: `lendloop reinstate DATASET --by WHO --because TEXT`; nothing else ends this",
            "Until then audiences that rest on it are held, and rules that read it are skipped",
        ),
    ),
}
"""What a failure of each kind is called, and what can be done about it."""
MIXED = ("Pipeline failure", (_LOOK, _CLOSES))
"""The same of failures of several kinds."""


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


def of_failure(subject: Subject, key: str, kind: str) -> Subject:
    """The subject of one failure of the machinery, named and advised on as its kind asks for."""
    title, actions = _IN_WORDS.get(kind, MIXED)
    return replace(subject, title=title, actions=actions, entity_label=_part(key, kind))


def _part(key: str, kind: str) -> str:
    """What failed, as people say it: `check:trusted/fct_loan:unique_id` is `unique_id of trusted.fct_loan`."""
    area, _, name = key.partition(":")
    if area != "check":
        return name or key
    asset, _, check = name.partition(":")
    dataset = asset.replace("/", ".")
    if kind == "audience":
        return dataset.rpartition(".")[2]
    return dataset if kind in ("late", "stale") else f"{check} of {dataset}"


def pipeline(default_route: str) -> Subject:
    """The subject of pipeline alerts: something failed, so data may be missing."""
    return Subject(
        rule=PIPELINE,
        kind="pipeline",
        title=MIXED[0],
        owner=MACHINERY_OWNER,
        system="lendloop",
        urgency="now",
        sla_hours=4,
        entity_label="{key}",
        unit="failures",
        number_format="number",
        summary="{message}",
        link="{address}",
        actions=MIXED[1],
        routes=(default_route,),
        notify_backfill=True,
        group_over=5,
        backfill_after=None,
        behaviour=Behaviour(remind_after=timedelta(hours=24)),
    )
