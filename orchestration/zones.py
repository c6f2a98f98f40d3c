"""dbt's models and the publication as assets and checks, made from dbt's manifest.

Ours instead of dagster-dbt: importing that pulls in dbt, 1.7 s for every step that the default
executor starts, and it runs dbt as a command, outside the one lock under which lendloop builds,
audits and publishes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import duckdb

from activation.demotions import tell_demotions
from governance.lineage import Graph
from governance.manifest import parse_manifest
from governance.quality import Build, Measured, Score, completeness, measure
from governance.registry import Dataset
from governance.watch import Verdict, watch
from ingestion.tables import TABLES, Source
from lendloop.home import Home
from lendloop.identity import RAW_COLUMNS
from lendloop.on_error import showable_columns, tested_model
from lendloop.publish import Catalog, read_catalog
from lendloop.settings import Settings
from lendloop.standing import AGREED, Standing
from lendloop.warehouse import open_warehouse
from lendloop.zones import BuildReport, NodeResult, build_and_publish
from orchestration.columns import column_metadata
from orchestration.names import AS_USUAL, COMPLETE, STEWARD
from orchestration.plots import line_plot, table
from orchestration.resources import Hub
from orchestration.sources import source_key

CATALOGUE = dg.AssetKey(["published", "catalogue"])
SAMPLE_ROWS = 5
CONSISTENT = "every_group_fresh"
STANDING = "no_dataset_demoted"

_PLOTS: dict[str, tuple[str, str]] = {
    "kpi.kpi_portfolio_market_daily": (
        "PAR-30 by market",
        "select market, as_of_date, par_30::double from kpi.kpi_portfolio_market_daily where par_30 is not null order by 2",
    ),
    "trusted.agg_portfolio_daily": (
        "Principal disbursed a week, in thousands, by currency",
        "select currency, date_trunc('week', as_of_date)::date, sum(disbursed_amount)::double / 1000"
        " from trusted.agg_portfolio_daily where as_of_date > (select max(as_of_date) from trusted.agg_portfolio_daily) - 182"
        " group by all order by 2",
    ),
    "kpi.kpi_first_payment_default": (
        "First-payment default after 7 days, by market and week",
        "select market, date_trunc('week', first_due_on)::date,"
        " sum(defaulted_loan_count)::double / nullif(sum(mature_loan_count), 0)"
        " from kpi.kpi_first_payment_default where horizon_days = 7 group by all order by 2",
    ),
}


def node_key(node: Mapping[str, Any]) -> dg.AssetKey:
    return dg.AssetKey([node["schema"], node["alias"]])


def group_key(group: str) -> dg.AssetKey:
    """The publication of a consistency group: what audiences and rules stand on."""
    return dg.AssetKey(["published", group])


def _nodes(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {
        unique_id: node
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "seed") and node["config"].get("materialized") != "ephemeral"
    }


def _tests(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    nodes = _nodes(manifest)
    return {
        unique_id: node
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "test" and tested_model(manifest, unique_id) in nodes
    }


def _deps(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> list[dg.AssetKey]:
    keys: list[dg.AssetKey] = []
    sources: set[Source] = set()
    for parent in node.get("depends_on", {}).get("nodes", []):
        if parent in manifest["sources"]:
            declared = manifest["sources"][parent]
            if declared["schema"] == "raw_meta":
                continue
            keys.append(dg.AssetKey([declared["schema"], declared["identifier"]]))
            sources.update(source for source in TABLES if f"raw_{source}" == declared["schema"])
        elif parent in manifest["nodes"] and manifest["nodes"][parent]["config"]["materialized"] == "ephemeral":
            keys += _deps(manifest, manifest["nodes"][parent])
        elif parent in manifest["nodes"]:
            keys.append(node_key(manifest["nodes"][parent]))
    return list(dict.fromkeys([*keys, *(source_key(source) for source in sorted(sources))]))


def _spec(manifest: Mapping[str, Any], node: Mapping[str, Any], dataset: Dataset | None, graph: Graph) -> dg.AssetSpec:
    """A model as an asset. `dataset` is what it promises; None for a draft, which its group's owner answers for."""
    group = str(node.get("group") or "customer")
    group_owner = next(item["owner"]["name"] for item in manifest["groups"].values() if item["name"] == group)
    return dg.AssetSpec(
        node_key(node),
        deps=_deps(manifest, node),
        group_name=_asset_group(manifest, node),
        kinds={"dbt", "duckdb"},
        owners=[f"team:{dataset.parameters.owner if dataset else group_owner}"],
        description=node["description"],
        skippable=True,
        tags={"consistency_group": group},
        metadata={
            **column_metadata(graph, f"{node['schema']}.{node['alias']}", node["columns"]),
            "consistency_group": group,
            "materialized": str(node["config"].get("materialized", "seed")),
        }
        | (_promises(dataset) if dataset else {}),
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=dataset.parameters.freshness.fail, warn_window=dataset.parameters.freshness.warn
        )
        if dataset
        else None,
    )


