"""The zones built from raw by dbt, with tests, and published; beside the same SQL and plain copies by DuckDB alone.

Each run takes a copy of one warehouse that holds raw only. The bare peers make the models and count what the tests look
for, one after the other in one connection, and write each published table into one file: no contracts, no graph, no
fingerprints.
"""

from __future__ import annotations

import os
import runpy
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.harness import ROUNDS, Peer, Row, Size, Timing, timed_call
from ingestion.load import load_source
from lendloop.home import DBT_PROJECT, Home
from lendloop.identity import write_raw_decisions
from lendloop.project import load_manifest, publishable_tables
from lendloop.publish import read_catalog
from lendloop.settings import SOURCES, Settings, load_settings
from lendloop.warehouse import connect_warehouse
from lendloop.zones import build_and_publish
from orchestration.sandbox_process import sandbox_server

TITLE = "Raw to published: dbt beside the same SQL run bare"
CUSTOMERS: dict[Size, int] = {"small": 1_000, "full": 20_000}
HASH_KEY = "bench"


def measure(size: Size) -> Iterator[Row]:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    rounds = 1 if size == "small" else ROUNDS
    found: dict[str, list[Timing]] = {name: [] for name in ("build", "bare build", "publish", "bare publish")}
    try:
        with sandbox_server(folder / "sandbox", CUSTOMERS[size]) as sandbox:
            variables = {name: value for name, value in sandbox.items() if name.startswith("LENDLOOP_")}
            timed_call(load_raw, variables, folder / "raw")
            for number in range(rounds):
                home = folder / f"home-{number}"
                shutil.copytree(folder / "raw", home)
                shutil.copy(home / "warehouse.duckdb", folder / "raw.duckdb")
                whole = timed_call(build, variables, home)
                catalog = read_catalog(Home(home))
                found["build"].append(Timing(whole.seconds - catalog.publish_s, whole.peak_mb))
                found["publish"].append(Timing(catalog.publish_s, whole.peak_mb))
                bare = folder / f"bare-{number}"
                bare.mkdir()
                shutil.copy(folder / "raw.duckdb", bare / "warehouse.duckdb")
                with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
                    clock = connection.execute("select as_of, business_date from raw_meta.clock").fetchone()
                found["bare build"].append(timed_call(build_bare, home, bare, clock))
                found["bare publish"].append(timed_call(publish_bare, home, bare))
    finally:
        shutil.rmtree(folder)
    what = f"{CUSTOMERS[size]:,} customers"
    yield Row(f"{what}: a first build, tests included", found["build"], [Peer("the same SQL", found["bare build"])])
    yield Row(
        f"{what}: a first publication", found["publish"], [Peer("COPY of each table", found["bare publish"])],
        note="by month where a table is large, each file synced to disk, with the catalogues of views",
    )  # fmt: skip


def _settings(variables: Mapping[str, str], home: Path) -> Settings:
    fields = {name.removeprefix("LENDLOOP_").lower(): value for name, value in variables.items()}
    return load_settings(_env_file=None, **{**fields, "LENDLOOP_HOME": home, "hash_key": HASH_KEY})


def load_raw(variables: Mapping[str, str], home: Path) -> None:
    settings = _settings(variables, home)
    for source in SOURCES:
        load_source(source, settings, settings.clock())


def build(variables: Mapping[str, str], home: Path) -> float:
    """Build and publish; seconds of both. The project is parsed before."""
    settings = _settings(variables, home)
    load_manifest(settings.home)
    began = time.perf_counter()
    report = build_and_publish(settings, settings.clock())
    seconds = time.perf_counter() - began
    if report.failures:
        raise RuntimeError("; ".join(report.failures))
    return seconds


def build_bare(home: Path, bare: Path, clock: tuple[Any, ...]) -> float:
    """Run what dbt compiled in `home`, in its order, on a warehouse that holds raw only."""
    manifest = load_manifest(Home(home))
    nodes = {
        name: node for name, node in manifest["nodes"].items() if node["resource_type"] in ("model", "seed", "test")
    }
    order = TopologicalSorter(
        {name: [one for one in node["depends_on"].get("nodes", []) if one in nodes] for name, node in nodes.items()}
    )
    compiled = {path.name: path for path in (home / "dbt" / "target" / "compiled").rglob("*.sql")}
    os.environ["LENDLOOP_HASH_KEY"] = HASH_KEY
    with connect_warehouse(Home(bare)) as connection:
        connection.execute("create or replace table raw_meta.clock (as_of timestamptz, business_date date)")
        connection.execute("insert into raw_meta.clock values (?, ?)", list(clock))
        connection.execute("create or replace table raw_meta.source_read (source varchar, succeeded_as_of timestamptz)")
        write_raw_decisions(connection, Home(bare))
        began = time.perf_counter()
        for name in order.static_order():
            _make(connection, nodes[name], compiled)
        seconds = time.perf_counter() - began
    return seconds


def _make(connection: duckdb.DuckDBPyConnection, node: Mapping[str, Any], compiled: Mapping[str, Path]) -> None:
    relation = f'"{node["schema"]}"."{node.get("alias")}"'
    if node["resource_type"] == "test":
        if file := compiled.get(Path(node["path"]).name):
            connection.execute(f"select count(*) from ({file.read_text()})").fetchone()
        return
    connection.execute(f'create schema if not exists "{node["schema"]}"')
    if node["resource_type"] == "seed":
        connection.execute(
            f"create or replace table {relation} as from read_csv('{DBT_PROJECT / node['original_file_path']}')"
        )
    elif node["language"] == "python":
        model = runpy.run_path(str(DBT_PROJECT / node["original_file_path"]))["model"]
        made = model(_Dbt(connection), connection)
        connection.register("made", made)
        connection.execute(f"create or replace table {relation} as select * from made")
    else:
        kind = "view" if node["config"]["materialized"] == "view" else "table"
        sql = compiled[Path(node["path"]).name].read_text()
        connection.execute(f"create or replace {kind} {relation} as ({sql}\n)")


class _Dbt:
    """What a Python model is given, on a first build."""

    is_incremental = False

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def config(self, **_: Any) -> None:
        """Materialisation is the caller's."""

    def ref(self, name: str) -> duckdb.DuckDBPyRelation:
        return self._connection.table(f"gray.{name}")


def publish_bare(home: Path, bare: Path) -> float:
    """Copy each published table of the bare warehouse into one Parquet file."""
    tables = publishable_tables(load_manifest(Home(home)))
    with connect_warehouse(Home(bare)) as connection:
        began = time.perf_counter()
        for table in tables:
            connection.execute(f"copy {table.key} to '{bare / table.name}.parquet' (format parquet, compression zstd)")
        return time.perf_counter() - began
