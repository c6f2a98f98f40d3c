"""The graph of this project: ways asserted by hand, both directions, every column followed to a field of a source."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from governance import lineage
from governance.lineage import (
    Graph,
    build_graph,
    downstream,
    is_source,
    load_graph,
    path_to,
    upstream,
    upstream_sources,
)
from governance.sqltrace import Kind, Leaves, Way
from ingestion.tables import TABLES, TECHNICAL_COLUMNS
from lendloop.errors import ConfigurationError
from lendloop.home import Home
from lendloop.identity import RAW_COLUMNS
from lendloop.project import load_manifest
from lendloop.settings import load_settings

CLOCK = ["raw_meta.clock.as_of", "raw_meta.clock.business_date"]
READ = ["raw_meta.source_read.source", "raw_meta.source_read.succeeded_as_of"]
DUE = "raw_ledger.m_loan_repayment_schedule.duedate"
OUTSTANDING = "raw_ledger.m_loan.principal_outstanding_derived"


@pytest.mark.parametrize(
    ("column", "sources"),
    [
        ("trusted.fct_loan.loan_principal", ["raw_ledger.m_loan.principal_amount"]),
        # the least date of many instalments, then days between two dates in a CASE
        ("trusted.fct_loan.days_past_due", ["gray.markets.time_zone", DUE, *CLOCK]),
        # sums of a CASE, then a ratio of two of them
        ("kpi.kpi_portfolio_daily.par_30", ["gray.markets.time_zone", OUTSTANDING, DUE, *CLOCK]),
        # a union of three systems, a Python model, a union again
        ("trusted.dim_customer.phone_hash", [
            "gray.markets.market", "gray.markets.phone_region", "raw_crm.contacts.email", "raw_crm.contacts.phone",
            "raw_ledger.m_client.email_address", "raw_ledger.m_client.mobile_no", "raw_support.users.email",
            "raw_support.users.phone", "raw_survey.response.email", "raw_survey.response.phone",
        ]),
        # the hash of a key that is made of text and of the key in each system
        ("trusted.fct_loan.person_key", ["raw_crm.contacts.id", "raw_ledger.m_client.id", "raw_support.users.id", "raw_survey.response.id"]),
        # a window
        ("trusted.fct_loan.loan_number", [
            "raw_crm.contacts.id", "raw_ledger.m_client.id", "raw_ledger.m_loan.disbursedon_date",
            "raw_ledger.m_loan.id", "raw_support.users.id", "raw_survey.response.id",
        ]),
        # a CASE over a code
        ("trusted.fct_account_transaction.transaction_type", [
            "raw_ledger.m_savings_account_transaction.transaction_type_enum",
        ]),
        # a seed, through a table that adds the clock
        ("trusted.dim_market.currency", ["gray.markets.currency"]),
        # a name, or one made of the key of a product that only loans know
        ("trusted.dim_product.product_name", [
            "raw_ledger.m_loan.product_id", "raw_ledger.m_product_loan.id", "raw_ledger.m_product_loan.name",
        ]),
        # only a later build fills it
        ("trusted.map_customer_source.valid_to", ["gray.markets.time_zone", *CLOCK]),
        ("contacts.customer_profile.language", ["raw_crm.contacts.language"]),
        ("raw_crm.contacts.email", ["raw_crm.contacts.email"]),
    ],
)  # fmt: skip
def test_a_column_is_made_of_these_fields(graph: Graph, column: str, sources: list[str]) -> None:
    assert upstream_sources(graph, column) == sources


def test_the_way_from_a_field_to_a_column_is_named_step_by_step(graph: Graph) -> None:
    assert path_to(graph, "kpi.kpi_portfolio_daily.outstanding_principal", OUTSTANDING) == [
        OUTSTANDING,
        "gray.stg_ledger__loans.principal_outstanding",
        "trusted.fct_loan.principal_outstanding",
        "trusted.agg_portfolio_daily.outstanding_principal",
        "kpi.kpi_portfolio_daily.outstanding_principal",
    ]
    assert path_to(graph, "trusted.dim_market.currency", "raw_crm.contacts.email") == []


def test_steps_have_their_kind(graph: Graph) -> None:
    found = upstream(graph, "kpi.kpi_portfolio_daily.par_30")
    assert found["trusted.agg_portfolio_daily.par_30_principal"].kind is Kind.AGGREGATE
    assert found[DUE].leaves is Leaves.NOTHING
    assert upstream(graph, "trusted.dim_customer.phone_hash")["raw_crm.contacts.phone"].leaves is Leaves.HASH
    assert upstream(graph, "trusted.fct_loan.currency")["raw_ledger.m_loan.currency_code"].kind is Kind.IDENTITY


def test_what_decides_rows_is_not_among_what_makes_values(graph: Graph) -> None:
    joined = "gray.stg_support__tickets.requester_id"
    assert graph.tables["trusted.fct_ticket"].rows[joined] == {Way.JOIN}
    assert joined not in upstream(graph, "trusted.fct_ticket.created_at")
    assert "trusted.fct_ticket" in graph.decides(joined)


def test_a_count_of_rows_is_made_of_what_decides_them(graph: Graph) -> None:
    assert OUTSTANDING in upstream_sources(graph, "trusted.agg_portfolio_daily.loan_count")


def test_down_is_up_seen_from_the_other_end(graph: Graph) -> None:
    below = {ref: downstream(graph, ref) for ref in graph.refs()}
    above = {ref: upstream(graph, ref) for ref in graph.refs()}
    assert sum(map(len, above.values())) == sum(map(len, below.values())) > 1_000
    for ref, found in above.items():
        for parent, use in found.items():
            assert below[parent][ref] == use, (parent, ref)


def test_every_column_comes_from_a_field_of_a_source_or_is_constant(graph: Graph) -> None:
    made = [ref for ref in graph.refs() if not is_source(graph, ref)]
    assert [ref for ref in made if graph.parents(ref) and not upstream_sources(graph, ref)] == []
    constant = {"gray.int_calendar.calendar_date", "gray.int_contact_point.key_check"}
    assert {ref for ref in made if not graph.parents(ref)} == constant


def test_every_field_that_is_read_is_one_that_is_declared_where_it_is_written(graph: Graph) -> None:
    declared = {
        f"{table.schema}.{table.name}.{column}"
        for tables in TABLES.values()
        for table in tables
        for column in (*table.columns, *TECHNICAL_COLUMNS)
    } | {*CLOCK, *READ, *(f"raw_identity.decision.{name}" for name in RAW_COLUMNS)}
    assert {ref for ref in graph.refs() if ref.startswith("raw_")} <= declared


def test_the_columns_of_every_model_are_those_of_its_contract(graph: Graph, parsed: Home) -> None:
    manifest = load_manifest(parsed)
    for node in manifest["nodes"].values():
        if node["resource_type"] == "model" and node["config"]["contract"]["enforced"]:
            assert set(graph.tables[f"{node['schema']}.{node['alias']}"].columns) == set(node["columns"]), node["name"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("trusted.fct_loan.days_past_due", "trusted.fct_loan.days_past_due"),
        ("TRUSTED.fct_loan.Days_past_due", "trusted.fct_loan.days_past_due"),
        ("fct_loan.days_past_due", "trusted.fct_loan.days_past_due"),
        ("m_loan.principal_outstanding_derived", OUTSTANDING),
    ],
)
def test_a_column_is_found_by_the_end_of_its_name(graph: Graph, name: str, found: str) -> None:
    assert graph.find(name) == found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fct_loan.days_past_du", r"no column fct_loan\.days_past_du; nearest: trusted\.fct_loan\.days_past_due"),
        ("trusted.fct_loan.day_past_due", r"nearest: trusted\.fct_loan\.days_past_due"),
        ("phone_hsh", r"nearest: .*phone_hash"),
        ("client_id", r"client_id may be .*and \d+ more: give more of the name"),
        ("zzzzzz", r"no column zzzzzz$"),
    ],
)
def test_an_unknown_column_is_answered_with_the_nearest(graph: Graph, name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        graph.find(name)


def test_the_graph_is_kept_beside_the_manifest_and_read_in_a_moment(graph: Graph, tmp_path: Path) -> None:
    home = load_settings(LENDLOOP_HOME=tmp_path).home
    lineage.keep_graph(home, graph)
    began = time.process_time()
    assert lineage.read_graph(home) == graph
    assert time.process_time() - began < 1.0
    file = home.dbt / "lineage.json"
    file.write_text(json.dumps(["another project", json.loads(file.read_text())[1]]))
    assert lineage.read_graph(home) is None
    file.write_text("{")
    assert lineage.read_graph(home) is None


def test_the_graph_of_a_process_is_made_once(graph: Graph, tmp_path: Path) -> None:
    assert load_graph(load_settings(LENDLOOP_HOME=tmp_path).home) is graph


def python_model(columns: dict[str, Any]) -> dict[str, Any]:
    node = {
        "resource_type": "model", "schema": "gray", "alias": "m", "name": "m", "language": "python",
        "original_file_path": "models/m.py", "patch_path": "lendloop://models/m.yml", "depends_on": {"nodes": []},
        "config": {"meta": {}}, "columns": {name: {"config": {"meta": meta}} for name, meta in columns.items()},
    }  # fmt: skip
    return {"nodes": {"model.lendloop.m": node}, "sources": {}}


@pytest.mark.parametrize(
    "columns",
    [{}, {"a": {}}, {"a": {"made_of": {"gray.x.y": "magic"}}}, {"a": {"made_of": {}}, "b": {}}],
    ids=["no columns", "not said", "unknown step", "one not said"],
)
def test_a_python_model_that_does_not_say_what_it_makes_does_not_pass(columns: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"^models/m\.yml: m.*made_of"):
        build_graph(python_model(columns), {})


def test_a_python_model_may_say_only_columns_that_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"models/m\.yml: m\.a: made_of: no column gray\.x\.y"):
        build_graph(python_model({"a": {"made_of": {"gray.x.y": "identity"}}}), {})
