"""Columns of an asset as Dagster shows them: names, types, meaning, class of personal data, and what each is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from governance.access import personal_class
from governance.lineage import Graph, upstream_sources
from lendloop.project import meaning_of

MOST_NAMED = 6
_NO_ASSET = "raw_meta."
"""What a pass says of itself is no asset: a link to it would lead nowhere."""


def column_metadata(
    graph: Graph, table: str, declared: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Metadata of a table's columns and their lineage, for its definition and its materialisations alike.

    The open-source UI draws no picture of `dagster/column_lineage`: what a column is made of is said with its meaning
    under Columns, and `lineage` is a table with links. `declared` is what dbt's YAML says of the columns.
    """
    columns = {name: f"{table}.{name}" for name in graph.tables[table].columns}
    return {
        "dagster/column_schema": dg.TableSchema(
            [_column(graph, name, ref, (declared or {}).get(name, {})) for name, ref in columns.items()]
        ),
        "dagster/column_lineage": dg.TableColumnLineage(
            {
                name: [
                    dg.TableColumnDep(dg.AssetKey(parent.split(".")[:-1]), parent.rpartition(".")[2])
                    for parent in graph.parents(ref)
                    if not parent.startswith(_NO_ASSET)
                ]
                for name, ref in columns.items()
            }
        ),
        "lineage": dg.MetadataValue.md(_table(graph, columns)),
    }


def _column(graph: Graph, name: str, ref: str, declared: Mapping[str, Any]) -> dg.TableColumn:
    meaning = meaning_of(declared.get("description") or "")
    term = declared.get("config", {}).get("meta", {}).get("term")
    made_of = _listed([f"{parent} ({use.kind.name.lower()})" for parent, use in sorted(graph.parents(ref).items())])
    return dg.TableColumn(
        name,
        declared.get("data_type") or "",
        description="\n\n".join(part for part in (meaning, f"Made of {made_of}." if made_of else "") if part) or None,
        tags={"personal_data": personal_class(graph, ref)} | ({"term": term} if term else {}),
    )


def _table(graph: Graph, columns: Mapping[str, str]) -> str:
    lines = ["| column | made of | from the sources' fields | makes |", "|---|---|---|---|"]
    for name, ref in columns.items():
        made_of = _listed([_linked(parent) for parent in sorted(graph.parents(ref))])
        sources = _listed([_linked(source) for source in upstream_sources(graph, ref)])
        makes = _listed([_linked(child) for child in sorted(graph.made_into(ref))])
        lines.append(f"| {name} | {made_of} | {sources} | {makes} |")
    return "\n".join(lines)


def _linked(ref: str) -> str:
    return ref if ref.startswith(_NO_ASSET) else f"[{ref}](/assets/{'/'.join(ref.split('.')[:-1])})"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
