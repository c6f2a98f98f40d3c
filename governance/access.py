"""What of people a column leads to, over its lineage: classes of personal data, and the way they came, told.

Belongs here: judging columns of the graph. Not here: making the graph (`lineage`), what a definition may use
(`activation.door`).
"""

from __future__ import annotations

from collections.abc import Mapping

from governance.lineage import Graph
from governance.registry import PersonalData
from governance.sqltrace import Leaves, Use
from lendloop.errors import ConfigurationError

CLASSES = tuple(str(one) for one in PersonalData)
_OF_HASH = CLASSES.index(PersonalData.PSEUDONYM)


def personal_class(graph: Graph, ref: str) -> str:
    """A column's class: as it is marked, or what it carries from the columns it is made of."""
    return CLASSES[_rank(graph, ref, {})]


def carried_classes(graph: Graph, uses: Mapping[str, Use]) -> dict[str, str]:
    """The classes of what can be read off something made so, each with a column that brings it; without `none`."""
    known: dict[str, int] = {}
    classes: dict[str, str] = {}
    for ref in sorted(uses):
        if rank := _carried(graph, ref, uses[ref], known):
            classes.setdefault(CLASSES[rank], ref)
    return classes


def way_from_source(graph: Graph, ref: str) -> list[str]:
    """From a field of a source to a column, both included: at each step the parent that leads closest to a person."""
    known: dict[str, int] = {}
    way = [ref]
    while uses := graph.parents(way[0]):
        way.insert(
            0,
            max(sorted(uses), key=lambda parent: (_carried(graph, parent, uses[parent], known), uses[parent].leaves)),
        )
    return way


def told(way: list[str]) -> str:
    """A way as it is written in a message."""
    return " -> ".join(way)


def judge_classes(graph: Graph) -> list[str]:
    """One line for each column that carries more than it is marked for, with the way it comes.

    A hash carries a pseudonym at most, and a truth or a count nothing; a sum may be of one row. What else makes a value
    harmless is said by the column, in `pii_lowered` of its meta.
    """
    known: dict[str, int] = {}
    faults = []
    for table in graph.tables.values():
        for name, column in table.columns.items():
            ref = f"{table.key}.{name}"
            if column.declared is None or column.lowered_because:
                continue
            if column.declared not in CLASSES:
                faults.append(f"{table.file}: {ref}: pii is {column.declared!r}: one of {', '.join(CLASSES)}")
                continue
            ranks = {parent: _carried(graph, parent, use, known) for parent, use in column.uses.items()}
            worst = max(sorted(ranks), key=lambda parent: ranks[parent], default=ref)
            if ranks.get(worst, 0) > CLASSES.index(column.declared):
                faults.append(
                    f"{table.file}: {ref} is marked {column.declared} and carries {CLASSES[ranks[worst]]}:"
                    f" {told([*way_from_source(graph, worst), ref])}; mark it so, or say in `pii_lowered` why not"
                )
    return faults


def check_classes(graph: Graph) -> None:
    """Raise ConfigurationError with one line for each column that is marked for less than it carries."""
    if faults := judge_classes(graph):
        raise ConfigurationError("\n".join(faults))


def _rank(graph: Graph, ref: str, known: dict[str, int]) -> int:
    if ref not in known:
        column = graph.column(ref)
        if column.declared in CLASSES:
            known[ref] = CLASSES.index(str(column.declared))
        else:
            known[ref] = max((_carried(graph, parent, use, known) for parent, use in column.uses.items()), default=0)
    return known[ref]


def _carried(graph: Graph, parent: str, use: Use, known: dict[str, int]) -> int:
    if use.leaves is Leaves.NOTHING:
        return 0
    rank = _rank(graph, parent, known)
    return min(rank, _OF_HASH) if use.leaves is Leaves.HASH else rank
