"""dbt's manifest, typed: models with their columns and SQL, doc blocks, teams, tests.

What belongs here: what the manifest says. What does not: whether that is right (`registry`, `dictionary`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

from lendloop.home import Home
from lendloop.project import load_manifest

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
GOVERNED = ("trusted", "kpi", "contacts")
"""Zones in which every model is an agreed dataset; the others are drafts."""


@dataclass(frozen=True)
class Column:
    """A declared column. `description` is whole, with the fields of its term; `doc_blocks` are names of terms."""

    name: str
    data_type: str
    description: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    doc_blocks: tuple[str, ...] = ()
    is_required: bool = False
    """Whether the contract says NOT NULL."""


@dataclass(frozen=True)
class Model:
    """A model or seed of the project. `file` holds its SQL, `yaml` its declaration; `zone` is its schema."""

    unique_id: str
    zone: str
    name: str
    file: str
    yaml: str
    group: str | None
    description: str
    meta: Mapping[str, Any]
    columns: Mapping[str, Column]
    primary_key: tuple[str, ...]
    materialized: str
    keeps_history: bool
    """Whether it is never rebuilt, since it holds a past that raw has no more."""
    language: str
    raw_sql: str
    depends_on: tuple[str, ...]
    """Unique ids of models, seeds and sources."""
    has_contract: bool = False
    """Whether dbt holds it to the columns and types that it declares."""
    unversioned: str = ""
    """Its name without its version; `name` is that of its table, by default with the version behind."""
    version: str = ""
    deprecated: str | None = None
    """Why it goes, or the day it goes first: `deprecated` of its meta, else dbt's `deprecation_date`."""

    @property
    def key(self) -> str:
        return f"{self.zone}.{self.name}"

    @property
    def is_governed(self) -> bool:
        return self.zone in GOVERNED

    @property
    def goes_on(self) -> date | None:
        """The day from which nothing may read it. None for one that stays, or that nothing may read any more."""
        return day_of(self.deprecated or "")


