"""Raw to published: one dbt build, its audit by consistency group, and the publication, under one lock.

What belongs here: when to build, what failed for whom, what may be published.
What does not: what a model says (dbt_project) and how files are written (`lendloop.publish`).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import duckdb
from pydantic import BaseModel, Field, TypeAdapter

from lendloop.clock import Clock
from lendloop.days import keep_day
from lendloop.home import Home
from lendloop.identity import write_raw_decisions
from lendloop.on_error import FailedTest, OnError, answer_to, held_back, kept_file, take_out, tested_model
from lendloop.project import (
    group_of,
    invoke_dbt,
    load_manifest,
    markets,
    parsed_project,
    project_fingerprint,
    publishable_tables,
    short_name,
)
from lendloop.publish import (
    GroupState,
    missing_files,
    publish,
    read_catalog,
    views_stand,
    write_catalog,
    write_views,
)
from lendloop.settings import SOURCES, Settings
from lendloop.source_status import read_status
from lendloop.standing import renew_standing
from lendloop.warehouse import connect_warehouse, warehouse_lock


class NodeResult(BaseModel):
    """One model, seed or test of a build. `status` is dbt's: success, pass, warn, error, fail, skipped."""

    unique_id: str
    kind: Literal["model", "seed", "test"]
    status: str
    group: str
    message: str = ""
    failures: int | None = None
    duration_s: float = 0.0
    rows: int | None = None
    quarantined: int | None = None
    """Rows that were taken out since this test found them; None where that is not what it asks for."""
    sql: str = ""
    """What a test ran that did not pass."""

    @property
    def ok(self) -> bool:
        return self.status in ("success", "pass", "warn")

    @property
    def warned(self) -> bool:
        """Whether it found something and let the build go on."""
        return self.status == "warn"


_NODES = TypeAdapter(list[NodeResult])


class BuildReport(BaseModel):
    """What a pass did between raw and published.

    `skipped`: nothing it depends on had changed; `nodes` are then those of the build that still stands.
    """

    skipped: bool = False
    version: int = 0
    groups: dict[str, GroupState] = Field(default_factory=dict)
    nodes: list[NodeResult] = Field(default_factory=list)
    written: dict[str, int] = Field(default_factory=dict)
    """Files written, by published table."""
    tables: dict[str, int] = Field(default_factory=dict)
    """Rows by published table."""

    @property
    def failures(self) -> list[str]:
        """One line for each group that readers see as stale or not at all."""
        return [f"{name}: {group.reason}" for name, group in self.groups.items() if group.state != "fresh"]


def build_and_publish(settings: Settings, clock: Clock, *, force: bool = False) -> BuildReport:
    """Build, audit and publish, unless nothing that it depends on has changed.

    It depends on raw, on the business date of each market and whether the ledger was read on it, on the dbt project and
    on the key of the identifiers. A group whose audit failed is rebuilt from raw by the next pass. Raises
    LockTimeoutError, and PermanentError when dbt could not run at all.
    """
    home = settings.home.prepare()
    follow_home(settings)
    manifest = load_manifest(home)
    with warehouse_lock(home, "build and publish", settings.lock_timeout_s):
        began = datetime.now(UTC)
        catalog = read_catalog(home)
        with connect_warehouse(home) as connection:
            read = _reads(home)
            inputs = _inputs(connection, settings, clock, read.get("ledger"))
            unhealthy = [name for name, group in catalog.groups.items() if group.state != "fresh"]
            if not force and not unhealthy and views_stand(home, catalog) and catalog.inputs == inputs:
                return BuildReport(
                    skipped=True,
                    version=catalog.version,
                    groups=catalog.groups,
                    nodes=_read_nodes(home),
                    tables={key: table.rows for key, table in catalog.tables.items()},
                )
            _set_clock(connection, clock, read)
            write_raw_decisions(connection, home)
            models = project_fingerprint()
            _forget_incremental(connection, manifest, unhealthy, held_back(home), everything=catalog.models != models)
        for schema, table in held_back(home):
            kept_file(home, schema, table).unlink()
        nodes = _build(home, settings, manifest, clock)
        groups = _audit(nodes, manifest)
        _keep_outcome(home, manifest, nodes, clock)
        with connect_warehouse(home) as connection:
            healthy = all(group.state == "fresh" for group in groups.values())
            catalog, written = publish(
                connection,
                home,
                publishable_tables(manifest),
                groups,
                inputs=inputs if healthy else "",
                as_of=clock.as_of,
                checks=_count_checks(nodes, manifest),
                models=models,
                built_at=began,
            )
    return BuildReport(
        version=catalog.version,
        groups=catalog.groups,
        nodes=nodes,
        written=written,
        tables={key: table.rows for key, table in catalog.tables.items()},
    )


