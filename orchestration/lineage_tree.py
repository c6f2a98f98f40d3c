"""A column's lineage on a terminal: a tree up to the sources, a tree down to who reads it; JSON for scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.markup import escape
from rich.tree import Tree

from governance.access import personal_class
from governance.lineage import Graph, downstream, is_source, upstream, upstream_sources
from governance.sqltrace import Leaves, Use, Way
from orchestration.screen import console, show_record

Step = Callable[[str], Mapping[str, Use]]


def show_lineage(graph: Graph, column: str, *, up: bool, down: bool, as_json: bool) -> None:
    """Print what a column is made of, and what is made of it. Raises KeyError for a column that is not there."""
    if as_json:
        show_record(lineage_record(graph, column, up=up, down=down), as_json=True)
        return
    table = graph.tables[column.rpartition(".")[0]]
    if up:
        tree = Tree(f"[bold]{escape(column)}[/] is made of")
        _grow(tree, graph, column, graph.parents, {column})
        _show(tree, f"{column} is made of nothing: it comes from a source, or is written down")
        if table.rows:
            rows = Tree(f"[bold]{escape(table.key)}[/] has the rows that these decide")
            _list_rows(rows, table.rows.items())
            console.print(rows)
    if down:
        tree = Tree(f"[bold]{escape(column)}[/] makes")
        _grow(tree, graph, column, graph.made_into, {column})
        _show(tree, f"{column} makes nothing: no column, audience or alert takes its value")
        if decided := graph.decides(column):
            rows = Tree(f"[bold]{escape(column)}[/] decides which rows are in")
            _list_rows(rows, decided.items())
            console.print(rows)


def _show(tree: Tree, otherwise: str) -> None:
    console.print(tree if tree.children else otherwise)


def _grow(tree: Tree, graph: Graph, column: str, step: Step, shown: set[str]) -> None:
    """Add every next column once with all that is behind it; where it is met again, only its name."""
    for ref, use in sorted(step(column).items()):
        again = ref in shown and bool(step(ref))
        branch = tree.add(_label(graph, ref, use) + (" [dim]… above[/]" if again else ""))
        if not again:
            shown.add(ref)
            _grow(branch, graph, ref, step, shown)


def _label(graph: Graph, ref: str, use: Use) -> str:
    label = f"[bold cyan]{escape(ref)}[/]" if is_source(graph, ref) else escape(ref)
    notes = [_how(use)]
    if (found := personal_class(graph, ref)) != "none":
        notes.append(found)
    return f"{label} [dim]({', '.join(notes)})[/]"


def _how(use: Use) -> str:
    named = use.kind.name.lower()
    if use.leaves is Leaves.HASH:
        return f"{named}, hashed"
    return named


def _list_rows(tree: Tree, rows: Iterable[tuple[str, frozenset[Way]]]) -> None:
    for name, ways in sorted(rows):
        tree.add(f"{escape(name)} [dim]({', '.join(sorted(ways))})[/]")


def lineage_record(graph: Graph, column: str, *, up: bool, down: bool) -> dict[str, Any]:
    """The same as data. `edges` are single steps, each with the file that takes it; `made_of` and `makes` are whole ways."""
    table = graph.tables[column.rpartition(".")[0]]
    record: dict[str, Any] = {"column": column, "class": personal_class(graph, column)}
    edges: list[dict[str, str]] = []
    if up:
        found = upstream(graph, column)
        record["sources"] = upstream_sources(graph, column)
        record["made_of"] = _ways(found)
        record["rows_decided_by"] = {ref: sorted(ways) for ref, ways in sorted(table.rows.items())}
        for ref in (column, *sorted(found)):
            edges += [_edge(graph, parent, ref, use) for parent, use in sorted(graph.parents(ref).items())]
    if down:
        found = downstream(graph, column)
        record["makes"] = _ways(found)
        record["decides_rows_of"] = {name: sorted(ways) for name, ways in sorted(graph.decides(column).items())}
        for ref in (column, *sorted(found)):
            edges += [_edge(graph, ref, child, use) for child, use in sorted(graph.made_into(ref).items())]
    return record | {"edges": edges}


def _ways(found: Mapping[str, Use]) -> list[dict[str, str]]:
    return [
        {"column": ref, "kind": use.kind.name.lower(), "leaves": use.leaves.name.lower()}
        for ref, use in sorted(found.items())
    ]


def _edge(graph: Graph, parent: str, child: str, use: Use) -> dict[str, str]:
    file = graph.tables[child.rpartition(".")[0]].file
    return {"from": parent, "to": child, "kind": use.kind.name.lower(), "leaves": use.leaves.name.lower(), "file": file}
