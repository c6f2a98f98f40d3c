"""What MetricFlow makes of the project's metrics: the SQL it would run. It opens no warehouse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dbt_metricflow.cli.dbt_connectors.dbt_config_accessor import dbtArtifacts  # noqa: F401 - settles MetricFlow's import order
from metricflow.engine.metricflow_engine import MetricFlowEngine, MetricFlowQueryRequest
from metricflow.protocols.sql_client import SqlEngine
from metricflow.sql.render.duckdb_renderer import DuckDbSqlPlanRenderer
from metricflow_semantic_interfaces.implementations.semantic_manifest import PydanticSemanticManifest
from metricflow_semantics.model.dbt_manifest_parser import parse_manifest_from_dbt_generated_manifest
from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup


class MetricFlow:
    """MetricFlow over the semantic manifest that dbt wrote into `target`."""

    def __init__(self, target: Path) -> None:
        self.manifest: PydanticSemanticManifest = parse_manifest_from_dbt_generated_manifest(
            (target / "semantic_manifest.json").read_text()
        )
        client: Any = SimpleNamespace(sql_engine_type=SqlEngine.DUCKDB, sql_plan_renderer=DuckDbSqlPlanRenderer())
        self._engine = MetricFlowEngine(SemanticManifestLookup(self.manifest), client)

    def sql(self, metrics: Sequence[str], group_by: Sequence[str]) -> str:
        """The query of these metrics by these dimensions; its columns are the dimensions, then the metrics."""
        request = MetricFlowQueryRequest.create(metric_names=metrics, group_by_names=group_by)
        return str(self._engine.explain(request).sql_statement.without_descriptions.sql)
