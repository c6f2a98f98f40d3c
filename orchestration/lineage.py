"""The definitions held against the graph of columns, the graph with them at its ends, and a column's ways as a tree.

Belongs here: putting together what governance and activation say. Not here: reading SQL, judging.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from activation.audiences import Audience, load_audiences
from activation.door import Door, audience_table, rule_table
from activation.rules import Rule, load_rules
from governance.lineage import Column, Graph, Table, load_graph
from governance.sqltrace import COMPUTED
from ingestion.tables import TABLES
from lendloop.settings import Settings

OUTBOX = "alerts.outbox"


def open_door(settings: Settings) -> Door:
    """What definitions are held against today. Raises PermanentError when the dbt project does not compile."""
    return Door(load_graph(settings.home), datetime.now(UTC).date())


@dataclass(frozen=True)
class Definitions:
    """The files of business people that passed the door, and the graph of columns that ends in them."""

    audiences: list[Audience]
    rules: list[Rule]
    graph: Graph

    @property
    def owners(self) -> dict[str, str]:
        """The team of each, by its name as an end of the graph."""
        return {f"audiences.{one.audience}": one.owner for one in self.audiences} | {
            f"rules.{one.rule}": one.owner for one in self.rules
        }


def load_definitions(settings: Settings, *, held: bool = True) -> Definitions:
    """Every audience and rule, with lineage from the fields of the sources to what they send.

    Without `held` they are only read, for who asks what reads a dataset, whether it may or not. Raises ConfigurationError that names every file and column at fault.
    """
    door = open_door(settings)
    audiences = load_audiences(settings.definitions / "audiences", door if held else None)
    rules = load_rules(settings.definitions, door if held else None)
    return Definitions(audiences, rules, whole_graph(door.graph, audiences, rules))


def whole_graph(graph: Graph, audiences: list[Audience], rules: list[Rule]) -> Graph:
    """From every field of every source to each audience, each rule and the alerts that it makes."""
    fields = [
        Table(raw.key, raw.file, {**dict.fromkeys(table.columns, Column()), **raw.columns})
        for tables in TABLES.values()
        for table in tables
        if (raw := graph.tables.get(f"{table.schema}.{table.name}"))
    ]
    ends = [audience_table(one, graph, f"definitions/audiences/{one.audience}.yaml") for one in audiences]
    found = [rule_table(one, graph, f"definitions/rules/{one.rule}.yaml") for one in rules]
    outbox = Table(
        OUTBOX,
        "",
        {
            rule.rule: Column({f"{table.key}.{name}": COMPUTED for name in table.columns})
            for rule, table in zip(rules, found, strict=True)
        },
    )
    return graph.with_tables(*fields, *ends, *found, outbox)