def _keep_outcome(home: Home, manifest: Mapping[str, Any], nodes: list[NodeResult], clock: Clock) -> None:
    """Write down what became of each node, what that makes of its day, and who is demoted for it.

    Before the publication, which says that this build was made: a pass killed in between makes it again.
    """
    with connect_warehouse(home) as connection:
        rows = _row_counts(connection, manifest)
    for node in nodes:
        node.rows = rows.get(node.unique_id)
    draft = _nodes_file(home).with_suffix(f".{os.getpid()}.tmp")
    draft.write_bytes(_NODES.dump_json(nodes))
    os.replace(draft, _nodes_file(home))
    outcomes = ((node, _about(manifest, node)) for node in nodes if node.status != "skipped")
    keep_day(home, manifest, outcomes, clock.business_date("UTC"))
    renew_standing(home, manifest, clock)


def _about(manifest: Mapping[str, Any], node: NodeResult) -> str:
    """The id of the model that an outcome counts for."""
    return tested_model(manifest, node.unique_id) if node.kind == "test" else node.unique_id


def _nodes_file(home: Home) -> Path:
    return home.dbt / "last_build.json"


def _read_nodes(home: Home) -> list[NodeResult]:
    path = _nodes_file(home)
    return _NODES.validate_json(path.read_bytes()) if path.exists() else []


def follow_home(settings: Settings) -> None:
    """Let the views of a home that was moved, copied or restored find their files where they are now.

    Nothing is done where one is missing: the next build writes it. Raises LockTimeoutError.
    """
    home = settings.home
    catalog = read_catalog(home)
    if not catalog.tables or views_stand(home, catalog):
        return
    manifest = load_manifest(home)
    with warehouse_lock(home, "renew the views of what is published", settings.lock_timeout_s):
        catalog = read_catalog(home)
        if not views_stand(home, catalog) and not missing_files(home, catalog):
            write_views(home, catalog, publishable_tables(manifest))
            write_catalog(home, catalog.model_copy(update={"root": str(home.root)}))


def forget_build(home: Home) -> None:
    """Make the next pass build even if nothing seems to have changed."""
    with warehouse_lock(home, "forgetting the last build"):
        write_catalog(home, read_catalog(home).model_copy(update={"inputs": ""}))


def _reads(home: Home) -> dict[str, datetime]:
    """When each source was last read in full, by the business clock; those that never were are left out."""
    return {name: one.succeeded_as_of for name, one in read_status(home).items() if one.succeeded_as_of is not None}


def _inputs(
    connection: duckdb.DuckDBPyConnection, settings: Settings, clock: Clock, ledger_read_at: datetime | None
) -> str:
    tables = connection.execute(
        "select table_schema, table_name from information_schema.columns"
        " where list_contains(?, table_schema) and column_name = '_loaded_at'"
        " and table_name not like '\\_dlt%' escape '\\' order by all",
        [[f"raw_{source}" for source in SOURCES]],
    ).fetchall()
    digest = hashlib.md5(project_fingerprint().encode(), usedforsecurity=False)
    digest.update(hashlib.sha256(settings.identifier_key()).digest())
    digest.update(settings.home.decisions.read_bytes() if settings.home.decisions.exists() else b"")
    for schema, table in tables:
        state = connection.execute(f'select count(*), max(_loaded_at) from "{schema}"."{table}"').fetchone()
        digest.update(f"{schema}.{table}:{state}".encode())
    for zone in sorted({row["time_zone"] for row in markets()} | {"UTC"}):
        today = clock.business_date(zone)
        is_read = ledger_read_at is None or ledger_read_at.astimezone(ZoneInfo(zone)).date() >= today
        digest.update(f"{zone}:{today}:{is_read}".encode())
    return digest.hexdigest()


