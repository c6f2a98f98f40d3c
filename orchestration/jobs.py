"""The main job, its schedule and the alert sensor; unattended only where the environment opts in.

The job ends with `operations/verdict`, the one step that turns red when any part did not do its work.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from activation.audiences import Audience
from activation.rules import Rule
from governance.registry import Dataset, shortest_refresh_minutes
from lendloop.errors import ConfigurationError
from lendloop.passes import record_pass
from lendloop.settings import Settings
from orchestration.activation import ALERTS, TICK_BUDGET_S, WITHDRAWALS, audience_key, report_overdue, run_alerts
from orchestration.freshness import report_late
from orchestration.names import MAIN_JOB
from orchestration.report import failures
from orchestration.resources import Hub
from orchestration.retention import prune_daily
from orchestration.sources import SYSTEMS, source_key
from orchestration.zones import CATALOGUE

VERDICT = dg.AssetKey(["operations", "verdict"])
RETENTION = dg.AssetKey(["operations", "retention"])


def verdict_asset(audiences: Sequence[Audience]) -> dg.AssetsDefinition:
    """The verdict on a pass: red, with every part named that did not do its work."""

    @dg.asset(
        key=VERDICT,
        deps=[
            *(source_key(source) for source in SYSTEMS),
            CATALOGUE,
            ALERTS,
            WITHDRAWALS,
            *(audience_key(audience) for audience in audiences),
        ],
        group_name="operations",
        kinds={"python"},
        owners=["team:data-platform"],
        description="The verdict on a pass: it fails when any source, group, audience or notification did not do its work.",
        op_tags={"dagster/max_retries": "0"},
    )
    def verdict(hub: Hub) -> dg.MaterializeResult[None]:
        faults = failures(hub.settings)
        record_pass(hub.settings.home, hub.clock.as_of, len(faults))
        if faults:
            raise dg.Failure(
                description="; ".join(faults),
                metadata={"failures": dg.MetadataValue.md("\n".join(f"- {line}" for line in faults))},
            )
        return dg.MaterializeResult(metadata={"outcome": "everything did its work"})

    return verdict


@dg.asset(
    key=RETENTION,
    deps=[ALERTS],
    group_name="operations",
    kinds={"python"},
    owners=["team:data-platform"],
    description="Once a day, what is older than the settings keep is deleted (docs/operations.md).",
)
def retention_asset(context: dg.AssetExecutionContext, hub: Hub) -> dg.MaterializeResult[None]:
    pruned = prune_daily(hub.settings, hub.clock, context.instance)
    return dg.MaterializeResult(metadata={part.what: part.removed for part in pruned if part.removed})


def cron_of(minutes: int) -> str:
    """The cron line of a schedule that runs every so many minutes, which divide an hour or are whole hours of a day."""
    return f"*/{minutes} * * * *" if minutes < 60 else f"0 */{minutes // 60} * * *" if minutes < 1440 else "0 0 * * *"


def automation(settings: Settings, rules: Sequence[Rule], datasets: Mapping[str, Dataset]) -> dg.Definitions:
    """The job over every asset, its schedule, and the sensor that carries failures and findings to people.

    A pass builds everything, so it runs as often as the dataset wants that is refreshed most often. `LENDLOOP_SCHEDULE`
    goes before that. Raises ConfigurationError when it is no schedule.
    """
    unattended = settings.env == "prod"
    cron = settings.schedule or cron_of(shortest_refresh_minutes(datasets))
    main = dg.define_asset_job(
        MAIN_JOB,
        selection=dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks(),
        description="One pass: sources, zones, publication, audiences, rules, alerts.",
    )
    try:
        schedule = dg.ScheduleDefinition(
            name="passes",
            job=main,
            cron_schedule=cron,
            description=f"A pass at each `{cron}`; one that finds nothing new ends at once.",
            default_status=dg.DefaultScheduleStatus.RUNNING if unattended else dg.DefaultScheduleStatus.STOPPED,
        )
    except dg.DagsterInvalidDefinitionError:
        raise ConfigurationError(
            f"LENDLOOP_SCHEDULE={cron!r} is no cron schedule: give five fields, as in */15 * * * *"
        ) from None

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=30,
        description="Carries rule findings and failures of assets, checks, runs and sensors to Slack and e-mail.",
        default_status=dg.DefaultSensorStatus.RUNNING if unattended else dg.DefaultSensorStatus.STOPPED,
    )
    def alerts(context: dg.SensorEvaluationContext, hub: Hub) -> dg.SkipReason:
        report_overdue(hub.settings, hub.clock)
        report_late(hub.settings, hub.clock, datasets)
        advanced, delivered = run_alerts(context.instance, hub, rules, TICK_BUDGET_S)
        return dg.SkipReason(f"alerts advanced: {advanced.summary}; delivered: {delivered.summary}")

    return dg.Definitions(jobs=[main], schedules=[schedule], sensors=[alerts])
