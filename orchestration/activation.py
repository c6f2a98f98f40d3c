"""Audiences, rules and alerts as assets and checks, made from their definition files."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from activation.alerts import (
    AlertReport,
    DeliveryReport,
    PipelineFailure,
    advance_alerts,
    deliver_outbox,
    load_routes,
    report_failures,
)
from activation.audiences import Audience, let_go_of_undefined, sync_audience
from activation.rules import Rule, evaluate_rule
from governance.lineage import Graph
from governance.registry import Dataset
from lendloop.clock import Clock
from lendloop.errors import LendloopError
from lendloop.passes import overdue
from lendloop.settings import Settings
from lendloop.source_status import read_status
from lendloop.zones import follow_home
from orchestration.columns import column_metadata
from orchestration.freshness import report_late
from orchestration.lineage import OUTBOX
from orchestration.names import RULE_CHECK, STEWARD
from orchestration.plots import table
from orchestration.relay import relay_events
from orchestration.resources import Hub
from orchestration.zones import CATALOGUE, group_key

DELIVERED, NOTIFIED = "delivered", "notified"
PASS_BUDGET_S, TICK_BUDGET_S = 60.0, 20.0
"""Seconds a pass and a sensor tick may spend on delivery: Slack takes a message a second, a tick ends at 60 s."""
ALERTS = dg.AssetKey(["alerts", "outbox"])
WITHDRAWALS = dg.AssetKey(["operations", "withdrawals"])


def audience_key(audience: Audience) -> dg.AssetKey:
    return dg.AssetKey(["audiences", audience.audience])


def rule_key(rule: Rule) -> dg.AssetKey:
    return dg.AssetKey(["rules", rule.rule])


def _upstream(sql_tables: Sequence[str], groups: Mapping[str, str]) -> list[dg.AssetKey]:
    """The publications that a definition reads, for lineage, behind the step that makes them."""
    return [CATALOGUE, *(group_key(name) for name in sorted({groups[key] for key in sql_tables if key in groups}))]


def audience_asset(audience: Audience, groups: Mapping[str, str], graph: Graph) -> dg.AssetsDefinition:
    """The step that plans an audience and delivers what changed. `groups` maps `schema.table` to its group."""
    key = audience_key(audience)
    columns = column_metadata(graph, f"audiences.{audience.audience}")

    @dg.multi_asset(
        name=f"sync_{audience.audience}",
        specs=[
            dg.AssetSpec(
                key,
                deps=_upstream(audience.query.tables, groups),
                group_name="audiences",
                kinds=set(audience.destinations.names()),
                owners=[f"team:{audience.owner}"],
                description=audience.title,
                metadata={
                    "version": str(audience.version),
                    "sql": dg.MetadataValue.md(f"```sql\n{audience.sql}\n```"),
                    **columns,
                },
            )
        ],
        check_specs=[
            dg.AssetCheckSpec(
                DELIVERED,
                asset=key,
                description="Every row of the plan is accounted for: nothing rejected, unknown or blocked.",
            )
        ],
    )
    def sync(context: dg.AssetExecutionContext, hub: Hub) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        settings = hub.settings
        try:
            follow_home(settings)
            report = sync_audience(
                audience, settings=settings, clock=hub.clock, source_status=read_status(settings.home)
            )
        except LendloopError as error:
            context.log.error(str(error))
            yield dg.MaterializeResult(asset_key=key, metadata={"error": str(error)})
            yield dg.AssetCheckResult(
                check_name=DELIVERED,
                asset_key=key,
                passed=False,
                metadata={"error": str(error), STEWARD: audience.owner},
            )
            return
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                "desired": report.desired,
                "added": report.added,
                "changed": report.changed,
                "removed": report.removed,
                "rejected": report.rejected,
                "unknown": report.unknown,
                "requests": report.requests,
                "held_back": table(["reason", "people"], sorted(report.held_back.items())),
                **columns,
            },
        )
        yield dg.AssetCheckResult(
            check_name=DELIVERED,
            asset_key=key,
            passed=not (report.errors or report.rejected or report.unknown),
            metadata={
                "errors": "; ".join(report.errors) or "none",
                STEWARD: audience.owner,
                "rejected": report.rejected,
                "unknown": report.unknown,
            },
        )

    return sync


def withdrawals_asset(audiences: Sequence[Audience]) -> dg.AssetsDefinition:
    """The step that lets go of those who said no where no audience goes any more."""

    @dg.multi_asset(
        name="let_go",
        specs=[
            dg.AssetSpec(
                WITHDRAWALS,
                deps=[CATALOGUE],
                group_name="operations",
                kinds={"python"},
                owners=["team:data-platform"],
                description="Whoever said no leaves lists and files of audiences that no file defines any more.",
            )
        ],
        check_specs=[dg.AssetCheckSpec(DELIVERED, asset=WITHDRAWALS, description="Each of them could be let go of.")],
    )
    def let_go(
        context: dg.AssetExecutionContext, hub: Hub
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        errors: list[str] = []
        left: list[tuple[str, str, int]] = []
        for report in let_go_of_undefined(audiences, hub.settings, hub.clock):
            errors += [f"{report.audience}: {error}" for error in report.errors]
            left += [(report.audience, name, part.members) for name, part in report.destinations.items()]
        for line in errors:
            context.log.error(line)
        yield dg.MaterializeResult(
            asset_key=WITHDRAWALS, metadata={"left_behind": table(["audience", "destination", "people"], left)}
        )
        yield dg.AssetCheckResult(
            check_name=DELIVERED,
            asset_key=WITHDRAWALS,
            passed=not errors,
            metadata={"errors": dg.MetadataValue.md("\n".join(f"- {line}" for line in errors) or "none")},
        )

    return let_go


def rules_asset(rules: Sequence[Rule], groups: Mapping[str, str], graph: Graph) -> dg.AssetsDefinition:
    """One step evaluates every rule; each is an asset with the check that it holds."""
    columns = {rule.rule: column_metadata(graph, f"rules.{rule.rule}") for rule in rules}

    @dg.multi_asset(
        name="evaluate_rules",
        specs=[
            dg.AssetSpec(
                rule_key(rule),
                deps=_upstream(rule.tables, groups),
                group_name="rules",
                kinds={"sql", "alert"},
                owners=[f"team:{rule.owner}"],
                description=rule.title,
                metadata={"severity": rule.severity, "sla_hours": rule.sla_hours, **columns[rule.rule]},
            )
            for rule in rules
        ],
        check_specs=[dg.AssetCheckSpec(RULE_CHECK, asset=rule_key(rule), description=rule.title) for rule in rules],
    )
    def evaluate(
        context: dg.AssetExecutionContext, hub: Hub
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        settings, clock = hub.settings, hub.clock
        status = read_status(settings.home)
        follow_home(settings)
        for rule in rules:
            result = evaluate_rule(rule, settings=settings, clock=clock, source_status=status)
            if result.error:
                context.log.error(f"{rule.rule}: {result.error}")
            metadata: dict[str, Any] = {"findings": result.findings, **result.metadata}
            yield dg.MaterializeResult(asset_key=rule_key(rule), metadata=metadata | columns[rule.rule])
            yield dg.AssetCheckResult(
                check_name=RULE_CHECK,
                asset_key=rule_key(rule),
                passed=result.passed,
                severity=dg.AssetCheckSeverity.WARN if result.error is None else dg.AssetCheckSeverity.ERROR,
                metadata=metadata | ({"error": result.error} if result.error else {}),
            )

    return evaluate


def alerts_asset(rules: Sequence[Rule], datasets: Mapping[str, Dataset], graph: Graph) -> dg.AssetsDefinition:
    """The step that turns findings, failures and datasets that are late into alerts, and delivers what is due."""
    columns = column_metadata(graph, OUTBOX)

    @dg.multi_asset(
        name="notify",
        specs=[
            dg.AssetSpec(
                ALERTS,
                deps=[*(rule_key(rule) for rule in rules), CATALOGUE],
                group_name="alerts",
                kinds={"slack", "email"},
                owners=["team:data-platform"],
                description="Alerts and their outbox: who was told what, and what was held back and why.",
                metadata=columns,
            )
        ],
        check_specs=[dg.AssetCheckSpec(NOTIFIED, asset=ALERTS, description="No notification failed for good.")],
    )
    def notify(
        context: dg.AssetExecutionContext, hub: Hub
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        report_late(hub.settings, hub.clock, datasets)
        advanced, delivered = run_alerts(context.instance, hub, rules)
        yield dg.MaterializeResult(asset_key=ALERTS, metadata={**_numbers(advanced), **_numbers(delivered), **columns})
        yield dg.AssetCheckResult(
            check_name=NOTIFIED, asset_key=ALERTS, passed=not delivered.failed, metadata=_numbers(delivered)
        )

    return notify


def run_alerts(
    instance: dg.DagsterInstance, hub: Hub, rules: Sequence[Rule], budget_s: float = PASS_BUDGET_S
) -> tuple[AlertReport, DeliveryReport]:
    """What happened in Dagster since last time, the state machine, the outbox: the sensor's work and the pass's.

    `budget_s` bounds the delivery; what is left waits in the outbox for the next call.
    """
    settings, clock = hub.settings, hub.clock
    routes = load_routes(settings.definitions)
    relay_events(instance, settings, clock)
    advanced = advance_alerts(settings, list(rules), routes, clock)
    return advanced, deliver_outbox(settings, routes, clock, budget_s=budget_s)


def report_overdue(settings: Settings, clock: Clock) -> bool:
    """Tell the alerts whether passes come to their end, before it is known what this one does. True when not."""
    fault = overdue(settings, datetime.now(UTC))
    failure = PipelineFailure(key="pass:overdue", kind="overdue", message=fault or "", resolved=fault is None)
    report_failures(settings, [failure], clock)
    return fault is not None


def _numbers(report: Any) -> dict[str, Any]:
    return {name: value for name, value in report.model_dump().items() if isinstance(value, int | str)}