def _set_clock(connection: duckdb.DuckDBPyConnection, clock: Clock, read: Mapping[str, datetime]) -> None:
    connection.execute("create schema if not exists raw_meta")
    connection.execute("create or replace table raw_meta.clock (as_of timestamptz, business_date date)")
    connection.execute("insert into raw_meta.clock values (?, ?)", [clock.as_of, clock.day])
    connection.execute("create or replace table raw_meta.source_read (source varchar, succeeded_as_of timestamptz)")
    for source, moment in read.items():
        connection.execute("insert into raw_meta.source_read values (?, ?)", [source, moment])


def _forget_incremental(
    connection: duckdb.DuckDBPyConnection,
    manifest: Mapping[str, Any],
    groups: list[str],
    tables: list[tuple[str, str]],
    *,
    everything: bool,
) -> None:
    """Drop what a failed audit, rows taken out or an earlier version of the models left: the build makes it from raw.

    A model that keeps history raw does not have (`full_refresh: false`) stays.
    """
    for node in manifest["nodes"].values():
        config = node["config"]
        if (
            node["resource_type"] == "model"
            and (everything or node["group"] in groups or (node["schema"], node["alias"]) in tables)
            and config["materialized"] == "incremental"
            and config.get("full_refresh") is not False
        ):
            connection.execute(f'drop table if exists "{node["schema"]}"."{node["alias"]}"')


def _build(home: Home, settings: Settings, manifest: Mapping[str, Any], clock: Clock) -> list[NodeResult]:
    """Build and test everything; where tests ask for it, take rows out and build again what was made of them.

    A test whose failure lets the build go on counts as a warning for dbt, which would skip what comes after it.
    """
    answers = {
        unique_id: answer_to(manifest, unique_id)
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "test"
    }
    results = _build_once(home, settings, manifest, _project_to_build(home, answers), [])
    nodes = {node.unique_id: node for node in results}
    while found := [
        FailedTest(node.unique_id, node.sql)
        for node in results
        if node.status == "warn" and answers.get(node.unique_id) is OnError.QUARANTINE
    ]:
        with connect_warehouse(home) as connection:
            taken = take_out(connection, home, manifest, found, clock.as_of)
        for test in found:
            _say_taken(nodes[test.unique_id], taken.get(test.unique_id))
        if not taken:
            break
        after = _after(manifest, {tested_model(manifest, unique_id) for unique_id in taken})
        names = sorted(manifest["nodes"][one]["name"] for one in after)
        results = _build_once(home, settings, manifest, _project_to_build(home, answers), names)
        for node in results:
            known = nodes[node.unique_id]
            if known.quarantined is not None:
                if node.status == "pass":
                    continue
                node.quarantined = 0 if tested_model(manifest, node.unique_id) in after else known.quarantined
            nodes[node.unique_id] = node
    return list(nodes.values())


def _say_taken(node: NodeResult, rows: int | None) -> None:
    if rows is None:
        node.status, node.message = "fail", f"{node.message}; its result names no rows that could be taken out"
        return
    node.quarantined = (node.quarantined or 0) + rows
    node.message = f"{node.quarantined} row(s) taken out: {node.message}"


def _after(manifest: Mapping[str, Any], models: set[str]) -> set[str]:
    """The ids of the models that come after these, and of the tests on any of them all."""
    after: set[str] = set()
    reached = set(models)
    while reached:
        reached = {child for node in reached for child in manifest["child_map"].get(node, [])} - after
        after |= reached
    return {one for one in after if manifest["nodes"].get(one, {}).get("resource_type") in ("model", "test")}


def _project_to_build(home: Home, answers: Mapping[str, OnError]) -> Any:
    """dbt's own manifest, in which tests have the severity that their answer asks for."""
    project = parsed_project(home)
    for unique_id, answer in answers.items():
        lets_go_on = answer in (OnError.WARN, OnError.QUARANTINE)
        project.nodes[unique_id].config.severity = "WARN" if lets_go_on else "ERROR"
    return project


