"""Evaluating a rule: findings kept in operational state, and what the evaluation is worth.

An evaluation that could not be made, or was made on data that may be old, never clears a finding.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import Connection, insert, select, update

from activation.ops import open_ops, writing
from activation.ops import tables as t
from activation.ops.bulk import update_rows
from activation.ops.failures import PipelineFailure, concerning, record_failures, standing_failures
from activation.rules.model import Rule
from activation.rules.query import Finding, run_query
from activation.rules.text import fill, number
from lendloop.clock import Clock
from lendloop.collector import uncollected
from lendloop.errors import LendloopError
from lendloop.publish import read_catalog
from lendloop.settings import Settings
from lendloop.source_status import SourceStatus
from lendloop.standing import read_standing

SAMPLE = 10
_Outcome = Literal["passed", "failed", "skipped", "error"]


class RuleEvaluation(BaseModel):
    """One evaluation of a rule.

    `outcome`: passed (no finding), failed (findings: a data failure), skipped (a source is not configured, nothing
    is published, or a dataset that it reads is demoted), error (a system failure; `error` says which). `frozen`, when set, says why no alert
    may close by it. `sample` holds the worst findings by entity key, without personal data.
    """

    rule: str
    title: str
    outcome: _Outcome
    as_of: datetime
    findings: int = 0
    new: int = 0
    cleared: int = 0
    reason: str | None = None
    frozen: str | None = None
    duration_ms: int = 0
    rule_version: str = ""
    sample: list[dict[str, str]] = Field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong as far as is known; a skipped rule passes."""
        return self.outcome in ("passed", "skipped")

    @property
    def error(self) -> str | None:
        """The system failure, if there was one."""
        return self.reason if self.outcome == "error" else None

    @property
    def metadata(self) -> dict[str, Any]:
        """Facts for whoever looks at the check: JSON-able, no personal data."""
        facts: dict[str, Any] = {
            "outcome": self.outcome,
            "findings": self.findings,
            "new_findings": self.new,
            "cleared_findings": self.cleared,
            "duration_ms": self.duration_ms,
            "rule_version": self.rule_version,
            "sample": self.sample,
        }
        return facts | {name: text for name, text in (("reason", self.reason), ("frozen", self.frozen)) if text}


def evaluate_rule(
    rule: Rule, *, settings: Settings, clock: Clock, source_status: Mapping[Any, SourceStatus]
) -> RuleEvaluation:
    """Run a rule on what is published and keep evaluation and findings, in one transaction.

    A failure of the SQL or of a required source is an outcome (`error`, or `frozen`) and recorded as a
    system failure, not raised. Raises only when operational state can't be opened.
    """
    engine = open_ops(settings)
    started = time.monotonic()
    statuses = [source_status[name] for name in rule.requires.sources if name in source_status]
    failures = [_source_failure(status) for status in statuses]
    absent = [status.source for status in statuses if not status.configured]
    findings: list[Finding] = []
    outcome: _Outcome
    reason: str | None = None
    if absent:
        outcome, reason = "skipped", f"not configured: {', '.join(absent)}"
    elif refusal := read_standing(settings.home).refusal(rule.tables):
        outcome, reason = "skipped", refusal
    elif not settings.home.published.exists():
        outcome, reason = "skipped", "nothing has been published yet"
    else:
        try:
            findings = run_query(rule, settings.home, clock)
            outcome = "failed" if findings else "passed"
        except LendloopError as error:
            outcome, reason = "error", str(error)
        failures.append(
            PipelineFailure(
                key=f"rule:{rule.rule}",
                kind="rule",
                message=reason or "",
                link=f"/assets/rules/{rule.rule}",
                rules=(rule.rule,),
                resolved=outcome != "error",
            )
        )
    frozen = _frozen(rule, statuses, settings, clock)
    with writing(engine) as connection:
        record_failures(connection, failures, clock)
        failure = concerning(standing_failures(connection), rule.rule, rule.requires.sources, rule.tables)
        if frozen is None and failure is not None and outcome != "error":
            frozen = f"{failure} failed and has not succeeded since"
        evaluation_id: int = connection.execute(
            insert(t.rule_evaluation)
            .values(
                rule=rule.rule, rule_version=rule.version, as_of=clock.as_of, outcome=outcome, reason=reason,
                findings=len(findings), new_findings=0, cleared_findings=0, frozen=frozen is not None, duration_ms=0,
            )
            .returning(t.rule_evaluation.c.id)
        ).scalar_one()  # fmt: skip
        new = cleared = 0
        if outcome in ("passed", "failed"):
            new, cleared = _keep(connection, rule, findings, evaluation_id, clock, frozen is None)
        duration_ms = int((time.monotonic() - started) * 1000)
        connection.execute(
            update(t.rule_evaluation)
            .where(t.rule_evaluation.c.id == evaluation_id)
            .values(new_findings=new, cleared_findings=cleared, duration_ms=duration_ms)
        )
    return RuleEvaluation(
        rule=rule.rule, title=rule.title, outcome=outcome, as_of=clock.as_of, findings=len(findings), new=new,
        cleared=cleared, reason=reason, frozen=frozen, duration_ms=duration_ms, rule_version=rule.version,
        sample=[_sample(rule, finding) for finding in findings[:SAMPLE]],
    )  # fmt: skip