@dataclass(frozen=True)
class Source:
    """A table of raw, as the project declares it."""

    unique_id: str
    schema: str
    name: str
    file: str
    meta: Mapping[str, Any]
    description: str

    @property
    def key(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class DocBlock:
    """A doc block of the project, `text` as it was written."""

    name: str
    text: str
    file: str


@dataclass(frozen=True)
class DataTest:
    """A data test. `kind` is the generic test's name, empty for a singular one; `arguments` are what it was given."""

    name: str
    kind: str
    column: str | None
    arguments: Mapping[str, Any]
    attached: str | None
    """Unique id of the model that declares it."""
    depends_on: tuple[str, ...]
    file: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The project. Keys of `models` and `sources` are `schema.table`."""

    models: Mapping[str, Model]
    sources: Mapping[str, Source]
    docs: Mapping[str, DocBlock]
    tests: tuple[DataTest, ...]
    teams: Mapping[str, str]
    """Every owner that a group or an exposure names, with the address that reaches them."""
    group_owners: Mapping[str, str]
    """The team that answers for each consistency group."""
    exposures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The unique ids that each exposure reads, by its name."""
    kpis: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The unique ids of models that each KPI is summed from or stands in, by the name of its metric or column."""

    @cached_property
    def governed(self) -> tuple[Model, ...]:
        """The agreed datasets, by zone and name."""
        return tuple(
            sorted(
                (model for model in self.models.values() if model.is_governed),
                key=lambda model: (GOVERNED.index(model.zone), model.name),
            )
        )

    @cached_property
    def by_id(self) -> Mapping[str, Model | Source]:
        nodes: list[Model | Source] = [*self.models.values(), *self.sources.values()]
        return {node.unique_id: node for node in nodes}


def read_manifest(home: Home) -> Manifest:
    """The project's manifest, parsed by dbt when a file changed. Raises PermanentError when it does not parse."""
    return parse_manifest(load_manifest(home))


def parse_manifest(manifest: Mapping[str, Any]) -> Manifest:
    """`manifest` is dbt's manifest.json as a dict."""
    nodes = manifest["nodes"].values()
    models = [_model(node) for node in nodes if node["resource_type"] in ("model", "seed")]
    sources = [
        Source(
            node["unique_id"],
            node["schema"],
            node["identifier"],
            node["original_file_path"],
            node["config"].get("meta", {}),
            node["description"],
        )
        for node in manifest["sources"].values()
    ]
    owners = [item["owner"] for kind in ("groups", "exposures") for item in manifest[kind].values()]
    return Manifest(
        models={model.key: model for model in models},
        sources={source.key: source for source in sources},
        docs={
            doc["name"]: DocBlock(doc["name"], doc["block_contents"], doc["original_file_path"])
            for doc in manifest["docs"].values()
            if doc["package_name"] != "dbt"
        },
        tests=tuple(_test(node) for node in nodes if node["resource_type"] == "test"),
        teams={owner["name"]: owner["email"] for owner in owners},
        group_owners={group["name"]: group["owner"]["name"] for group in manifest["groups"].values()},
        exposures={
            exposure["name"]: tuple(exposure.get("depends_on", {}).get("nodes", ()))
            for exposure in manifest["exposures"].values()
            if "name" in exposure
        },
        kpis=_kpis(manifest),
    )


def day_of(deprecated: str) -> date | None:
    """The day that a deprecation opens with; None where it names none: it counts at once."""
    try:
        return date.fromisoformat(deprecated[:10]) if _DAY.match(deprecated) else None
    except ValueError:
        return None


def _kpis(manifest: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """What is declared wrong is passed over: the catalogue of KPIs names it."""
    metrics, semantic_models = manifest.get("metrics", {}), manifest.get("semantic_models", {})
    stands_in = {
        node["alias"]: unique_id
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["schema"] == "kpi"
    }

    def read_by(unique_id: str) -> set[str]:
        node = metrics.get(unique_id) or semantic_models.get(unique_id)
        return {one for parent in node["depends_on"]["nodes"] for one in read_by(parent)} if node else {unique_id}

    found: dict[str, set[str]] = {}
    for unique_id, metric in metrics.items():
        declared = metric["config"].get("meta", {}).get("kpi")
        if isinstance(declared, dict) and declared.get("table") in stands_in:
            found[metric["name"]] = read_by(unique_id) | {stands_in[declared["table"]]}
    for unique_id in stands_in.values():
        for declared in manifest["nodes"][unique_id]["config"].get("meta", {}).get("kpis") or ():
            if isinstance(declared, dict) and "column" in declared:
                found.setdefault(str(declared["column"]), set()).add(unique_id)
    return {name: frozenset(ids) for name, ids in found.items()}


def _model(node: Mapping[str, Any]) -> Model:
    file = node["original_file_path"]
    deprecated = node["config"].get("meta", {}).get("deprecated") or node.get("deprecation_date")
    return Model(
        unique_id=node["unique_id"],
        zone=node["schema"],
        name=node["alias"],
        file=file,
        yaml=(node.get("patch_path") or file).split("://")[-1],
        group=node.get("group"),
        description=node["description"],
        meta=node["config"].get("meta", {}),
        columns={name: _column(column) for name, column in node["columns"].items()},
        primary_key=tuple(
            column
            for constraint in node.get("constraints", [])
            if constraint["type"] == "primary_key"
            for column in constraint["columns"]
        ),
        materialized=node["config"].get("materialized", "seed"),
        keeps_history=node["config"].get("full_refresh") is False,
        language=node.get("language", "sql"),
        raw_sql=node.get("raw_code", ""),
        depends_on=tuple(node.get("depends_on", {}).get("nodes", ())),
        has_contract=bool(node["config"].get("contract", {}).get("enforced")),
        unversioned=node.get("name") or node["alias"],
        version=str(node.get("version") or ""),
        deprecated=str(deprecated) if deprecated else None,
    )


def _column(column: Mapping[str, Any]) -> Column:
    return Column(
        name=column["name"],
        data_type=column.get("data_type") or "",
        description=column["description"],
        meta=column.get("config", {}).get("meta", {}),
        doc_blocks=tuple(block.rsplit(".", 1)[-1] for block in column.get("doc_blocks", ())),
        is_required=any(constraint["type"] == "not_null" for constraint in column.get("constraints", ())),
    )


def _test(node: Mapping[str, Any]) -> DataTest:
    declared = node.get("test_metadata") or {}
    return DataTest(
        name=node["name"],
        kind=declared.get("name", ""),
        column=node.get("column_name"),
        arguments=declared.get("kwargs", {}),
        attached=node.get("attached_node"),
        depends_on=tuple(node["depends_on"]["nodes"]),
        file=node.get("original_file_path", ""),
        meta=node.get("config", {}).get("meta", {}),
    )
