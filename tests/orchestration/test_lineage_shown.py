"""Lineage as people meet it: the command, Dagster's metadata, and definitions that the door refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lendloop.errors import ConfigurationError
from lendloop.home import CHECKOUT
from lendloop.settings import load_settings
from orchestration.check import check_all
from orchestration.cli import main
from orchestration.definitions import build_defs
from orchestration.run import run_pass


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        main(["lineage", *arguments])
    out, err = capsys.readouterr()
    return int(leaving.value.code or 0), out, err


def test_a_tree_leads_up_to_the_sources_and_down_to_what_is_sent(
    parsed_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = answer(capsys, "fct_loan.days_past_due")
    assert code == 0
    assert "trusted.fct_loan.days_past_due is made of" in out
    assert "raw_ledger.m_loan_repayment_schedule.duedate (identity)" in out
    assert "kpi.kpi_portfolio_daily.par_30 (aggregate)" in out
    assert "audiences.recovery (filter)" in out
    _, up, _ = answer(capsys, "fct_loan.days_past_due", "--up")
    _, down, _ = answer(capsys, "fct_loan.days_past_due", "--down")
    assert "makes" not in up
    assert "is made of" not in down
    assert "gray.int_person_record.phone_hash (identity, pseudonym)" in answer(capsys, "dim_customer.phone_hash")[1]


def test_json_holds_every_step_with_the_file_that_takes_it(
    parsed_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = answer(capsys, "m_loan.principal_outstanding_derived", "--down", "--json")
    record = json.loads(out)
    assert code == 0
    assert record["column"] == "raw_ledger.m_loan.principal_outstanding_derived"
    assert "sources" not in record
    reached = {way["column"]: way for way in record["makes"]}
    assert reached["audiences.recovery.offer_amount"]["kind"] == "transform"
    assert reached["kpi.kpi_portfolio_daily.par_30"]["kind"] == "aggregate"
    assert {
        "from": "raw_ledger.m_loan.principal_outstanding_derived",
        "to": "gray.stg_ledger__loans.principal_outstanding",
        "kind": "identity",
        "leaves": "value",
        "file": "models/gray/staging/ledger/stg_ledger__loans.sql",
    } in record["edges"]
    _, out, _ = answer(capsys, "alerts.outbox.ticket_backlog", "--up", "--json")
    assert "raw_support.tickets.created_at" in json.loads(out)["sources"]


def test_a_kpi_is_found_by_its_name_also_where_several_tables_have_such_a_column(
    parsed_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, column in (("par_30", "kpi_portfolio_daily.par_30"), ("fpd_7", "kpi_first_payment_default.fpd_rate")):
        code, out, err = answer(capsys, name, "--up", "--json")
        assert code == 0, err
        assert json.loads(out)["column"] == f"kpi.{column}"
        assert "raw_ledger.m_loan_repayment_schedule.duedate" in json.loads(out)["sources"]


def test_a_field_that_nothing_reads_is_known_all_the_same(
    parsed_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = answer(capsys, "raw_ledger.m_loan.is_npa", "--json")
    assert code == 0
    assert json.loads(out)["makes"] == []


def test_an_unknown_column_is_wrong_use_and_the_nearest_are_named(
    parsed_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = answer(capsys, "fct_loan.days_past_du")
    assert (code, out) == (2, "")
    assert "no column fct_loan.days_past_du; nearest: trusted.fct_loan.days_past_due" in err


def lineage_of(definitions: dg.Definitions, *key: str) -> dict[str, set[str]]:
    node = definitions.resolve_asset_graph().get(dg.AssetKey(list(key)))
    columns: Any = node.metadata["dagster/column_lineage"]
    return {
        name: {".".join([*dep.asset_key.path, dep.column_name]) for dep in deps}
        for name, deps in columns.deps_by_column.items()
    }


def test_dagster_shows_what_each_column_is_made_of_from_raw_to_alerts(definitions: dg.Definitions) -> None:
    staged = lineage_of(definitions, "gray", "stg_ledger__loans")
    assert staged["principal_outstanding"] == {"raw_ledger.m_loan.principal_outstanding_derived"}
    kpi = lineage_of(definitions, "kpi", "kpi_portfolio_daily")
    assert kpi["par_30"] == {
        "trusted.agg_portfolio_daily.par_30_principal",
        "trusted.agg_portfolio_daily.outstanding_principal",
    }
    assert lineage_of(definitions, "audiences", "dormant_good")["last_amount"] == {
        "trusted.fct_loan.principal_disbursed"
    }
    assert "trusted.fct_ticket.created_at" in lineage_of(definitions, "rules", "ticket_backlog")["oldest_hours"]
    assert "rules.ticket_backlog.value" in lineage_of(definitions, "alerts", "outbox")["ticket_backlog"]


def test_under_columns_dagster_says_what_each_is_made_of_and_its_class(definitions: dg.Definitions) -> None:
    node = definitions.resolve_asset_graph().get(dg.AssetKey(["trusted", "dim_customer"]))
    columns = {column.name: column for column in node.metadata["dagster/column_schema"].columns}
    described = columns["phone_hash"].description or ""
    assert "Made of contacts.customer_contact.address_hash (identity)." in described
    assert not described.startswith("Made of")
    assert columns["phone_hash"].tags == {"term": "phone_hash", "personal_data": "pseudonym"}
    assert columns["has_phone"].tags["personal_data"] == "none"
    table = node.metadata["lineage"].value
    assert "[contacts.customer_contact.address_hash](/assets/contacts/customer_contact)" in table
    assert "[raw_crm.contacts.email](/assets/raw_crm/contacts)" in table


def test_every_column_that_dagster_names_as_an_origin_is_a_column_of_an_asset(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    shown: dict[dg.AssetKey, set[str]] = {}
    for key in graph.get_all_asset_keys():
        if schema := graph.get(key).metadata.get("dagster/column_schema"):
            shown[key] = {column.name for column in schema.columns}
    for key in shown:
        if lineage := graph.get(key).metadata.get("dagster/column_lineage"):
            assert set(lineage.deps_by_column) == shown[key], key
            for deps in lineage.deps_by_column.values():
                for dep in deps:
                    assert dep.column_name in shown[dep.asset_key] | {"_loaded_at", "_deleted_at"}, (key, dep)
    expected = {"trusted", "kpi", "gray", "contacts", "audiences", "rules", "alerts"}
    assert {key.path[0] for key in shown if "dagster/column_lineage" in graph.get(key).metadata} == expected


@pytest.fixture
def own_definitions(parsed_environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "definitions"
    shutil.copytree(CHECKOUT / "activation" / "definitions", folder)
    parsed_environment.setenv("LENDLOOP_DEFINITIONS", str(folder))
    return folder


@pytest.mark.parametrize(
    ("file", "old", "new", "way"),
    [
        ("audiences/dormant_good.yaml", "last_loan.principal_disbursed as last_amount", "last_loan.person_key as last_amount", "trusted.fct_loan.person_key -> audiences.dormant_good.last_amount"),
        ("rules/ticket_backlog.yaml", "from trusted.fct_ticket", "from gray.stg_support__tickets", "raw_support.tickets"),
    ],
)  # fmt: skip
def test_a_definition_that_the_door_refuses_stops_check_dagster_and_the_pass(
    own_definitions: Path, file: str, old: str, new: str, way: str
) -> None:
    path = own_definitions / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigurationError) as refusal:
        build_defs()
    assert str(path) in str(refusal.value)
    assert way in str(refusal.value)
    with pytest.raises(ConfigurationError, match=path.name):
        run_pass(load_settings(), lambda line: None)
    faults = {outcome.name: outcome.fault for outcome in check_all()}
    assert way in str(faults[path.parent.name])
    assert faults["lineage"] is None
