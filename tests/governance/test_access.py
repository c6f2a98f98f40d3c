"""Classes of personal data along the lineage: a column can't be marked for less than it carries."""

from __future__ import annotations

from dataclasses import replace

import pytest

from governance.access import carried_classes, check_classes, judge_classes, personal_class, told, way_from_source
from governance.lineage import Column, Graph, Table
from governance.sqltrace import trace
from lendloop.errors import ConfigurationError

RAW = Table(
    "raw_crm.contacts",
    "models/sources.yml",
    {
        "phone": Column(declared="contact"),
        "name": Column(declared="name"),
        "id": Column(declared="pseudonym"),
        "amount": Column(),
    },
)


def project(sql: str, **declared: Column) -> Graph:
    """A model of trusted upon a view of gray upon raw."""
    graph = Graph({RAW.key: RAW})
    for key, text in (("gray.stg", "select phone, name, id, amount from raw_crm.contacts"), ("trusted.dim", sql)):
        said = declared if key == "trusted.dim" else {}
        columns = {
            name: replace(said.get(name, Column()), uses=uses)
            for name, uses in trace(text, graph.schema(), key).columns.items()
        }
        graph = graph.with_tables(Table(key, f"models/{key}.sql", columns))
    return graph


@pytest.mark.parametrize(
    ("expression", "carried"),
    [
        ("phone", "contact"),
        ("lower(phone)", "contact"),
        ("phone || name", "name"),
        ("min(phone)", "contact"),
        ("case when amount > 1 then phone end", "contact"),
        ("left(phone, 4)", "contact"),
        ("md5(phone)", "pseudonym"),
        ("md5(cast(amount as varchar))", "none"),
        ("id", "pseudonym"),
        ("phone is not null", "none"),
        ("count(distinct phone)", "none"),
        ("sum(cast(phone as bigint))", "contact"),
        ("avg(cast(phone as bigint)) over (partition by id)", "contact"),
        ("2 * stddev_pop(cast(phone as bigint))", "contact"),
        ("sum(hash(phone))", "pseudonym"),
        ("sum(length(phone))", "none"),
        ("sum(case when phone = '1' then 1 end)", "none"),
        ("sum(amount)", "none"),
        ("amount", "none"),
    ],
)
def test_a_column_carries_the_class_of_what_leaves_with_it(expression: str, carried: str) -> None:
    assert personal_class(project(f"select {expression} as x from gray.stg"), "trusted.dim.x") == carried


def test_a_column_marked_for_less_than_it_carries_is_refused_with_the_whole_way() -> None:
    graph = project("select lower(phone) as code from gray.stg", code=Column(declared="none"))
    with pytest.raises(ConfigurationError) as refusal:
        check_classes(graph)
    assert str(refusal.value) == (
        "models/trusted.dim.sql: trusted.dim.code is marked none and carries contact:"
        " raw_crm.contacts.phone -> gray.stg.phone -> trusted.dim.code; mark it so, or say in `pii_lowered` why not"
    )


@pytest.mark.parametrize(
    "declared",
    [
        Column(declared="contact"),
        Column(declared="name"),
        Column(declared="none", lowered_because="only the network's prefix is kept"),
        Column(),
    ],
)
def test_a_column_passes_that_is_marked_so_or_says_why_not(declared: Column) -> None:
    assert judge_classes(project("select phone as x from gray.stg", x=declared)) == []


def test_a_lowered_class_holds_further_down() -> None:
    graph = project("select left(phone, 4) as x from gray.stg", x=Column(declared="none", lowered_because="a prefix"))
    assert personal_class(graph, "trusted.dim.x") == "none"
    assert carried_classes(graph, graph.column("trusted.dim.x").uses) == {"contact": "gray.stg.phone"}


def test_an_unknown_class_is_refused() -> None:
    [fault] = judge_classes(project("select id as x from gray.stg", x=Column(declared="secret")))
    assert "pii is 'secret': one of none, pseudonym, contact, name" in fault


def test_the_way_told_is_the_one_that_leads_closest_to_a_person() -> None:
    graph = project("select id || name as x from gray.stg")
    assert told(way_from_source(graph, "trusted.dim.x")) == "raw_crm.contacts.name -> gray.stg.name -> trusted.dim.x"


def test_the_projects_columns_are_marked_for_what_they_carry(graph: Graph) -> None:
    check_classes(graph)
    marked = {ref: personal_class(graph, ref) for ref in graph.refs()}
    assert marked["gray.int_contact_point.value"] == "contact"
    assert marked["gray.int_contact_point.value_hash"] == "pseudonym"
    assert marked["trusted.dim_customer.has_phone"] == "none"
