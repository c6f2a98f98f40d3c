"""One statement: what each column is made of, what of it leaves, and what only decides which rows there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.sqltrace import Kind, Leaves, Use, trace
from lendloop.errors import ConfigurationError

TABLES = {
    "trusted.loan": ["loan_id", "person_key", "amount", "closed_on"],
    "trusted.person": ["person_key", "phone", "born_on"],
}
SAME = "identity value"


def made_of(sql: str) -> dict[str, dict[str, str]]:
    return {
        name: {ref.removeprefix("trusted."): f"{use.kind.name} {use.leaves.name}".lower() for ref, use in uses.items()}
        for name, uses in trace(sql, TABLES, "x.sql").columns.items()
    }


def rows_of(sql: str) -> dict[str, str]:
    rows = trace(sql, TABLES, "x.sql").rows
    return {ref.removeprefix("trusted."): " ".join(sorted(ways)) for ref, ways in rows.items()}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("phone", {"person.phone": SAME}),
        ("cast(phone as bigint)", {"person.phone": SAME}),
        ("(phone)::varchar", {"person.phone": SAME}),
        ("lower(trim(phone))", {"person.phone": "transform value"}),
        ("phone || ''", {"person.phone": "transform value"}),
        ("coalesce(phone, 'none')", {"person.phone": "transform value"}),
        ("case when phone is null then 0 else 1 end", {"person.phone": "transform nothing"}),
        ("case when born_on > '2000-01-01' then phone end", {"person.born_on": "transform nothing", "person.phone": "transform value"}),
        ("case person_key when 'a' then phone end", {"person.person_key": "transform nothing", "person.phone": "transform value"}),
        ("if(phone is null, born_on, null)", {"person.phone": "transform nothing", "person.born_on": "transform value"}),
        ("phone like '23%' and born_on is not null", {"person.phone": "transform nothing", "person.born_on": "transform nothing"}),
        ("length(phone)", {"person.phone": "transform nothing"}),
        ("md5(phone)", {"person.phone": "transform hash"}),
        ("upper(sha256(phone))", {"person.phone": "transform hash"}),
        ("count(phone)", {"person.phone": "aggregate nothing"}),
        ("count(*) filter (where phone is null)", {"person.phone": "aggregate nothing"}),
        ("sum(length(phone))", {"person.phone": "aggregate nothing"}),
        ("max(phone)", {"person.phone": "aggregate value"}),
        ("string_agg(phone, ',')", {"person.phone": "aggregate value"}),
        ("arg_max(phone, born_on)", {"person.phone": "aggregate value", "person.born_on": "aggregate nothing"}),
        ("lag(phone) over (order by born_on)", {"person.phone": "transform value", "person.born_on": "transform nothing"}),
        ("row_number() over (partition by phone)", {"person.phone": "transform nothing"}),
        ("count(*) over w", {"person.born_on": "transform nothing"}),
        ("{'a': phone}", {"person.phone": "transform value"}),
        ("[phone][1]", {"person.phone": "transform value"}),
        ("list_transform([born_on], lambda phone: phone + 1)", {"person.born_on": "transform value"}),
        ("list_transform([1], lambda one: phone)", {"person.phone": "transform value"}),
        ("(select max(amount) from trusted.loan where loan.person_key = person.person_key)", {
            "loan.amount": "aggregate value", "loan.person_key": "transform nothing", "person.person_key": "transform nothing",
        }),
        ("exists (select 1 from trusted.loan where loan.person_key = person.person_key)", {
            "loan.person_key": "transform nothing", "person.person_key": "transform nothing",
        }),
        ("$limit", {}),
        ("1", {}),
    ],
)  # fmt: skip
def test_an_expression_is_made_of_what_it_reads(expression: str, expected: dict[str, str]) -> None:
    assert made_of(f"select {expression} as x from trusted.person window w as (order by born_on)") == {"x": expected}


@pytest.mark.parametrize(
    "sql",
    [
        "with a as (select phone as p from trusted.person), b as (select p as q from a) select q as x from b",
        "select x from (select phone from trusted.person) as inner_query(x)",
        "with a(x) as (select phone from trusted.person) select a.x from a",
        "with a as (select * from trusted.person) select phone as x from a",
        'select "Phone" as x from "TRUSTED"."Person"',
        'select other.phone as x from "warehouse"."trusted"."person" as other',
        "select reached.x from trusted.person, lateral (select person.phone as x) as reached",
        "select phone as x, x as y from trusted.person",
        "with recursive r as (select phone as x from trusted.person union all select x from r) select x from r",
        "select phone as x from trusted.person union select phone from trusted.person",
        "/* phone as y */ select phone /* , born_on as x */ as x from trusted.person -- , born_on",
    ],
)
def test_a_column_is_followed_through_names_stars_and_nesting(sql: str) -> None:
    assert made_of(sql)["x"] == {"person.phone": SAME}


def test_a_recursion_is_followed_until_nothing_is_added() -> None:
    sql = """
        with recursive walk(a, b, c) as (
            select loan_id, person_key, amount from trusted.loan
            union all
            select b, c, c from walk
        )
        select a from walk
    """
    assert set(made_of(sql)["a"]) == {"loan.loan_id", "loan.person_key", "loan.amount"}


def test_a_union_is_joined_by_position_and_by_name() -> None:
    branches = "select loan_id, amount from trusted.loan {} select amount, loan_id from trusted.loan"
    assert set(made_of(branches.format("union all"))["loan_id"]) == {"loan.loan_id", "loan.amount"}
    assert set(made_of(branches.format("union all by name"))["loan_id"]) == {"loan.loan_id"}
    twice = "select loan_id, amount from trusted.loan union all select amount, amount from trusted.loan"
    assert set(made_of(twice)["amount"]) == {"loan.amount"}


def test_what_only_decides_rows_is_kept_apart_with_the_way() -> None:
    sql = """
        select sum(loan.amount) as amount
        from trusted.loan
        join trusted.person on person.person_key = loan.person_key
        where person.born_on < $as_of
        group by loan.closed_on
        having count(loan.loan_id) > 1
    """
    assert made_of(sql) == {"amount": {"loan.amount": "aggregate value"}}
    assert rows_of(sql) == {
        "person.person_key": "join",
        "loan.person_key": "join",
        "person.born_on": "filter",
        "loan.closed_on": "group",
        "loan.loan_id": "filter",
    }


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("select 1 as x from trusted.person where phone in (select person_key from trusted.loan)", {"person.phone": "filter", "loan.person_key": "filter"}),
        ("select phone from trusted.person qualify row_number() over (order by born_on) = 1", {"person.born_on": "filter"}),
        ("select phone from trusted.person order by born_on limit 3", {"person.born_on": "filter"}),
        ("select phone from trusted.person order by born_on", {}),
        ("select phone from trusted.person except select person_key from trusted.loan", {"loan.person_key": "filter"}),
        ("select distinct on (born_on) phone from trusted.person", {"person.born_on": "group"}),
        ("select phone from trusted.person join trusted.loan using (person_key)", {"person.person_key": "join", "loan.person_key": "join"}),
        ("select phone from trusted.person natural join trusted.loan", {"person.person_key": "join", "loan.person_key": "join"}),
        ("with a as (select phone from trusted.person where born_on is null) select phone from a", {"person.born_on": "filter"}),
    ],
)  # fmt: skip
def test_every_clause_that_decides_rows_is_seen(sql: str, rows: dict[str, str]) -> None:
    assert rows_of(sql) == rows


@pytest.mark.parametrize(
    "sql",
    [
        "select person from trusted.person",
        "select to_json(p) as x from trusted.person as p",
        "select (p).phone as x from trusted.person as p",
        "select map {phone: 1} as x from trusted.person",
        "select email from trusted.person",
        "select nobody.phone from trusted.person",
        "select person_key from trusted.person, trusted.loan",
        "select x from other",
        "select x from trusted.person pivot (max(phone) for born_on in ('a'))",
        "delete from trusted.person",
    ],
)
def test_what_cannot_be_followed_is_refused_and_not_left_out(sql: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^x\.sql: ") as refusal:
        trace(sql, TABLES, "x.sql")
    assert "\n" not in str(refusal.value)


def test_columns_of_an_unknown_table_are_those_that_the_statement_names() -> None:
    sql = "select id as loan_id, upper(t.name) as name from raw_ledger.m_loan as t where _deleted_at is null"
    assert trace(sql, {}, "x").read() == {f"raw_ledger.m_loan.{name}" for name in ("id", "name", "_deleted_at")}


STEPS = {
    "{}": Use(),
    "cast({} as varchar)": Use(),
    "lower({})": Use(Kind.TRANSFORM, Leaves.VALUE),
    "coalesce({}, '')": Use(Kind.TRANSFORM, Leaves.VALUE),
    "md5({})": Use(Kind.TRANSFORM, Leaves.HASH),
    "({} is null)": Use(Kind.TRANSFORM, Leaves.NOTHING),
    "max({})": Use(Kind.AGGREGATE, Leaves.VALUE),
    "count({})": Use(Kind.AGGREGATE, Leaves.NOTHING),
}


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=6))
def test_a_chain_of_queries_is_the_sum_of_its_steps(steps: list[str]) -> None:
    """However a value is passed on, the kind is the strongest step and what leaves is the least of them."""
    sql, expected = "select phone as x from trusted.person", Use()
    for step in steps:
        sql, expected = f"select {step.format('x')} as x from ({sql})", expected.then(STEPS[step])
    assert trace(sql, TABLES, "x.sql").columns == {"x": {"trusted.person.phone": expected}}