def _build_once(
    home: Home, settings: Settings, manifest: Mapping[str, Any], project: Any, names: list[str]
) -> list[NodeResult]:
    """What became of each node in one dbt build, of the named ones or of all. dbt writes in `project`: it is for one build."""
    arguments = ["build", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "exposure"]
    chosen = ["--indirect-selection", "empty", "--select", *names] if names else []
    key = settings.identifier_key().decode()
    results = invoke_dbt(
        home,
        [*arguments, "--no-write-json", *chosen],
        target=settings.env,
        hash_key=key,
        manifest=project,
    ).results
    return [
        NodeResult(
            unique_id=result.node.unique_id,
            kind=str(result.node.resource_type.value),
            status=str(result.status.value),
            group=group_of(manifest, result.node.unique_id),
            message=without_values((result.message or "").strip()),
            failures=result.failures,
            duration_s=round(result.execution_time, 3),
            sql=result.node.compiled_code or "" if str(result.status.value) in ("warn", "fail") else "",
        )
        for result in results
    ]


_DATA_ERROR = re.compile(r"(Conversion|Constraint|Invalid Input|Out of Range) Error:")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'", re.DOTALL)


def without_values(message: str) -> str:
    """A message of dbt's without the values that DuckDB tells where a row was at fault: people are told it, and it is kept.

    Values stand in quotes of the error's first line, and anywhere below that.
    """
    if not _DATA_ERROR.search(message):
        return message
    lines = _QUOTED.sub("'…'", message).splitlines()
    last = next(number for number, line in enumerate(lines) if _DATA_ERROR.search(line))
    return "\n".join([*lines[: last + 1], *(line for line in lines[last + 1 :] if "compiled code at" in line)])


def _audit(nodes: list[NodeResult], manifest: Mapping[str, Any]) -> dict[str, GroupState]:
    """Who may be renewed: a failure keeps its own group as it was, or every group where its dataset says `halt`."""
    names = sorted({table.group for table in publishable_tables(manifest)})
    halting = [node for node in nodes if not node.ok and answer_to(manifest, node.unique_id) is OnError.HALT]
    groups = {}
    for name in names:
        mine = [node for node in nodes if node.group == name]
        bad = [node for node in mine if not node.ok]
        reasons = [*(f"halted by {_said(node)}" for node in _gravest(halting)), *map(_said, _gravest(bad))]
        groups[name] = GroupState(
            state="stale" if bad or halting or not mine else "fresh",
            reason="; ".join(reasons) or None,
            checks_passed=sum(node.kind == "test" and node.ok for node in mine),
            checks_failed=sum(node.kind == "test" and not node.ok for node in mine),
        )
    return groups


def _gravest(nodes: list[NodeResult]) -> list[NodeResult]:
    """The few that say why: what failed before what was skipped for it."""
    return sorted(nodes, key=lambda node: node.status == "skipped")[:3]


def _said(node: NodeResult) -> str:
    return f"{short_name(node.unique_id)} {node.status}: {node.message or 'upstream failed'}"


def _count_checks(nodes: list[NodeResult], manifest: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    counts: dict[str, tuple[int, int]] = {}
    for node in nodes:
        if node.kind != "test":
            continue
        model = manifest["nodes"].get(tested_model(manifest, node.unique_id))
        if model is None:
            continue
        key = f"{model['schema']}.{model['alias']}"
        passed, failed = counts.get(key, (0, 0))
        counts[key] = (passed + node.ok, failed + (not node.ok))
    return counts


def _row_counts(connection: duckdb.DuckDBPyConnection, manifest: Mapping[str, Any]) -> dict[str, int]:
    """Rows of every table that the build made, by node; views are not counted."""
    tables = set(connection.execute("select schema_name, table_name from duckdb_tables()").fetchall())
    return {
        unique_id: int((connection.execute(f'select count(*) from "{schema}"."{name}"').fetchone() or (0,))[0])
        for unique_id, node in manifest["nodes"].items()
        if ((schema := node["schema"]), (name := node["alias"])) in tables
    }
