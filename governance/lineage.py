"""The graph of columns: what each is made of, from a field of a source to what people are shown, and what decides rows.

Belongs here: making the graph from dbt's project and asking it. Not here: reading one statement (`sqltrace`), who may
use which column (`access`).
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from governance import sqltrace
from governance.sqltrace import COMPUTED, COUNTED, HASHED, JUDGED, PICKED, Traced, Use, Uses, Way, trace
from lendloop.errors import ConfigurationError
from lendloop.home import DBT_PROJECT, Home
from lendloop.project import compiled_models, load_manifest, project_fingerprint

STEPS: dict[str, Use] = {
    "identity": Use(),
    "transform": COMPUTED,
    "aggregate": PICKED,
    "hash": HASHED,
    "test": JUDGED,
    "count": COUNTED,
}
"""What `made_of` in a column's meta may say, for a model whose SQL can't be read since it is Python."""


@dataclass(frozen=True)
class Column:
    """`uses`: what it is made of. `declared`: its class of personal data as meta says it, None where meta says none."""

    uses: Uses = field(default_factory=dict)
    declared: str | None = None
    lowered_because: str | None = None
    """Why it leads less close to a person than what it is made of."""
    deprecated: str | None = None
    """Why it goes, or the day it goes first."""


@dataclass(frozen=True)
class Table:
    """A table of any zone, or a definition that reads some: `audiences.<name>`, `rules.<name>`.

    `file` is where it is written, relative to the dbt project. `rows`: what decides which rows it has.
    """

    key: str
    file: str
    columns: Mapping[str, Column]
    rows: Mapping[str, frozenset[Way]] = field(default_factory=dict)
    deprecated: str | None = None

    @property
    def zone(self) -> str:
        return self.key.partition(".")[0]


@dataclass(frozen=True)
class Graph:
    """Tables by `schema.table`. A column is `schema.table.column`."""

    tables: Mapping[str, Table]

    def column(self, ref: str) -> Column:
        """Raises KeyError for a column that is not there."""
        table, _, name = ref.rpartition(".")
        return self.tables[table].columns[name]

    def __contains__(self, ref: object) -> bool:
        table, _, name = str(ref).rpartition(".")
        return table in self.tables and name in self.tables[table].columns

    def refs(self) -> Iterator[str]:
        """Every column there is."""
        return (f"{table.key}.{name}" for table in self.tables.values() for name in table.columns)

    def parents(self, ref: str) -> Mapping[str, Use]:
        """What a column is made of, one step away; for a constant or a count of rows, what decides which rows there are."""
        table = self.tables[ref.rpartition(".")[0]]
        return self.column(ref).uses or dict.fromkeys(table.rows, COUNTED)

    @cached_property
    def _made_into(self) -> dict[str, dict[str, Use]]:
        reverse: dict[str, dict[str, Use]] = {}
        for ref in self.refs():
            for parent, use in self.parents(ref).items():
                reverse.setdefault(parent, {})[ref] = use
        return reverse

    @cached_property
    def _decides(self) -> dict[str, dict[str, frozenset[Way]]]:
        reverse: dict[str, dict[str, frozenset[Way]]] = {}
        for table in self.tables.values():
            for ref, ways in table.rows.items():
                reverse.setdefault(ref, {})[table.key] = ways
        return reverse

    def made_into(self, ref: str) -> Mapping[str, Use]:
        """The columns that are made of this one, one step away."""
        return self._made_into.get(ref, {})

    def decides(self, ref: str) -> Mapping[str, frozenset[Way]]:
        """The tables whose rows this column decides without being in them."""
        return self._decides.get(ref, {})

    def schema(self, *zones: str) -> dict[str, list[str]]:
        """Columns by table, of some zones or of all."""
        return {key: list(table.columns) for key, table in self.tables.items() if not zones or table.zone in zones}

    def with_tables(self, *tables: Table) -> Graph:
        """The graph and these at its ends."""
        return Graph({**self.tables, **{table.key: table for table in tables}})

    def find(self, name: str) -> str:
        """The column that a name means: whole, or its end as long as only one ends so (`m_loan.client_id`).

        Raises ConfigurationError with the nearest names otherwise.
        """
        wanted = name.strip().strip('"').lower()
        if wanted in self:
            return wanted
        ends = [ref for ref in self.refs() if ref.endswith("." + wanted)]
        if len(ends) == 1:
            return ends[0]
        if ends:
            raise ConfigurationError(f"{name} may be {_listed(ends)}: give more of the name")
        raise ConfigurationError(f"no column {name}{self._nearest(wanted)}")

    def _nearest(self, wanted: str) -> str:
        whole = {ref: ref for ref in self.refs()}
        parts = wanted.count(".") + 1
        ends = {ref: ".".join(ref.split(".")[-parts:]) for ref in whole} if parts < 3 else whole
        near = set(difflib.get_close_matches(wanted, set(ends.values()), n=4, cutoff=0.6))
        found = [ref for ref, end in ends.items() if end in near]
        found.sort(key=lambda ref: -difflib.SequenceMatcher(None, wanted, ends[ref]).ratio())
        return f"; nearest: {_listed(found)}" if found else ""


def upstream(graph: Graph, column: str) -> dict[str, Use]:
    """Every column that this one is made of, near and far, each with how. Raises KeyError for no column.

    A column that only decides rows is not in it, unless nothing else makes it (a count of rows).
    """
    found: dict[str, Use] = {}
    open_ends = dict(graph.parents(column))
    while open_ends:
        ref, use = open_ends.popitem()
        known = found.get(ref)
        found[ref] = use if known is None else known.or_else(use)
        if known != found[ref]:
            for parent, step in graph.parents(ref).items():
                _widen(open_ends, parent, step.then(found[ref]))
    return found


def upstream_sources(graph: Graph, column: str) -> list[str]:
    """The fields of sources, seeds and the clock that a column is made of, by name. Raises KeyError for no column."""
    found = upstream(graph, column) or {column: Use()}
    return sorted(ref for ref in found if is_source(graph, ref))


def downstream(graph: Graph, column: str) -> dict[str, Use]:
    """Every column that is made of this one, near and far, each with how. Raises KeyError for no column."""
    graph.column(column)
    found: dict[str, Use] = {}
    open_ends = dict(graph.made_into(column))
    while open_ends:
        ref, use = open_ends.popitem()
        known = found.get(ref)
        found[ref] = use if known is None else known.or_else(use)
        if known != found[ref]:
            for child, step in graph.made_into(ref).items():
                _widen(open_ends, child, found[ref].then(step))
    return found


def _widen(open_ends: dict[str, Use], ref: str, use: Use) -> None:
    open_ends[ref] = open_ends[ref].or_else(use) if ref in open_ends else use


def is_source(graph: Graph, ref: str) -> bool:
    """Whether a column is made of nothing in the warehouse: a field of raw, or of a seed."""
    table = graph.tables[ref.rpartition(".")[0]]
    return table.zone.startswith("raw_") or table.file.endswith(".csv")


def path_to(graph: Graph, column: str, ancestor: str) -> list[str]:
    """The shortest way from an ancestor to a column, both included, over values; empty when there is none."""
    ways = [[column]]
    seen = {column}
    while ways:
        way = ways.pop(0)
        if way[-1] == ancestor:
            return way[::-1]
        for parent in sorted(graph.parents(way[-1])):
            if parent not in seen:
                seen.add(parent)
                ways.append([*way, parent])
    return []


def load_graph(home: Home) -> Graph:
    """The graph of the dbt project, made anew only when a file of it changed.

    Raises PermanentError when the project does not compile, ConfigurationError when the SQL of a model can't be read.
    """
    kept = _of_process(_fingerprint())
    if not kept:
        graph = read_graph(home)
        if graph is None:
            graph = build_graph(load_manifest(home), compiled_models(home))
            keep_graph(home, graph)
        kept.append(graph)
    return kept[0]


@lru_cache(maxsize=2)
def _of_process(fingerprint: str) -> list[Graph]:
    """Where this process keeps the graph of a project, whichever home it was made in."""
    return []


_STORED = TypeAdapter(tuple[str, Graph])


def keep_graph(home: Home, graph: Graph) -> None:
    """Write the graph of the project as it is now beside its manifest."""
    file = home.dbt / "lineage.json"
    draft = file.with_suffix(f".{os.getpid()}.tmp")
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_bytes(_STORED.dump_json((_fingerprint(), graph)))
    os.replace(draft, file)


def read_graph(home: Home) -> Graph | None:
    """What was kept, or None when it is of another project, or made by other code."""
    try:
        key, graph = _STORED.validate_json((home.dbt / "lineage.json").read_bytes())
    except (OSError, ValidationError):
        return None
    return graph if key == _fingerprint() else None


def _fingerprint() -> str:
    digest = hashlib.md5(project_fingerprint().encode(), usedforsecurity=False)
    digest.update(version("sqlglot").encode())
    for module in (__file__, sqltrace.__file__):
        digest.update(Path(module).read_bytes())
    return digest.hexdigest()


def build_graph(manifest: Mapping[str, Any], compiled: Mapping[str, list[str]]) -> Graph:
    """The graph of a project. `compiled`: the SQL of each SQL model by id, in as many variants as it has.

    Raises ConfigurationError that names the file of a model whose SQL can't be read, or of a Python model that does not
    declare what its columns are made of.
    """
    nodes = {
        unique_id: node for unique_id, node in manifest["nodes"].items() if node["resource_type"] in ("model", "seed")
    }
    tables: dict[str, Table] = {}
    for unique_id in _in_order(nodes):
        node = nodes[unique_id]
        key = f"{node['schema']}.{node['alias']}"
        known = {table.key: list(table.columns) for table in tables.values() if not table.zone.startswith("raw_")}
        if node["resource_type"] == "seed":
            traced = Traced({name: {} for name in _header(node)})
        elif node["language"] == "python":
            traced = _declared(node, tables)
        else:
            traced = Traced()
            for sql in compiled[unique_id]:
                _join(traced, trace(sql, known, node["original_file_path"]), key)
                known[key] = list(traced.columns)
        tables[key] = _table(node, key, traced)
        for ref in traced.read():
            table, _, column = ref.rpartition(".")
            if table.startswith("raw_"):
                _add_field(tables, table, column)
    for source in manifest["sources"].values():
        _declare_fields(tables, source)
    return Graph(tables)


def _in_order(nodes: Mapping[str, Any]) -> Iterator[str]:
    """Parents before children."""
    done: set[str] = set()

    def visit(unique_id: str) -> Iterator[str]:
        if unique_id in nodes and unique_id not in done:
            done.add(unique_id)
            for parent in nodes[unique_id].get("depends_on", {}).get("nodes", []):
                yield from visit(parent)
            yield unique_id

    for unique_id in nodes:
        yield from visit(unique_id)


def _join(whole: Traced, part: Traced, key: str) -> None:
    """Two variants of one model: a column is made of what either makes it of, but not of itself."""
    for name, uses in part.columns.items():
        column = whole.columns.setdefault(name, {})
        for ref, use in uses.items():
            if not ref.startswith(key + "."):
                column[ref] = column[ref].or_else(use) if ref in column else use
    for ref, ways in part.rows.items():
        if not ref.startswith(key + "."):
            whole.rows.setdefault(ref, set()).update(ways)


def _declared(node: Mapping[str, Any], tables: Mapping[str, Table]) -> Traced:
    """What a Python model says of itself: `made_of: {gray.table.column: step}` in the meta of each column."""
    where = (node.get("patch_path") or node["original_file_path"]).split("://")[-1]
    traced = Traced()
    for name, column in node["columns"].items():
        made_of = column["config"].get("meta", {}).get("made_of")
        if not isinstance(made_of, dict) or not set(made_of.values()) <= set(STEPS):
            raise ConfigurationError(
                f"{where}: {node['name']}.{name}: a column of a Python model says `made_of` in its meta:"
                f" schema.table.column, each with one of {', '.join(STEPS)}; {{}} for none"
            )
        if unknown := [ref for ref in made_of if ref not in Graph(tables)]:
            raise ConfigurationError(f"{where}: {node['name']}.{name}: made_of: no column {unknown[0]}")
        traced.columns[name] = {ref: STEPS[step] for ref, step in made_of.items()}
    if not traced.columns:
        raise ConfigurationError(f"{where}: {node['name']}: a Python model declares its columns, each with `made_of`")
    return traced


def _table(node: Mapping[str, Any], key: str, traced: Traced) -> Table:
    metas = {name: column["config"].get("meta", {}) for name, column in node["columns"].items()}
    return Table(
        key=key,
        file=node["original_file_path"],
        columns={name: _column(uses, metas.get(name, {})) for name, uses in traced.columns.items()},
        rows={ref: frozenset(ways) for ref, ways in traced.rows.items()},
        deprecated=_text(node["config"].get("meta", {}).get("deprecated") or node.get("deprecation_date")),
    )


def _column(uses: Uses, meta: Mapping[str, Any]) -> Column:
    return Column(uses, _text(meta.get("pii")), _text(meta.get("pii_lowered")), _text(meta.get("deprecated")))


def _text(value: Any) -> str | None:
    return None if value is None or value is False else str(value)


def _header(node: Mapping[str, Any]) -> list[str]:
    """The columns of a seed: its file's first line."""
    with open(DBT_PROJECT / node["original_file_path"], encoding="utf-8") as file:
        return [name.strip().strip('"').lower() for name in file.readline().split(",")]


def _add_field(tables: dict[str, Table], table: str, column: str) -> None:
    known = tables.get(table) or Table(table, "models/sources.yml", {})
    tables[table] = replace(known, columns={column: Column(), **known.columns})


def _declare_fields(tables: dict[str, Table], source: Mapping[str, Any]) -> None:
    key = f"{source['schema']}.{source['identifier']}"
    known = tables.get(key) or Table(key, source["original_file_path"], {})
    declared = {name: _column({}, column["config"].get("meta", {})) for name, column in source["columns"].items()}
    tables[key] = replace(known, file=source["original_file_path"], columns={**known.columns, **declared})


def _listed(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
