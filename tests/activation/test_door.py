"""The door between zones and definitions: what may not be read or handed on does not load, and the way is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from activation.audiences import Audience, load_audience, load_audiences
from activation.door import Door, audience_table, rule_table
from activation.rules import load_rules
from activation.sqlguard import READABLE_SCHEMAS
from governance.lineage import Graph, Table, is_source, upstream_sources
from lendloop.errors import ConfigurationError
from lendloop.home import CHECKOUT

DEFINITIONS = CHECKOUT / "activation" / "definitions"
AUDIENCES = sorted((DEFINITIONS / "audiences").glob("*.yaml"))
RULES = sorted((DEFINITIONS / "rules").glob("*.yaml"))
TODAY = date(2026, 6, 1)


@pytest.fixture
def door(graph: Graph) -> Door:
    return Door(graph, TODAY)


def audience_file(folder: Path, sql: str, **payload: str) -> Path:
    content = yaml.safe_load((DEFINITIONS / "audiences" / "dormant_good.yaml").read_text())
    path = folder / "tried.yaml"
    payload = {"phone_number": "contact.address", **payload}
    path.write_text(yaml.safe_dump({**content, "audience": "tried", "sql": sql, "payload": payload}))
    return path


def rule_file(folder: Path, sql: str, **changes: Any) -> Path:
    content = yaml.safe_load((DEFINITIONS / "rules" / "ticket_backlog.yaml").read_text())
    texts = {"entity": ["key"], "entity_label": "{key}", "summary": "Too many of {key}."}
    (folder / "rules").mkdir()
    path = folder / "rules" / "tried.yaml"
    path.write_text(yaml.safe_dump({**content, **texts, "rule": "tried", "sql": sql, **changes}))
    return path


@pytest.mark.parametrize("path", AUDIENCES, ids=lambda path: path.stem)
def test_every_audience_loads_and_every_column_of_it_comes_from_a_field_of_a_source(path: Path, door: Door) -> None:
    audience = load_audience(path, door)
    end = audience_table(audience, door.graph)
    graph = door.graph.with_tables(end)
    assert set(end.columns) == {"person_key", *audience.payload}
    assert end.rows
    assert all(ref in door.graph for ref in end.rows)
    for name in end.columns:
        sources = upstream_sources(graph, f"{end.key}.{name}")
        assert sources, name
        assert all(is_source(graph, source) for source in sources)
    assert {ref.split(".")[0] for ref in end.rows} <= set(READABLE_SCHEMAS)


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_rule_loads_and_every_column_of_it_comes_from_a_field_of_a_source(path: Path, door: Door) -> None:
    [rule] = [rule for rule in load_rules(DEFINITIONS, door) if rule.rule == path.stem]
    end = rule_table(rule, door.graph)
    graph = door.graph.with_tables(end)
    assert tuple(end.columns) == rule.guarded.columns
    for name in end.columns:
        sources = upstream_sources(graph, f"{end.key}.{name}")
        assert sources, name
        assert all(is_source(graph, source) for source in sources)


@pytest.mark.parametrize(
    ("audience", "column", "sources"),
    [
        ("dormant_good", "last_amount", ["raw_ledger.m_loan.principal_disbursed_derived"]),
        ("dormant_good", "last_closed_on", ["raw_ledger.m_loan.closedon_date"]),
        ("approved_not_accepted", "approved_amount", ["raw_crm.deals.approved_amount"]),
        ("recovery", "offer_currency", ["raw_ledger.m_loan.currency_code"]),
        ("recovery", "language", ["raw_crm.contacts.language"]),
    ],
)
def test_what_is_sent_of_a_person_is_known_down_to_the_field(
    graph: Graph, audience: str, column: str, sources: list[str]
) -> None:
    [found] = [one for one in load_audiences(DEFINITIONS / "audiences") if one.name == audience]
    end = audience_table(found, graph)
    assert upstream_sources(graph.with_tables(end), f"{end.key}.{column}") == sources


def test_what_only_decides_who_is_in_is_told_apart(graph: Graph) -> None:
    [recovery] = [one for one in load_audiences(DEFINITIONS / "audiences") if one.name == "recovery"]
    end = audience_table(recovery, graph)
    assert end.rows["trusted.fct_loan.days_past_due"] == {"filter"}
    assert not any("trusted.fct_loan.days_past_due" in column.uses for column in end.columns.values())


GRAY = "person_key from gray.int_person_record"
ROUND_ABOUT = [
    # another zone, spelt otherwise
    f"select {GRAY}",
    'select person_key from "gray"."int_person_record"',
    "select person_key from GRAY.INT_PERSON_RECORD",
    "select person_key from gray . int_person_record",
    "select person_key from/**/gray/**/./**/int_person_record",
    'select person_key from "gr\u0430y".int_person_record',
    'select person_key from "gray\u200b".int_person_record',
    "select person_key from raw_crm.contacts",
    "select person_key from contacts.customer_contact",
    "select person_key from main.t",
    "select person_key from temp.t",
    # another zone, nested
    f"select person_key from trusted.dim_customer where person_key in (select {GRAY})",
    f"select person_key from trusted.dim_customer where exists (select 1 as one, {GRAY})",
    f"with a as (select {GRAY}) select person_key from a",
    f"with trusted as (select {GRAY}) select person_key from trusted",
    f"with recursive r as (select {GRAY} union all select person_key from r) select person_key from r",
    f"select person_key from trusted.dim_customer union all select {GRAY}",
    f"select person_key from trusted.dim_customer except select {GRAY}",
    f"select person_key from (select {GRAY}) as a",
    f"select c.person_key from trusted.dim_customer as c, lateral (select {GRAY}) as g",
    "select (select max(person_key) as k from gray.int_person_record) as person_key from trusted.dim_customer where 1 = 1",
    "select c.person_key from trusted.dim_customer as c join gray.int_person_record as g using (person_key)",
    "select c.person_key from trusted.dim_customer as c positional join gray.int_person_record",
    f"select person_key from trusted.dim_customer order by (select max(market) as m from (select market, {GRAY}))",
    "select person_key from (with x as (select person_key from trusted.dim_customer) select person_key from x) as y, x",
    # the catalogue
    "select person_key from published.trusted.dim_customer",
    "select person_key from system.information_schema.columns",
    "select table_name as person_key from information_schema.tables",
    "select table_name as person_key from duckdb_tables()",
    "select name as person_key from sqlite_master",
    "select person_key from pg_catalog.pg_tables",
    "select name as person_key from pragma_table_info('trusted.dim_customer')",
    "select person_key from publication.version",
    # files and other databases
    "select person_key from 'people.parquet'",
    'select person_key from "people.parquet"',
    "select person_key from trusted.'people.parquet'",
    'select person_key from trusted."people.parquet"',
    "select person_key from read_parquet('people.parquet')",
    "select person_key from parquet_scan(['people.parquet'])",
    "select person_key from read_csv('people.csv')",
    "select person_key from read_json_auto('people.json')",
    "select content as person_key from read_text('/etc/passwd')",
    "select content as person_key from read_blob('/etc/passwd')",
    "select file as person_key from glob('*')",
    "select person_key from sqlite_scan('a', 'b')",
    "select person_key from postgres_query('a', 'b')",
    "attach 'warehouse.duckdb' as w; select person_key from w.gray.int_person_record",
    "attach 'warehouse.duckdb' as w",
    "select person_key from trusted.dim_customer; drop table trusted.dim_customer",
    "create macro m() as table select 1; select person_key from m()",
    "copy (select person_key from trusted.dim_customer) to 'out.csv'",
    "export database 'out'",
    "load httpfs",
    "use warehouse",
    # text that becomes SQL, and state
    "select person_key from query('select person_key from gray.int_person_record')",
    "select person_key from query_table('gray.int_person_record')",
    "select person_key from query_table(['trusted.dim_customer'])",
    "select person_key from json_execute_serialized_sql('{}')",
    "select getvariable('x') as person_key from trusted.dim_customer",
    "select getenv('HOME') as person_key from trusted.dim_customer",
    "select current_setting('home_directory') as person_key from trusted.dim_customer",
    "select nextval('s') as person_key from trusted.dim_customer",
    "select system.main.getvariable('x') as person_key from trusted.dim_customer",
    'select "getvariable"(\'x\') as person_key from trusted.dim_customer',
    "select write_log(person_key) as person_key from trusted.dim_customer",
    "select list_aggregate([person_key], 'getvariable') as person_key from trusted.dim_customer",
    "select current_user as person_key from trusted.dim_customer",
    "select uuid() as person_key from trusted.dim_customer",
    "select person_key from trusted.dim_customer using sample 3",
    "select person_key from trusted.dim_customer tablesample 10%",
    "select person_key from trusted.dim_customer at (version => 1)",
    # columns that are not named
    "select * from trusted.dim_customer",
    "from trusted.dim_customer",
    "table trusted.dim_customer",
    "select * exclude (phone_hash) from trusted.dim_customer",
    "select c.* from trusted.dim_customer as c",
    "select person_key, * replace ('x' as market) from trusted.dim_customer",
    "select columns('person_.*') from trusted.dim_customer",
    "select columns(c -> c like 'person%') from trusted.dim_customer",
    "select person_key from (select * from trusted.dim_customer) as a",
    "with a as (select * from trusted.dim_customer) select person_key from a",
    "select #1 as person_key from trusted.dim_customer",
    "values ('p1')",
    "describe trusted.dim_customer",
    "summarize trusted.dim_customer",
    "show tables",
    "pivot trusted.dim_customer on market using count(person_key)",
    "select person_key from trusted.dim_customer pivot (count(phone_hash) for market in ('NG'))",
    "unpivot trusted.dim_customer on phone_hash, email_hash into name n value v",
    # rows and names that stand for several columns
    "select dim_customer as person_key from trusted.dim_customer",
    "select c as person_key from trusted.dim_customer as c",
    "select to_json(c) as person_key from trusted.dim_customer as c",
    "select (c).phone_hash as person_key from trusted.dim_customer as c",
    "select struct_pack(a := c) as person_key from trusted.dim_customer as c",
    "select list(c) as person_key from trusted.dim_customer as c",
    "select map {c.phone_hash: 1} as person_key from trusted.dim_customer as c",
    # what is not there
    "select person_key from trusted.dim_custmer",
    "select person_kee as person_key from trusted.dim_customer",
    "select person_key from trusted.dim_customer where x.market = 'NG'",
    "select rowid as person_key from trusted.dim_customer",
    "delete from trusted.dim_customer returning person_key",
    "with a as (delete from trusted.dim_customer returning person_key) select person_key from a",
    "insert into trusted.dim_customer select 1",
    "select person_key into x from trusted.dim_customer",
    "call pragma_version()",
    "select",
    "",
    "-- select person_key from trusted.dim_customer",
    "select person_key from trusted.dim_customer /*",
    "select person_key from trusted.dim_customer) as a, (select 1",
]  # fmt: skip


@pytest.mark.parametrize("sql", ROUND_ABOUT)
def test_an_audience_that_goes_round_does_not_load(tmp_path: Path, door: Door, sql: str) -> None:
    path = audience_file(tmp_path, sql)
    with pytest.raises(ConfigurationError, match=rf"^{path}: sql: ") as refusal:
        load_audience(path, door)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("sql", [sql.replace("person_key", "key") for sql in ROUND_ABOUT])
def test_a_rule_that_goes_round_does_not_load(tmp_path: Path, door: Door, sql: str) -> None:
    inner = sql.replace("select key", "select person_key as key, 1 as value, 1 as threshold", 1)
    rule_file(tmp_path, inner)
    with pytest.raises(ConfigurationError, match=r"tried\.yaml: sql: "):
        load_rules(tmp_path, door)


@pytest.mark.parametrize(
    "sql",
    [
        "select person_key from trusted.dim_customer",
        'select "person_key" from "trusted"."dim_customer"',
        "select PERSON_KEY as person_key from Trusted.Dim_Customer",
        "/* gray.x */ select person_key from trusted.dim_customer -- read_csv('x')",
        "select person_key from trusted.dim_customer where market = 'select * from gray.x'",
        "with gray as (select person_key from trusted.dim_customer) select person_key from gray",
        "select c.person_key from trusted.dim_customer as c, lateral (select c.market as m) as n where n.m = 'NG'",
        "select person_key from trusted.dim_customer group by all order by all limit 10",
        "select any_value(person_key) as person_key from trusted.dim_customer group by market having count(*) > 1",
        "with recursive r as (select person_key, 1 as n from trusted.dim_customer union all select person_key, n + 1 from r where n < 2) select person_key from r",
    ],
)
def test_plain_sql_loads(tmp_path: Path, door: Door, sql: str) -> None:
    load_audience(audience_file(tmp_path, sql), door)


def test_an_audience_that_touches_gray_is_told_the_way(tmp_path: Path, door: Door) -> None:
    path = audience_file(tmp_path, "select r.person_key, r.phone as code from gray.int_person_record as r", code="code")
    with pytest.raises(ConfigurationError) as refusal:
        load_audience(path, door)
    text = str(refusal.value)
    assert text.startswith(
        f"{path}: sql: gray.int_person_record is not in trusted and kpi, the only zones to read here: raw_"
    )
    assert " -> gray.stg_" in text
    assert text.endswith(" -> gray.int_person_record.phone -> audiences.tried")


def test_a_rule_that_touches_raw_is_told_the_way(tmp_path: Path, door: Door) -> None:
    rule_file(tmp_path, "select email as key, 1 as value, 1 as threshold from raw_crm.contacts")
    with pytest.raises(ConfigurationError, match=r"only zones to read here: raw_crm\.contacts\.email -> rules\.tried$"):
        load_rules(tmp_path, door)


def test_a_dataset_that_is_gray_again_is_told_with_the_way(tmp_path: Path, graph: Graph) -> None:
    demoted = graph.tables["trusted.fct_ticket"]
    tables = {key: table for key, table in graph.tables.items() if key != demoted.key}
    door = Door(Graph({**tables, "gray.fct_ticket": replace(demoted, key="gray.fct_ticket")}), TODAY)
    rule_file(
        tmp_path, "select market as key, count(*) as value, 1 as threshold from trusted.fct_ticket group by market"
    )
    with pytest.raises(
        ConfigurationError, match=r"fct_ticket is not in trusted: it is gray, raw_.* -> gray\.fct_ticket\."
    ):
        load_rules(tmp_path, door)


def marked(graph: Graph, ref: str, **changes: Any) -> Door:
    """The door of a project in which one column is marked otherwise."""
    key, _, name = ref.rpartition(".")
    table = graph.tables[key]
    columns = {**table.columns, name: replace(table.columns[name], **changes)}
    return Door(graph.with_tables(replace(table, columns=columns)), TODAY)


@pytest.mark.parametrize(
    "expression",
    [
        "c.phone_hash",
        "upper(c.phone_hash)",
        "max(c.phone_hash) over (partition by c.market)",
        "case when c.has_phone then c.phone_hash end",
        "{'a': c.phone_hash}",
        "c.phone_hash[1:8]",
        "sum(hash(c.phone_hash)) over (partition by c.person_key)",
        "md5(c.person_key)",
        "list_transform([c.phone_hash], lambda one: one || 'x')",
        "(select d.phone_hash from trusted.dim_customer as d where d.person_key = c.person_key)",
    ],
)
def test_an_audience_may_hand_a_destination_only_classes_that_it_may_have(
    tmp_path: Path, door: Door, expression: str
) -> None:
    sql = f"with a as (select c.person_key, {expression} as x from trusted.dim_customer as c) select person_key, x as code from a"
    path = audience_file(tmp_path, sql, code="code")
    with pytest.raises(ConfigurationError) as refusal:
        load_audience(path, door)
    text = str(refusal.value)
    assert text.startswith(f"{path}: payload.code: blueshift may not have personal data of class pseudonym: raw_")
    assert " -> gray." in text
    assert text.endswith(" -> audiences.tried.code")


@pytest.mark.parametrize(
    "expression", ["c.market", "c.phone_hash is not null", "length(c.phone_hash)", "count(c.phone_hash) over ()"]
)
def test_what_says_nothing_of_the_value_may_be_handed_on(tmp_path: Path, door: Door, expression: str) -> None:
    sql = f"select c.person_key, {expression} as code from trusted.dim_customer as c"
    load_audience(audience_file(tmp_path, sql, code="code"), door)


def test_a_class_that_no_message_needs_may_not_decide_who_is_in(tmp_path: Path, graph: Graph) -> None:
    door = marked(graph, "trusted.dim_customer.market", declared="name")
    path = audience_file(tmp_path, "select person_key from trusted.dim_customer where market = 'NG'")
    with pytest.raises(
        ConfigurationError, match=r"class name may not decide.*dim_customer\.market -> audiences\.tried \(filter\)"
    ):
        load_audience(path, door)


FINDING = "1 as value, 1 as threshold"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("c.person_key as key, c.phone_hash as code", r"sql: code: a message may not carry personal data of class pseudonym: raw_.*phone.* -> rules\.tried\.code"),
        ("c.person_key as key, c.person_key as code", r"sql: code: a message may not carry personal data of class pseudonym"),
        ("c.phone_hash as key", r"sql: key: a message may not carry personal data of class pseudonym: raw_.*phone_hash -> rules\.tried\.key"),
        ("c.person_key || c.phone_hash as key", r"sql: key: a message may not carry.*phone_hash -> rules\.tried\.key"),
        ("md5(c.email_hash) as key", r"sql: key: a message may not carry"),
    ],
)  # fmt: skip
def test_a_rule_carries_nothing_of_a_person_into_a_message_but_the_key(
    tmp_path: Path, door: Door, columns: str, message: str
) -> None:
    rule_file(tmp_path, f"select {columns}, {FINDING} from trusted.dim_customer as c")
    with pytest.raises(ConfigurationError, match=message):
        load_rules(tmp_path, door)


def test_a_rule_may_name_a_person_by_key(tmp_path: Path, door: Door) -> None:
    rule_file(tmp_path, f"select c.person_key as key, c.market, {FINDING} from trusted.dim_customer as c")
    assert [rule.rule for rule in load_rules(tmp_path, door)] == ["tried"]


def test_every_column_at_fault_is_named_at_once(tmp_path: Path, door: Door) -> None:
    rule_file(
        tmp_path,
        f"select c.market as key, c.phone_hash as one, c.email_hash as two, {FINDING} from trusted.dim_customer as c",
    )
    with pytest.raises(ConfigurationError) as refusal:
        load_rules(tmp_path, door)
    assert [line.split(": ")[2] for line in str(refusal.value).splitlines()] == ["one", "two"]


@pytest.mark.parametrize(
    ("deprecated", "loads"),
    [
        ("2026-06-02: use region", True),
        ("2026-06-02", True),
        ("2026-06-01", False),
        ("2025-01-01T00:00:00Z", False),
        ("use region", False),
    ],
)
def test_a_deprecated_column_may_be_used_until_its_day(
    tmp_path: Path, graph: Graph, deprecated: str, loads: bool
) -> None:
    door = marked(graph, "trusted.dim_customer.market", deprecated=deprecated)
    path = audience_file(tmp_path, "select person_key from trusted.dim_customer where market = 'NG'")
    if loads:
        load_audience(path, door)
        return
    with pytest.raises(ConfigurationError) as refusal:
        load_audience(path, door)
    assert f"trusted.dim_customer.market is deprecated ({deprecated}): gray.markets.market -> " in str(refusal.value)
    assert str(refusal.value).endswith("trusted.dim_customer.market -> audiences.tried (filter)")


def test_a_deprecated_dataset_may_not_be_read(tmp_path: Path, graph: Graph) -> None:
    table: Table = graph.tables["trusted.dim_customer"]
    door = Door(graph.with_tables(replace(table, deprecated="use dim_person")), TODAY)
    with pytest.raises(ConfigurationError, match=r"trusted\.dim_customer is deprecated \(use dim_person\): raw_"):
        load_audience(audience_file(tmp_path, "select person_key from trusted.dim_customer"), door)


@pytest.mark.parametrize(
    "deviance",
    [
        "value, threshold",
        "(select max(phone_hash) from trusted.dim_customer)",
        "value / (select 1)",
        "other / threshold",
        "getvariable('x')",
        "value) as a from trusted.dim_customer --",
        "$as_of",
        "*",
    ],
)
def test_a_deviance_is_one_expression_over_value_and_threshold(tmp_path: Path, deviance: str) -> None:
    rule_file(tmp_path, f"select market as key, {FINDING} from trusted.dim_market", deviance=deviance)
    with pytest.raises(ConfigurationError, match=r"tried\.yaml: deviance: "):
        load_rules(tmp_path)


def test_without_a_door_the_file_alone_is_read(tmp_path: Path) -> None:
    audience = load_audience(audience_file(tmp_path, "select person_key from trusted.no_such_table"))
    assert isinstance(audience, Audience)
