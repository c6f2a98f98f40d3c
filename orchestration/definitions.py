"""The code location: everything put together, once.

`build_defs` builds the same graph for the product and for tests; `defs` is what Dagster loads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from governance.manifest import parse_manifest
from governance.promotion import consumers_with_owners
from governance.registry import read_registry
from lendloop.project import load_manifest, publishable_tables
from lendloop.settings import Settings, load_settings
from orchestration.activation import alerts_asset, audience_asset, rules_asset, withdrawals_asset
from orchestration.jobs import automation, retention_asset, verdict_asset
from orchestration.lineage import load_definitions
from orchestration.reconcile import reconciliation_check
from orchestration.resources import Hub
from orchestration.site import shown_in_site, site_asset
from orchestration.sources import raw_specs, source_assets
from orchestration.zones import decision_specs, group_specs, zones_asset


def build_defs(settings: Settings | None = None, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Every asset, check, job, schedule and sensor.

    Reads the dbt project (its manifest, parsed when it changed) and the definitions folder; opens
    no data. Raises ConfigurationError naming the file and the fault of a definition that does not load.
    """
    settings = settings or load_settings()
    os.environ.setdefault("MPLCONFIGDIR", str(settings.home.root / "matplotlib"))
    manifest = load_manifest(settings.home)
    typed = parse_manifest(manifest)
    datasets = read_registry(typed)
    groups = {table.key: table.group for table in publishable_tables(manifest)}
    definitions = load_definitions(settings)
    audiences, rules, graph = definitions.audiences, definitions.rules, definitions.graph
    told = {key: consumers_with_owners(key, typed, graph, definitions.owners) for key in datasets}
    assets = dg.map_asset_specs(
        lambda spec: shown_in_site(spec, settings, datasets),
        [
            *raw_specs(),
            *decision_specs(manifest),
            *source_assets(),
            zones_asset(manifest, datasets, graph, told),
            *group_specs(manifest),
            *(audience_asset(audience, groups, graph) for audience in audiences),
            withdrawals_asset(audiences),
            *([rules_asset(rules, groups, graph)] if rules else []),
            alerts_asset(rules, datasets, graph),
            verdict_asset(audiences),
            retention_asset,
            site_asset(graph),
        ],
    )
    everything = dg.Definitions(
        assets=list(assets),
        asset_checks=[reconciliation_check(datasets)],
        resources={"hub": Hub(), **(resource_overrides or {})},
        # a process for each step imports everything again: most of what a small pass would cost
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(everything, automation(settings, rules, datasets))


@dg.definitions
def defs() -> dg.Definitions:
    return build_defs()
