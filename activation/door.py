"""Which columns a definition reads and hands on, and whether it may: judged along their lineage.

Belongs here: an audience or a rule as an end of the graph of columns, and what it may not use. Not here: which SQL is
allowed at all (`sqlguard`), reading files, sending.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from activation.sqlguard import READABLE_SCHEMAS, GuardedQuery, ZoneError
from governance.access import CLASSES, carried_classes, personal_class, told, way_from_source
from governance.lineage import Column, Graph, Table
from governance.manifest import day_of
from governance.sqltrace import COMPUTED, JUDGED, Leaves, Traced, Use, trace
from lendloop.errors import ConfigurationError

if TYPE_CHECKING:
    from activation.audiences.definition import Audience
    from activation.rules.model import Rule

_OF_CONTACT = {
    "address": "contacts.customer_contact.address",
    "first_name": "contacts.customer_profile.first_name",
    "last_name": "contacts.customer_profile.last_name",
    "language": "contacts.customer_profile.language",
    "market": "contacts.customer_profile.market",
}
"""Where `contact.<column>` of a payload comes from."""


@dataclass(frozen=True)
class Door:
    """What a definition is held against: the graph of columns, and the day that deprecations are counted by."""

    graph: Graph
    on: date


def audience_table(audience: Audience, graph: Graph, file: str = "") -> Table:
    """An audience as the end of the graph: `person_key` and its payload. Raises ConfigurationError as `trace` does."""
    traced = _traced(audience.query, graph, f"{file or audience.name}: sql")
    columns = {"person_key": traced.columns["person_key"]}
    for trait, named in audience.payload.items():
        area, _, name = named.rpartition(".")
        if area == "contact":
            columns[trait] = {_OF_CONTACT[name]: Use()}
        elif area == "offer" and audience.offer:
            made_of = {
                "amount": (audience.offer.of, COMPUTED),
                "currency": (audience.offer.currency, Use()),
                "offer_id": ("person_key", JUDGED),
            }
            if name in made_of:
                column, step = made_of[name]
                columns[trait] = {ref: use.then(step) for ref, use in traced.columns[column].items()}
            else:
                columns[trait] = {"trusted.dim_market.business_date": COMPUTED}
        else:
            columns[trait] = traced.columns[name]
    return _end(f"audiences.{audience.name}", file, columns, traced)


def rule_table(rule: Rule, graph: Graph, file: str = "") -> Table:
    """A rule as the end of the graph: the columns of its findings. Raises ConfigurationError as `trace` does."""
    traced = _traced(rule.guarded, graph, f"{file or rule.rule}: sql")
    return _end(f"rules.{rule.rule}", file, traced.columns, traced)


def _end(key: str, file: str, columns: Mapping[str, dict[str, Use]], traced: Traced) -> Table:
    rows = {ref: frozenset(ways) for ref, ways in traced.rows.items()}
    return Table(key, file, {name: Column(uses) for name, uses in columns.items()}, rows)


def _traced(query: GuardedQuery, graph: Graph, where: str) -> Traced:
    for table in query.tables:
        if table not in graph.tables:
            zone, _, name = table.partition(".")
            if draft := graph.tables.get(f"gray.{name}"):
                raise ConfigurationError(f"{where}: {name} is not in {zone}: it is gray, {_told_table(graph, draft)}")
            raise ConfigurationError(f"{where}: no such table: {table}")
    traced = trace(query.sql, graph.schema(*READABLE_SCHEMAS), where)
    if unread := sorted(query.names - traced.names):
        raise ConfigurationError(
            f"{where}: {unread[0]} can't be followed to where it comes from; write it more plainly"
        )
    return traced


def judge_audience(audience: Audience, door: Door, file: str) -> list[str]:
    """What is wrong with the columns an audience uses, one line each; each names the file, the column and the way."""
    end = audience_table(audience, door.graph, file)
    faults = [*_judge_reading(end, door)]
    for trait, column in end.columns.items():
        if trait == "person_key":
            continue
        for name in audience.destinations.names():
            may_have = getattr(audience.destinations, name).may_have
            for found, ref in carried_classes(door.graph, column.uses).items():
                if found not in may_have:
                    way = told([*way_from_source(door.graph, ref), f"{end.key}.{trait}"])
                    faults.append(
                        f"{end.file}: payload.{trait}: {name} may not have personal data of class {found}: {way}"
                    )
    return faults


def judge_rule(rule: Rule, door: Door, file: str) -> list[str]:
    """What is wrong with the columns a rule uses, one line each; each names the file, the column and the way.

    Messages name an entity by its key: a key may be a pseudonym, though none made from an address or a name.
    """
    end = rule_table(rule, door.graph, file)
    faults = [*_judge_reading(end, door)]
    for name, column in end.columns.items():
        classes = carried_classes(door.graph, column.uses)
        if name in rule.entity and set(classes) <= {"pseudonym"}:
            carried = [ref for ref, use in sorted(column.uses.items()) if use.leaves is not Leaves.NOTHING]
            hashes = [ref for ref in carried if _is_hash_of_contact(door.graph, ref)]
            classes = {"pseudonym": hashes[0]} if hashes else {}
        for found, ref in classes.items():
            way = told([*way_from_source(door.graph, ref), f"{end.key}.{name}"])
            faults.append(f"{file}: sql: {name}: a message may not carry personal data of class {found}: {way}")
    return faults


def _judge_reading(end: Table, door: Door) -> Iterator[str]:
    """Faults of every column that is read, for whatever purpose."""
    graph = door.graph
    ends = [(ref, f"{end.key}.{name}") for name, column in end.columns.items() for ref in sorted(column.uses)]
    ends += [(ref, f"{end.key} ({', '.join(sorted(ways))})") for ref, ways in sorted(end.rows.items())]
    seen: set[str] = set()
    for ref, last in ends:
        if ref in seen:
            continue
        seen.add(ref)
        table = graph.tables[ref.rpartition(".")[0]]
        for what, deprecated in ((table.key, table.deprecated), (ref, graph.column(ref).deprecated)):
            if deprecated and _is_over(deprecated, door.on):
                yield f"{end.file}: {what} is deprecated ({deprecated}): {told([*way_from_source(graph, ref), last])}"
        if ref in end.rows and (found := personal_class(graph, ref)) not in ("none", "pseudonym"):
            way = told([*way_from_source(graph, ref), last])
            yield f"{end.file}: sql: personal data of class {found} may not decide which rows there are: {way}"


def _is_over(deprecated: str, on: date) -> bool:
    """A day that is yet to come still lets it be used; anything else does not."""
    day = day_of(deprecated)
    return day is None or day <= on


def _is_hash_of_contact(graph: Graph, ref: str) -> bool:
    """Whether a pseudonym is the hash of something that reaches or names a person."""
    open_ends = [(ref, Leaves.VALUE)]
    seen = set()
    while open_ends:
        one, leaves = open_ends.pop()
        for parent, use in graph.column(one).uses.items():
            left = min(leaves, use.leaves)
            if left is Leaves.NOTHING or (parent, left) in seen:
                continue
            seen.add((parent, left))
            if personal_class(graph, parent) not in ("none", "pseudonym"):
                return True
            open_ends.append((parent, left))
    return False


def with_way(error: ZoneError, sql: str, key: str, graph: Graph) -> ConfigurationError:
    """The refusal of a table outside the zones, with the way from the source's field to it."""
    table = graph.tables.get(error.table)
    if table is None:
        return ConfigurationError(str(error))
    try:
        read = [ref for ref in trace(sql, graph.schema(), key).read() if ref.startswith(table.key + ".")]
    except ConfigurationError:
        read = []
    return ConfigurationError(f"{error}: {_told_table(graph, table, read)} -> {key}")


def _told_table(graph: Graph, table: Table, read: list[str] | None = None) -> str:
    """The way to the column of a table that leads closest to a person, of those that are read."""
    refs = sorted(read or [f"{table.key}.{name}" for name in table.columns])
    return told(way_from_source(graph, max(refs, key=lambda ref: CLASSES.index(personal_class(graph, ref)))))
