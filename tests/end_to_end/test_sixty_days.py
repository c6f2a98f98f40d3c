"""Sixty days at random, pass by pass: what is built little by little is what would be built at once."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import duckdb
import pytest

from ingestion.load import load_source
from ingestion.tables import TABLES, TECHNICAL_COLUMNS
from lendloop.home import Home
from lendloop.project import load_manifest
from lendloop.publish import read_catalog, write_catalog
from lendloop.settings import SOURCES, Settings, load_settings
from lendloop.zones import build_and_publish
from orchestration.sandbox_process import call, sandbox_server
from tests.servers import ledger_of

DAYS, PASSES, CUSTOMERS = 60, 7, 250
pytestmark = pytest.mark.slow


def one_pass(settings: Settings) -> None:
    for source in SOURCES:
        load_source(source, settings, settings.clock())
    assert build_and_publish(settings, settings.clock()).failures == []


def tables(home: Home) -> list[str]:
    """Everything dbt made that has rows of its own."""
    with duckdb.connect(str(home.warehouse), read_only=True) as connection:
        return [
            f'"{schema}"."{name}"'
            for schema, name in connection.execute(
                "select schema_name, table_name from duckdb_tables() where schema_name in ('gray', 'trusted', 'kpi', 'contacts')"
                " order by all"
            ).fetchall()
        ]


def differences(one: Home, other: Home, table: str, columns: str = "*") -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        connection.execute(
            f"attach '{one.warehouse}' as one (read_only); attach '{other.warehouse}' as other (read_only)"
        )
        return connection.execute(
            f"(select 'only one' as side, * from (select {columns} from one.{table} except all select {columns} from other.{table}))"
            f" union all (select 'only other', * from (select {columns} from other.{table} except all select {columns} from one.{table}))"
            " limit 5"
        ).fetchall()


def test_incremental_equals_rebuilt_row_by_row_and_raw_equals_a_fresh_load(
    tmp_path: Path, parsed_environment: pytest.MonkeyPatch
) -> None:
    draw = random.Random(60)
    stops = sorted(draw.sample(range(1, DAYS), PASSES - 1))
    folder = tmp_path / "sandbox"
    with sandbox_server(folder, CUSTOMERS, ledger_of(folder)) as sandbox:
        for name, value in sandbox.items():
            if name.startswith("LENDLOOP_"):
                parsed_environment.setenv(name, value)
        parsed_environment.setenv("LENDLOOP_HASH_KEY", "60" * 16)
        settings = load_settings()
        one_pass(settings)
        for before, after in zip([0, *stops], [*stops, DAYS], strict=True):
            call(sandbox["base_url"], "/tick", {"days": after - before})
            one_pass(settings)

        rebuilt = load_settings(LENDLOOP_HOME=tmp_path / "rebuilt")
        shutil.copytree(settings.home.root, rebuilt.home.root)
        with duckdb.connect(str(rebuilt.home.warehouse)) as connection:
            for node in load_manifest(rebuilt.home)["nodes"].values():
                if node["resource_type"] == "model" and node["config"].get("full_refresh") is not False:
                    kind = "view" if node["config"]["materialized"] == "view" else "table"
                    connection.execute(f'drop {kind} if exists "{node["schema"]}"."{node["alias"]}" cascade')
        write_catalog(rebuilt.home, read_catalog(rebuilt.home).model_copy(update={"models": "earlier ones"}))
        assert build_and_publish(rebuilt, settings.clock(), force=True).failures == []

        fresh = load_settings(LENDLOOP_HOME=tmp_path / "fresh")
        for source in SOURCES:
            load_source(source, fresh, fresh.clock())

    assert len(tables(settings.home)) > 30
    wrong = {
        table: rows for table in tables(settings.home) if (rows := differences(settings.home, rebuilt.home, table))
    }
    assert wrong == {}
    content = {
        f"{table.schema}.{table.name}": ", ".join(f'"{name}"' for name in table.columns)
        for group in TABLES.values()
        for table in group
    }
    assert set(TECHNICAL_COLUMNS) == {"_row_hash", "_loaded_at", "_deleted_at"}
    live = {
        table: f"{columns} from (select * from {{side}}.{table} where _deleted_at is null)"
        for table, columns in content.items()
    }
    with duckdb.connect() as connection:
        connection.execute(
            f"attach '{settings.home.warehouse}' as grown (read_only); attach '{fresh.home.warehouse}' as fresh (read_only)"
        )
        strayed = {
            table: rows
            for table, query in live.items()
            if (
                rows := connection.execute(
                    f"(select {query.format(side='grown')} except all select {query.format(side='fresh')}) union all"
                    f" (select {query.format(side='fresh')} except all select {query.format(side='grown')}) limit 3"
                ).fetchall()
            )
        }
    assert strayed == {}