def _source_failure(status: SourceStatus) -> PipelineFailure:
    """The source's system failure, or its recovery."""
    broken = status.configured and (status.error is not None or status.succeeded_as_of is None)
    return PipelineFailure(
        key=f"source:{status.source}",
        kind="source",
        message=status.error or f"the source {status.source} has never been read in full",
        link=f"/assets/sources/{status.source}",
        sources=(status.source,),
        resolved=not broken,
    )


def _frozen(rule: Rule, statuses: list[SourceStatus], settings: Settings, clock: Clock) -> str | None:
    """Why absence of a finding proves nothing, if so."""
    oldest = clock.as_of - timedelta(hours=rule.requires.max_age_hours)
    for status in statuses:
        if status.error is not None or status.succeeded_as_of is None:
            return f"the last read of {status.source} failed"
        if status.succeeded_as_of < oldest:
            return f"{status.source} was last read at {status.succeeded_as_of:%Y-%m-%d %H:%M} UTC"
    catalog = read_catalog(settings.home)
    for dataset in rule.tables:
        table = catalog.tables.get(dataset)
        group = catalog.groups.get(table.group) if table else None
        if table and group and group.state != "fresh":
            return f"{dataset} is {group.state}: the audit of {table.group} failed"
    return None


@uncollected()
def _keep(
    connection: Connection, rule: Rule, findings: list[Finding], evaluation_id: int, clock: Clock, may_clear: bool
) -> tuple[int, int]:
    """Bring the finding table to what was found. Returns how many fire anew, how many ceased."""
    table = t.finding
    known = {row.entity: row for row in connection.execute(select(table).where(table.c.rule == rule.rule))}
    inserts: list[dict[str, Any]] = []
    changes: list[tuple[int, dict[str, Any]]] = []
    new = 0
    for finding in findings:
        values: dict[str, Any] = {
            "severity": finding.severity, "value": finding.value, "threshold": finding.threshold,
            "deviance": finding.deviance, "details": finding.details, "occurred_at": finding.occurred_at,
        }  # fmt: skip
        old = known.pop(finding.entity, None)
        if old is None:
            inserts.append(
                values
                | {
                    "rule": rule.rule,
                    "entity": finding.entity,
                    "entity_key": finding.entity_key,
                    "firing": True,
                    "unseen": True,
                    "first_seen_at": clock.as_of,
                    "last_seen_at": clock.as_of,
                    "evaluation_id": evaluation_id,
                }
            )
            continue
        changed = {name: value for name, value in values.items() if getattr(old, name) != value}
        if not old.firing:
            new += 1
            changed |= {"firing": True, "unseen": True, "first_seen_at": clock.as_of, "cleared_at": None}
        if changed:
            changed |= {"last_seen_at": clock.as_of, "evaluation_id": evaluation_id}
        changes.append((old.id, changed))
    if inserts:
        connection.execute(insert(table), inserts)
    ceased = [row.id for row in known.values() if row.firing] if may_clear else []
    over = {"firing": False, "cleared_at": clock.as_of, "evaluation_id": evaluation_id}
    update_rows(connection, table, [*changes, *((finding_id, over) for finding_id in ceased)])
    return new + len(inserts), len(ceased)


def _sample(rule: Rule, finding: Finding) -> dict[str, str]:
    known = {**finding.details, **finding.entity_key}
    return {
        "entity": fill(rule.entity_label, known),
        "value": number(finding.value, rule.number_format),
        "threshold": number(finding.threshold, rule.number_format),
        "deviance": number(finding.deviance),
    }
