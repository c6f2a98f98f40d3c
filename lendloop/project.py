"""The dbt project: what it says, parsed and compiled, and dbt run on it.

What belongs here: dbt in this process, its manifest kept by the content of the project, and what a manifest says of a node.
What does not: when to build and what may be published (`lendloop.zones`).
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from lendloop.errors import PermanentError
from lendloop.home import DBT_PROJECT, Home
from lendloop.locks import file_lock
from lendloop.on_error import tested_model
from lendloop.publish import PublishableTable
from lendloop.warehouse import memory_limit

_IGNORED = {"target", "logs", "__pycache__"}


def load_manifest(home: Home) -> dict[str, Any]:
    """dbt's manifest as a dict, parsed anew only when a file of the project changed.

    Raises PermanentError with dbt's own words when the project does not parse.
    """
    _parse_where_changed(home)
    result: dict[str, Any] = json.loads((home.dbt / "target" / "manifest.json").read_text())
    return result


def parsed_project(home: Home) -> Any:
    """The same as dbt's own object, which is the caller's to change. Raises PermanentError like `load_manifest`."""
    _parse_where_changed(home)
    return _read_parsed(home)


def _parse_where_changed(home: Home) -> None:
    home.prepare()
    key = project_fingerprint()
    if not _is_parsed(home, key):
        with file_lock(home.locks / "manifest.lock", "parsing the dbt project", 120):
            if not _is_parsed(home, key):
                _parse(home)
                parsed_marker(home).write_text(key)


def _parse(home: Home) -> None:
    """Leave dbt's manifest in its target folder and, as dbt's own object, beside it.

    What dbt itself keeps of a parse counts for one warehouse only and costs a parse to be looked through.
    """
    project = invoke_dbt(home, ["parse"], target="local")
    from dbt.parser.manifest import extended_mashumaro_encoder

    draft = _parsed_file(home).with_suffix(f".{os.getpid()}.tmp")
    draft.write_bytes(project.to_msgpack(extended_mashumaro_encoder))
    os.replace(draft, _parsed_file(home))


def _read_parsed(home: Home) -> Any:
    from dbt.contracts.graph.manifest import Manifest
    from dbt.parser.manifest import extended_mashumuro_decoder

    project = Manifest.from_msgpack(_parsed_file(home).read_bytes(), decoder=extended_mashumuro_decoder)
    project.build_flat_graph()
    return project


def _parsed_file(home: Home) -> Path:
    return home.dbt / "parsed.msgpack"


def parsed_marker(home: Home) -> Path:
    """The file whose content changes with the project's."""
    return home.dbt / "manifest.key"


def _is_parsed(home: Home, key: str) -> bool:
    marker, made = parsed_marker(home), (home.dbt / "target" / "manifest.json", _parsed_file(home))
    return all(file.exists() for file in made) and marker.exists() and marker.read_text() == key


def compiled_models(home: Home) -> dict[str, list[str]]:
    """The SQL of every SQL model by its id, as dbt renders it: for a first build and, where it differs, for a later one.

    Made without the warehouse, anew only when a file of the project changed. Raises PermanentError when it does not compile.
    """
    key = project_fingerprint()
    file = home.dbt / "compiled.json"
    if not _is_compiled(file, key):
        load_manifest(home)
        with file_lock(home.locks / "manifest.lock", "compiling the dbt project", 120):
            if not _is_compiled(file, key):
                draft = file.with_suffix(".tmp")
                draft.write_text(json.dumps({"key": key, "models": _compile(home)}))
                os.replace(draft, file)
    result: dict[str, list[str]] = json.loads(file.read_text())["models"]
    return result


def _is_compiled(file: Path, key: str) -> bool:
    """Whether the file holds what this project compiles to; one that is damaged does not."""
    try:
        return bool(json.loads(file.read_text())["key"] == key)
    except (FileNotFoundError, ValueError):
        return False


