"""Source systems as assets: one step reads a source, its raw tables are shown with what they got.

The step never fails because a source does: what is already in raw still serves, so the pass goes
on, the check `read_in_full` fails, and the pass ends red.
"""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from ingestion.tables import TABLES, RawTable, Source
from lendloop.errors import LendloopError
from orchestration.resources import Hub

OWNERS = ["team:data-platform"]
CHECK = "read_in_full"
SYSTEMS: dict[Source, tuple[str, str]] = {
    "crm": ("hubspot", "The CRM (HubSpot): contacts, applications as deals, consents and exclusions."),
    "ledger": ("fineract", "The loan ledger (Apache Fineract's tables, read by SQL)."),
    "support": ("zendesk", "Support (Zendesk): tickets, users, ticket events."),
    "costs": ("csv", "What the business cost by month, market and kind: a CSV file that finance keeps."),
    "survey": ("excel", "Survey exports and lists of partners: a folder of CSV, XLSX and Parquet files."),
}


def source_key(source: Source) -> dg.AssetKey:
    return dg.AssetKey(["sources", source])


def raw_key(table: RawTable) -> dg.AssetKey:
    return dg.AssetKey([table.schema, table.name])


def _raw_spec(table: RawTable) -> dg.AssetSpec:
    return dg.AssetSpec(
        raw_key(table),
        deps=[source_key(table.source)],
        group_name="raw",
        kinds={"dlt", "duckdb"},
        owners=OWNERS,
        description=f"`{table.name}` as the {table.source} said it; key {', '.join(table.key)}, "
        + (f"read by its cursor `{table.cursor}`." if table.cursor else "mirrored whole."),
        metadata={
            "dagster/column_schema": dg.TableSchema(
                [dg.TableColumn(name, kind) for name, kind in table.columns.items()]
            )
        },
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=48), warn_window=timedelta(hours=26)
        )
        if not table.optional
        else None,
    )


def raw_specs() -> list[dg.AssetSpec]:
    """One spec for each raw table; the steps of their sources report what they wrote."""
    return [_raw_spec(table) for tables in TABLES.values() for table in tables]


def _source_asset(source: Source) -> dg.AssetsDefinition:
    system, description = SYSTEMS[source]

    @dg.multi_asset(
        name=f"load_{source}",
        specs=[
            dg.AssetSpec(
                source_key(source), group_name="sources", kinds={"dlt", system}, owners=OWNERS, description=description
            )
        ],
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=source_key(source),
                description="The source answered, and all it said is in raw or in quarantine.",
            )
        ],
    )
    def load(context: dg.AssetExecutionContext, hub: Hub) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        from ingestion.load import load_source

        settings = hub.settings
        try:
            report = load_source(source, settings, hub.clock)
        except LendloopError as error:
            context.log.error(str(error))
            yield dg.MaterializeResult(asset_key=source_key(source), metadata={"error": str(error)})
            yield dg.AssetCheckResult(
                check_name=CHECK, asset_key=source_key(source), passed=False, metadata={"error": str(error)}
            )
            return
        for table in TABLES[source]:
            counts = report.tables.get(table.name)
            if report.configured and counts is not None:
                context.log_event(
                    dg.AssetMaterialization(
                        asset_key=raw_key(table),
                        metadata={**counts.model_dump(), "dagster/row_count": report.rows.get(table.name, 0)},
                    )
                )
        yield dg.MaterializeResult(
            asset_key=source_key(source),
            metadata={
                "configured": report.configured,
                "new": report.new,
                "changed": report.rows_changed,
                "deleted": report.deleted,
                "quarantined": report.quarantined,
                "duration_s": report.duration_s,
                "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in report.notes) or "nothing to note"),
            },
        )
        yield dg.AssetCheckResult(
            check_name=CHECK,
            asset_key=source_key(source),
            passed=True,
            metadata={"configured": report.configured, "quarantined": report.quarantined},
        )

    return load


def source_assets() -> list[dg.AssetsDefinition]:
    """The step of each source."""
    return [_source_asset(source) for source in SYSTEMS]
