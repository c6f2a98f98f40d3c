"""A rule as its file says it. Everything a person needs to act on an alert is required here."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from activation.rules.parameters import PLACEHOLDER, NumberParameter, NumbersParameter, Parameter, identifiers
from activation.sqlguard import GuardedQuery, guard_formula, guard_sql
from lendloop.settings import SourceName

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")

BUILT_IN = frozenset({"value", "threshold", "deviance", "unit", "base", "rule"})
PERSONAL = frozenset(
    {
        "address", "address_hash", "date_of_birth", "email", "email_hash", "first_name", "firstname",
        "last_name", "lastname", "mobile_no", "name", "national_id", "phone", "phone_hash",
    }
)  # fmt: skip
"""Output columns that a rule may not have: a message names entities by key only."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Requires(_Part):
    """What must be there for an evaluation to mean something."""

    sources: tuple[SourceName, ...] = Field(description="Sources; one that is not configured skips the rule.")
    max_age_hours: int = Field(
        default=48, gt=0, description="A source last read longer ago than this lets no alert close."
    )


class Escalation(_Part):
    """From which deviance on a finding is worse than the rule's severity."""

    severity: Severity
    deviance: Decimal = Field(gt=0)


class EventBehaviour(_Part):
    """How alerts on things that happened once behave: such a thing does not go away."""

    resolve_after_hours: int | None = Field(
        default=None, gt=0, description="Resolved by age after so long; null: when it no longer stands, or never."
    )
    backfill_after_days: int = Field(
        default=7, gt=0, description="What happened longer ago when first seen is history, told in a digest."
    )


class Rule(_Part):
    """One rule."""

    rule: str = Field(description="Its name, for good: alerts are known by it.", pattern=r"^[a-z][a-z0-9_]*$")
    title: str = Field(description="What a person reads first.", min_length=3, max_length=80)
    description: str = Field(description="What it watches and why.", min_length=10)
    owner: str = Field(description="The one team that answers for it.", min_length=2)
    system: str = Field(description="The system that raised it.", min_length=2)
    kind: Literal["condition", "event"] = Field(
        description="condition: it is over when it no longer holds. event: it happened once."
    )
    severity: Severity
    escalate: Escalation | None = None
    urgency: Literal["now", "today", "this week"] = Field(description="When to start acting.")
    sla_hours: int = Field(gt=0, description="Hours from opening to resolution.")
    requires: Requires
    parameters: dict[str, Parameter]
    entity: tuple[str, ...] = Field(min_length=1, description="Columns of the query that name the entity.")
    entity_label: str = Field(description="How an entity is written; {column} of the query.", min_length=1)
    sql: str = Field(description="Rows are findings. Columns: the entity's, value, threshold, and details.")
    deviance: str = Field(description="A formula over value and threshold; larger is worse.")
    unit: str = Field(description="Unit of value and threshold; {column} of the query.")
    number_format: Literal["number", "percent"] = "number"
    summary: str = Field(description="What happened, in one sentence; {column} of the query.", min_length=5)
    link: str = Field(description="Where to look; {base} is link_base of routes.yaml.", min_length=5)
    actions: tuple[str, ...] = Field(min_length=1, description="What can be done.")
    routes: tuple[str, ...] = Field(min_length=1, description="Names of routes in routes.yaml.")
    notify_backfill: bool = Field(default=False, description="Tell each finding of a first load or backfill.")
    group_over: int = Field(default=5, ge=1, description="More alerts at once than this become one grouped message.")
    remind_after_hours: int | None = Field(default=24, gt=0, description="Remind of open alerts; null: never.")
    event: EventBehaviour | None = None

    @model_validator(mode="after")
    def _holds_together(self) -> Rule:
        if self.kind == "condition" and self.event is not None:
            raise ValueError("event: only for kind event")
        if self.escalate and SEVERITIES.index(self.escalate.severity) <= SEVERITIES.index(self.severity):
            raise ValueError(f"escalate.severity: must be worse than {self.severity}")
        unknown = set(PLACEHOLDER.findall(self.sql)) - set(self.identifiers)
        if unknown:
            raise ValueError(f"sql: {{{sorted(unknown)[0]}}} is no dataset or column among parameters")
        columns = self.guarded.columns
        if not self.guarded.tables:
            raise ValueError("sql: reads no table of trusted or kpi")
        missing = [name for name in (*self.entity, "value", "threshold") if name not in columns]
        if missing:
            raise ValueError(f"sql: does not give the column {missing[0]}")
        if "deviance" in columns:
            raise ValueError("sql: deviance is a formula of its own, not a column")
        personal = sorted(PERSONAL & set(columns))
        if personal:
            raise ValueError(f"sql: {personal[0]} is personal data; alerts name entities by key only")
        guard_formula(self.deviance, "deviance", ("value", "threshold"))
        for field in ("entity_label", "unit", "summary", "link"):
            names = set(PLACEHOLDER.findall(getattr(self, field))) - set(columns) - BUILT_IN
            if names:
                raise ValueError(f"{field}: {{{sorted(names)[0]}}} is no column of the query")
        return self

    @cached_property
    def query(self) -> str:
        """The SQL with datasets and columns in place; values stay named parameters (`$threshold`, `$as_of`)."""
        return PLACEHOLDER.sub(lambda match: self.identifiers.get(match[1], match[0]), self.sql)

    @cached_property
    def identifiers(self) -> dict[str, str]:
        """What each dataset and column parameter stands for."""
        return identifiers(self.parameters)

    @cached_property
    def guarded(self) -> GuardedQuery:
        """The query, checked. Raises ConfigurationError when it reads anything but trusted and kpi."""
        numbers = [name for name, p in self.parameters.items() if isinstance(p, NumberParameter | NumbersParameter)]
        return guard_sql(self.query, "sql", parameters=["as_of", *numbers])

    @property
    def tables(self) -> tuple[str, ...]:
        """The trusted and kpi tables it reads, as `schema.table`."""
        return self.guarded.tables

    @cached_property
    def version(self) -> str:
        """Changes whenever the file's meaning does."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @property
    def happened_once(self) -> EventBehaviour | None:
        """The behaviour of an event rule, None for a condition."""
        return (self.event or EventBehaviour()) if self.kind == "event" else None