def _compile(home: Home) -> dict[str, list[str]]:
    """In a file of its own with the warehouse's name; for a later build with the tables that its incremental models look for."""
    compiled: dict[str, list[str]] = {}
    with TemporaryDirectory(dir=home.dbt) as folder:
        warehouse = Path(folder) / home.warehouse.name
        for selection in ("resource_type:model", "config.materialized:incremental"):
            manifest = _read_parsed(home)
            arguments = ["compile", "--no-write-json", "--select", selection]
            invoke_dbt(home, arguments, target="local", warehouse=warehouse, manifest=manifest)
            with duckdb.connect(str(warehouse)) as connection:
                for unique_id, node in manifest.nodes.items():
                    if node.resource_type.value != "model" or node.language != "sql":
                        continue
                    if node.config.materialized == "incremental":
                        connection.execute(f'create schema if not exists "{node.schema}"')
                        connection.execute(f'create table if not exists "{node.schema}"."{node.alias}" (built boolean)')
                    variants = compiled.setdefault(unique_id, [])
                    if node.compiled_code and node.compiled_code not in variants:
                        variants.append(node.compiled_code)
    return compiled


def project_fingerprint() -> str:
    """md5 over every file of the dbt project and the versions that compile it."""
    versions = " ".join(version(package) for package in ("dbt-core", "dbt-duckdb", "duckdb"))
    digest = hashlib.md5(versions.encode(), usedforsecurity=False)
    for path in sorted(DBT_PROJECT.rglob("*")):
        if path.is_file() and not _IGNORED.intersection(path.relative_to(DBT_PROJECT).parts):
            digest.update(str(path.relative_to(DBT_PROJECT)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def markets() -> list[dict[str, str]]:
    """The markets the project knows: rows of its seed, with `market`, `currency`, `time_zone`."""
    with open(DBT_PROJECT / "seeds" / "markets.csv", newline="") as file:
        return list(csv.DictReader(file))


def publishable_tables(manifest: Mapping[str, Any]) -> list[PublishableTable]:
    """The tables that readers get: every model of trusted and kpi, and the contact data apart."""
    return [
        PublishableTable(
            schema_name=node["schema"],
            name=node["alias"],
            group=node["group"],
            contact_data=node["schema"] == "contacts",
            partition_column=node["config"]["meta"].get("publish_partition"),
            order=node["config"]["meta"].get("key", []),
            version_columns=node["config"]["meta"].get("publish_version", []),
            description=node["description"],
            columns={name: meaning_of(column["description"]) for name, column in node["columns"].items()},
        )
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["schema"] in ("trusted", "kpi", "contacts")
    ]


def meaning_of(description: str) -> str:
    """What a description says in prose: of a term, all before its list of fields (`governance.dictionary`)."""
    return description.partition("\n\n- ")[0].strip()


def group_of(manifest: Mapping[str, Any], unique_id: str) -> str:
    """The consistency group a node counts for; a test counts for the model it is attached to."""
    node = manifest["nodes"][unique_id]
    if node["resource_type"] != "test":
        return str(node.get("group") or "customer")
    tested = tested_model(manifest, unique_id)
    return str(manifest["nodes"].get(tested, {}).get("group") or "customer")


def short_name(unique_id: str) -> str:
    """The name a person uses for a node: without project, kind and a test's hash, with a model's version."""
    kind, _, *name = unique_id.split(".")
    return ".".join(name) if kind == "model" else name[0]


def invoke_dbt(
    home: Home,
    arguments: list[str],
    *,
    target: str,
    hash_key: str = "",
    warehouse: Path | None = None,
    manifest: Any = None,
) -> Any:
    """Run dbt in this process, and let go of the warehouse and of its environment whatever happens.

    `warehouse` is another file to build in; `manifest` is the result of a `parse`, which is then not done again.
    """
    variables = {
        "LENDLOOP_WAREHOUSE": str(warehouse or home.warehouse),
        "LENDLOOP_MEMORY_LIMIT": memory_limit(),
        "LENDLOOP_HASH_KEY": hash_key,
        "DBT_TARGET_PATH": str(home.dbt / "target"),
        "DBT_LOG_PATH": str(home.dbt / "logs"),
        "DO_NOT_TRACK": "1",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    with _environment(variables):
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager
        from dbt.cli.main import dbtRunner

        folders = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--target", target]
        quiet = ["--log-level", "none", "--log-level-file", "info", "--no-use-colors"]
        try:
            outcome = dbtRunner(manifest=manifest).invoke([*arguments, *folders, *quiet])
        finally:
            DuckDBConnectionManager.close_all_connections()
    if outcome.exception is not None:
        raise PermanentError(f"dbt {arguments[0]} failed: {outcome.exception}; see {home.dbt / 'logs' / 'dbt.log'}")
    return outcome.result


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The process's environment with these variables, put back as it was afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