def _asset_group(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    """A model's zone; drafts that are made of what is agreed are apart, so that the graph of groups leads one way."""
    if node["schema"] == "gray" and _rests_on_agreed(manifest, node):
        return "gray_of_trusted"
    return str(node["schema"])


def _rests_on_agreed(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    parents = [
        manifest["nodes"][one] for one in node.get("depends_on", {}).get("nodes", []) if one in manifest["nodes"]
    ]
    return any(one["schema"] in AGREED or _rests_on_agreed(manifest, one) for one in parents)


def _promises(dataset: Dataset) -> dict[str, Any]:
    """What the registry says of a dataset, for those who look at the asset."""
    parameters = dataset.parameters
    return {
        "steward": parameters.steward,
        "refresh_minutes": parameters.refresh_minutes,
        "completeness": parameters.completeness,
        "consistency": parameters.consistency,
        "personal_data": dataset.personal_data.value,
        "retention": parameters.retention.value,
        "on_error": parameters.on_error.value,
    }


def decision_specs(manifest: Mapping[str, Any]) -> list[dg.AssetSpec]:
    """What people decide: a raw table that no source gives."""
    return [
        dg.AssetSpec(
            dg.AssetKey([declared["schema"], declared["identifier"]]),
            group_name="raw",
            kinds={"duckdb"},
            owners=[f"team:{declared['source_meta']['owner']}"],
            description=declared["description"],
            metadata={
                "dagster/column_schema": dg.TableSchema(
                    [dg.TableColumn(name, kind) for name, kind in RAW_COLUMNS.items()]
                )
            },
        )
        for declared in manifest["sources"].values()
        if declared["schema"] == "raw_identity"
    ]


def group_specs(manifest: Mapping[str, Any]) -> list[dg.AssetSpec]:
    """One spec for each consistency group's publication, reported by the step that publishes."""
    members: dict[str, list[dg.AssetKey]] = {}
    for node in _nodes(manifest).values():
        if node["schema"] in ("trusted", "kpi", "contacts"):
            members.setdefault(node["group"], []).append(node_key(node))
    return [
        dg.AssetSpec(
            group_key(group),
            deps=[*keys, CATALOGUE],
            group_name="published",
            kinds={"parquet", "duckdb"},
            owners=["team:data-platform"],
            description=f"The {group} tables as readers see them: renewed together when their audit passes, else kept as they were.",
        )
        for group, keys in sorted(members.items())
    ]


def zones_asset(
    manifest: Mapping[str, Any],
    datasets: Mapping[str, Dataset],
    graph: Graph,
    consumers: Mapping[str, list[str]] | None = None,
) -> dg.AssetsDefinition:
    """One step: dbt build, audit by consistency group, publication. `datasets` is the registry.

    `consumers`: who reads each dataset, to be told when it is demoted.

    Choosing some of its tables builds all, since a publication is one consistent set; it then reports on the chosen.
    """
    nodes, tests = _nodes(manifest), _tests(manifest)
    typed = parse_manifest(manifest)
    promising = {
        key: dg.AssetKey(key.split(".")) for key, one in datasets.items() if any(one.parameters.completeness.values())
    }

    @dg.multi_asset(
        name="build_and_publish",
        can_subset=True,
        specs=[
            *(
                _spec(manifest, node, datasets.get(f"{node['schema']}.{node['alias']}"), graph)
                for node in nodes.values()
            ),
            dg.AssetSpec(
                CATALOGUE,
                deps=[
                    *(node_key(node) for node in nodes.values() if node["schema"] in ("trusted", "kpi", "contacts")),
                    *(source_key(source) for source in TABLES),
                ],
                group_name="published",
                kinds={"parquet", "duckdb"},
                owners=["team:data-platform"],
                description="`published.duckdb`: views over one consistent set of immutable files. Readers open only this.",
            ),
        ],
        check_specs=[
            *(
                dg.AssetCheckSpec(
                    node["name"],
                    asset=node_key(nodes[tested_model(manifest, unique_id)]),
                    description=node.get("description") or f"dbt test {node['name']}",
                )
                for unique_id, node in tests.items()
            ),
            *(
                dg.AssetCheckSpec(
                    AS_USUAL,
                    asset=dg.AssetKey(key.split(".")),
                    description="Rows and values come as they did in the weeks before; without enough of a past there is no result.",
                )
                for key, dataset in datasets.items()
                if dataset.parameters.watched
            ),
            *(
                dg.AssetCheckSpec(
                    COMPLETE,
                    asset=key,
                    description="Columns that may be empty are filled in the share of rows that the dataset promises.",
                )
                for key in promising.values()
            ),
            dg.AssetCheckSpec(
                CONSISTENT, asset=CATALOGUE, description="Every consistency group passed its audit and was renewed."
            ),
            dg.AssetCheckSpec(
                STANDING,
                asset=CATALOGUE,
                description="No dataset broke its promise so often that nothing is done on it.",
            ),
        ],
    )
    def build(
        context: dg.AssetExecutionContext, hub: Hub
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        settings = hub.settings
        report = build_and_publish(settings, hub.clock)
        standing = tell_demotions(settings, hub.clock, consumers or {})
        context.log.info("nothing changed" if report.skipped else f"published version {report.version}")
        catalog = read_catalog(settings.home)
        verdicts = watch(settings.home, datasets, typed, hub.clock)
        samples = {} if report.skipped else _look(settings.home, catalog, nodes)
        scores: dict[str, Score] = {}
        filled: dict[str, list[Measured]] = {}
        if not report.skipped:
            scores, filled = _measure(settings, manifest, datasets, report, verdicts)
        chosen, checks = context.selected_asset_keys, context.selected_asset_check_keys
        for result in report.nodes:
            if report.skipped or result.kind == "test" or not result.ok or result.unique_id not in nodes:
                continue
            if node_key(nodes[result.unique_id]) in chosen:
                yield _materialized(nodes[result.unique_id], result, samples, scores, graph, catalog.checks, standing)
        if CATALOGUE in chosen:
            yield _catalogue(report)
        for result in report.nodes:
            if result.unique_id in tests:
                node, test = nodes[tested_model(manifest, result.unique_id)], tests[result.unique_id]
                if dg.AssetCheckKey(node_key(node), test["name"]) in checks:
                    yield _checked(node, test, result, datasets.get(f"{node['schema']}.{node['alias']}"))
        for key, verdict in verdicts.items():
            asset = dg.AssetKey(key.split("."))
            if verdict.judged and dg.AssetCheckKey(asset, AS_USUAL) in checks:
                yield _as_usual(asset, verdict, datasets[key].parameters.steward)
        for key, measured in filled.items():
            if key in promising and dg.AssetCheckKey(promising[key], COMPLETE) in checks:
                yield _complete(promising[key], measured, datasets[key])
        if dg.AssetCheckKey(CATALOGUE, CONSISTENT) in checks:
            yield dg.AssetCheckResult(
                check_name=CONSISTENT,
                asset_key=CATALOGUE,
                passed=not report.failures,
                metadata={"stale": "; ".join(report.failures) or "none"},
            )
        if dg.AssetCheckKey(CATALOGUE, STANDING) in checks:
            lines = [f"{key} is {standing.of(key)}" for key in sorted(standing.demoted)]
            yield dg.AssetCheckResult(
                check_name=STANDING,
                asset_key=CATALOGUE,
                passed=not standing.demoted,
                metadata={"demoted": "; ".join(lines) or "none"},
            )
        for name, group in report.groups.items():
            if not report.skipped and group.state == "fresh":
                context.log_event(
                    dg.AssetMaterialization(
                        asset_key=group_key(name),
                        metadata={"version": group.version, "checks_passed": group.checks_passed},
                    )
                )

    return build


def _measure(
    settings: Settings,
    manifest: Mapping[str, Any],
    datasets: Mapping[str, Dataset],
    report: BuildReport,
    verdicts: Mapping[str, Verdict],
) -> tuple[dict[str, Score], dict[str, list[Measured]]]:
    """The quality of every dataset as this build left it, and how far columns are filled that may be empty."""
    catalog = read_catalog(settings.home)
    if catalog.built_at is None or catalog.as_of is None:
        return {}, {}
    build = Build(manifest, report.nodes, report.groups, catalog.built_at, catalog.as_of, verdicts)
    made = {node.unique_id for node in report.nodes if node.kind == "model" and node.ok}
    with open_warehouse(settings.home, "measure quality", settings.lock_timeout_s) as connection:
        scores = measure(connection, settings.home, datasets, build)
        filled = {
            key: [check for check in scores[key].checks if check.is_share]
            if key in scores
            else completeness(connection, one)[1]
            for key, one in datasets.items()
            if one.model.unique_id in made
        }
        return scores, filled


def _complete(asset: dg.AssetKey, measured: list[Measured], dataset: Dataset) -> dg.AssetCheckResult:
    """Whether a dataset keeps its promised shares. A warning: rows that lack a value are no reason to show none."""
    lacking = [f"{one.what}: {one.failing:,} of {one.rows:,} rows short of it" for one in measured if one.failing]
    return dg.AssetCheckResult(
        check_name=COMPLETE,
        asset_key=asset,
        passed=not lacking,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"message": "; ".join(lacking) or "as promised", STEWARD: dataset.parameters.steward},
    )


def _catalogue(report: BuildReport) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(
        asset_key=CATALOGUE,
        metadata={
            "version": report.version,
            "changed": not report.skipped and bool(report.written),
            "files_written": sum(report.written.values()),
            "tables": table(["table", "rows"], sorted(report.tables.items())),
            "groups": table(
                ["group", "state", "version", "reason"],
                [(name, group.state, group.version, group.reason) for name, group in report.groups.items()],
            ),
        },
    )


def _materialized(
    node: Mapping[str, Any],
    result: NodeResult,
    samples: Mapping[str, dict[str, Any]],
    scores: Mapping[str, Score],
    graph: Graph,
    checks: Mapping[str, tuple[int, int]],
    standing: Standing,
) -> dg.MaterializeResult[None]:
    metadata: dict[str, Any] = {"duration_s": result.duration_s, "dbt_status": result.status}
    key = f"{node['schema']}.{node['alias']}"
    score = scores.get(key)
    if score and score.overall is not None:
        metadata["quality"] = round(score.overall, 6)
        metadata["quality_by_check"] = table(
            ["dimension", "check", "rows", "failing"],
            [(check.dimension.value, check.what, check.rows, check.failing) for check in score.checks],
        )
    if result.rows is not None:
        metadata["dagster/row_count"] = result.rows
    if key in checks:
        metadata["checks_passed"], metadata["checks_failed"] = checks[key]
    metadata |= column_metadata(graph, key, node["columns"]) | samples.get(key, {})
    if node["schema"] in AGREED:
        metadata["standing"] = standing.of(key)
    return dg.MaterializeResult(asset_key=node_key(node), metadata=metadata)


def _checked(
    node: Mapping[str, Any], test: Mapping[str, Any], result: NodeResult, dataset: Dataset | None
) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = {
        "failing_rows": result.failures or 0,
        "status": result.status,
        "message": result.message,
    }
    if dataset:
        metadata[STEWARD] = dataset.parameters.steward
    if result.quarantined is not None:
        metadata["quarantined_rows"] = result.quarantined
    return dg.AssetCheckResult(
        check_name=test["name"],
        asset_key=node_key(node),
        passed=result.status == "pass",
        severity=dg.AssetCheckSeverity.WARN if result.status == "warn" else dg.AssetCheckSeverity.ERROR,
        metadata=metadata,
    )


def _as_usual(asset: dg.AssetKey, verdict: Verdict, steward: str) -> dg.AssetCheckResult:
    """A warning: it says that somebody must look, and keeps nothing from being published."""
    return dg.AssetCheckResult(
        check_name=AS_USUAL,
        asset_key=asset,
        passed=not verdict.findings,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "errors": verdict.error(steward),
            "found": table(
                ["of", "what", "from", "to", "time zone", "found", "usual from", "usual to"],
                [
                    (
                        one.of,
                        one.what,
                        one.since,
                        one.until,
                        one.time_zone,
                        *map(one.shown, (one.found, one.low, one.high)),
                    )
                    for one in verdict.findings
                ],
            ),
            "not_judged": verdict.not_judged,
        },
    )


def _look(home: Home, catalog: Catalog, nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Samples and plots of what is published, of the columns that may be shown; contact data is never looked at."""
    shown: dict[str, dict[str, Any]] = {}
    by_key = {f"{node['schema']}.{node['alias']}": node for node in nodes.values()}
    with duckdb.connect(str(home.published), read_only=True) as connection:
        for key, published in catalog.tables.items():
            if published.contact_data or key not in by_key:
                continue
            there = [column[0] for column in connection.execute(f"select * from {key} limit 0").description]
            if columns := [name for name in showable_columns(by_key[key]) if name in there]:
                listed = ", ".join(f'"{name}"' for name in columns)
                rows = connection.execute(f"select {listed} from {key} limit {SAMPLE_ROWS}").fetchall()
                shown[key] = {"sample": table(columns, rows)}
        for key, (title, query) in _PLOTS.items():
            if key in catalog.tables:
                series: dict[str, list[tuple[Any, float | None]]] = {}
                for name, day, value in connection.execute(query).fetchall():
                    series.setdefault(name, []).append((day, value))
                if series:
                    shown.setdefault(key, {})["over_time"] = line_plot(title, series)
    return shown
