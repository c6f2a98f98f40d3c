"""The four answers to a failed check, on real builds: who is renewed, what is taken out, and that it comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import dagster as dg
import duckdb
import pytest
from dbt_lab import Lab

from governance.manifest import parse_manifest
from governance.registry import judge_registry
from lendloop.on_error import OnError, held_back
from lendloop.project import load_manifest
from lendloop.publish import read_catalog
from lendloop.settings import Settings, load_settings
from lendloop.zones import BuildReport, NodeResult, build_and_publish
from orchestration.lineage import load_definitions
from orchestration.relay import _check
from orchestration.resources import Hub
from orchestration.zones import zones_asset

DAY = date(2026, 3, 1)
STATUS_CHECK = "accepted_values_fct_loan_loan_status"
NO_STATUS = 999
"""A number that the ledger's own list of statuses does not have."""


def loan(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "client_id": number,
        "product_id": 1,
        "loan_status_id": 600,
        "currency_code": "NGN",
        "principal_amount": 1000,
        "principal_disbursed_derived": 1000,
        "principal_repaid_derived": 1000,
        "principal_outstanding_derived": 0,
        "principal_writtenoff_derived": 0,
        "submittedon_date": date(2026, 2, 1),
        "disbursedon_date": date(2026, 2, 1),
        **more,
    }


@pytest.fixture(scope="module")
def lender(make_lab: Callable[[str], Lab]) -> Lab:
    """A lender with three loans that were repaid, published once."""
    lab = make_lab("lender")
    numbers = (1, 2, 3)
    lab.load("raw_ledger.m_office", [{"id": 1, "external_id": "NG"}])
    lab.load("raw_ledger.m_client", [{"id": number, "office_id": 1} for number in numbers])
    lab.load("raw_ledger.m_loan", [loan(number) for number in numbers])
    lab.load("raw_ledger.m_loan_transaction", [disbursed(number) for number in numbers])
    report = build(settings_of(lab))
    assert report.failures == []
    return lab


def disbursed(number: int) -> dict[str, Any]:
    return {
        "id": number * 10,
        "loan_id": number,
        "is_reversed": False,
        "transaction_type_enum": 1,
        "transaction_date": date(2026, 2, 1),
        "amount": 1000,
    }


@pytest.fixture
def lab(lender: Lab, tmp_path: Path) -> Lab:
    """That lender, to do with as a test likes."""
    return lender.copy(tmp_path / "home")


def test_a_build_that_is_cut_off_before_its_outcome_is_written_is_made_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(lab)
    lab.load("raw_ledger.m_loan", [loan(4, client_id=1)])
    with monkeypatch.context() as broken:
        broken.setattr("lendloop.zones.keep_day", Mock(side_effect=OSError("no space")))
        with pytest.raises(OSError, match="no space"):
            build(settings)
    report = build(settings)
    assert not report.skipped
    assert report.failures == []
    assert published(settings, "trusted.fct_loan") == [1, 2, 3, 4]


def settings_of(lab: Lab) -> Settings:
    return load_settings(LENDLOOP_HOME=lab.folder, as_of=DAY.isoformat())


def build(settings: Settings) -> BuildReport:
    return build_and_publish(settings, settings.clock())


def answer(settings: Settings, name: str, on_error: OnError) -> None:
    """Let the dataset or test say what its failure asks for, in the manifest that dbt made."""
    manifest = load_manifest(settings.home)
    [node] = [node for node in manifest["nodes"].values() if node["name"] == name]
    node["config"]["meta"]["on_error"] = on_error.value
    (settings.home.dbt / "target" / "manifest.json").write_text(json.dumps(manifest))


def published(settings: Settings, table: str, column: str = "loan_id") -> list[Any]:
    with duckdb.connect(str(settings.home.published), read_only=True) as connection:
        return [value for (value,) in connection.execute(f"select {column} from {table} order by all").fetchall()]


def check_of(report: BuildReport, name: str) -> NodeResult:
    [node] = [node for node in report.nodes if node.kind == "test" and name in node.unique_id]
    return node


def test_serve_stale_keeps_the_group_as_it_was_and_renews_the_others(lab: Lab) -> None:
    settings = settings_of(lab)
    lab.load("raw_ledger.m_loan", [loan(2, loan_status_id=NO_STATUS)])
    lab.load("raw_ledger.m_office", [{"id": 1, "external_id": "NG"}, {"id": 2, "external_id": "GH"}])
    report = build(settings)
    assert report.groups["portfolio"].state == "stale"
    assert report.groups["support"].state == report.groups["customer"].state == "fresh"
    assert published(settings, "trusted.fct_loan", "loan_status") == ["closed", "closed", "closed"]


def test_halt_renews_nothing_at_all_and_says_why(lab: Lab) -> None:
    settings = settings_of(lab)
    answer(settings, "fct_loan", OnError.HALT)
    before = read_catalog(settings.home).tables
    lab.load("raw_ledger.m_loan", [loan(2, loan_status_id=NO_STATUS)])
    lab.load("raw_ledger.m_client", [{"id": number, "office_id": 1} for number in range(1, 9)])
    report = build(settings)
    assert {group.state for group in report.groups.values()} == {"stale"}
    assert read_catalog(settings.home).tables == before
    assert len(published(settings, "trusted.dim_customer", "person_key")) == 3
    for name in ("portfolio", "support", "customer", "crm"):
        assert any(line.startswith(f"{name}: halted by {STATUS_CHECK}") for line in report.failures), report.failures
    with duckdb.connect(str(settings.home.published), read_only=True) as connection:
        states = connection.execute("select distinct state from publication.consistency_group").fetchall()
    assert states == [("stale",)], "audiences and rules read this before they act on anything"

    lab.load("raw_ledger.m_loan", [loan(2)])
    assert build(settings).failures == []
    assert len(published(settings, "trusted.dim_customer", "person_key")) == 8


def test_quarantine_takes_the_failing_rows_out_until_they_are_mended(lab: Lab) -> None:
    settings = settings_of(lab)
    answer(settings, "fct_loan", OnError.QUARANTINE)
    lab.load("raw_ledger.m_loan", [loan(2, loan_status_id=NO_STATUS), loan(4, client_id=1)])
    report = build(settings)
    assert report.failures == []
    assert published(settings, "trusted.fct_loan") == [1, 3, 4]
    assert published(settings, "trusted.fct_loan_transaction") == [1, 3], "what was made of the row goes with it"
    check = check_of(report, STATUS_CHECK)
    assert (check.status, check.quarantined, check.ok) == ("warn", 1, True)
    kept = settings.home.quarantine / "trusted" / "fct_loan.parquet"
    [(test, column, key, shown)] = duckdb.sql(
        f"select test, column_name, key, shown from read_parquet('{kept}')"
    ).fetchall()
    assert (test.startswith(STATUS_CHECK), column, json.loads(key)) == (True, "loan_status", {"loan_id": 2})
    assert json.loads(shown)["loan_status"] == "unknown"
    assert not {"person_key", "client_id", "account_no"} & set(json.loads(shown)), "no personal data is kept"

    assert build(settings).skipped
    lab.load("raw_ledger.m_loan", [loan(5, client_id=1)])
    assert check_of(build(settings), STATUS_CHECK).quarantined == 1, "found again, though its own row did not change"
    assert published(settings, "trusted.fct_loan") == [1, 3, 4, 5]

    lab.load("raw_ledger.m_loan", [loan(2)])
    assert check_of(build(settings), STATUS_CHECK).status == "pass"
    assert published(settings, "trusted.fct_loan") == [1, 2, 3, 4, 5]
    assert published(settings, "trusted.fct_loan_transaction") == [1, 2, 3]
    assert held_back(settings.home) == []


def test_warn_publishes_and_tells(lab: Lab, monkeypatch: pytest.MonkeyPatch, clean_environment: Any) -> None:
    settings = settings_of(lab)
    answer(settings, "fct_loan", OnError.WARN)
    lab.load("raw_ledger.m_loan", [loan(2, loan_status_id=NO_STATUS)])
    monkeypatch.setenv("LENDLOOP_HOME", str(lab.folder))
    monkeypatch.setenv("LENDLOOP_AS_OF", DAY.isoformat())
    manifest = load_manifest(settings.home)
    step = zones_asset(manifest, judge_registry(parse_manifest(manifest))[0], load_definitions(settings).graph)
    result = dg.materialize([step], resources={"hub": Hub()}, raise_on_error=False)
    assert result.success
    assert published(settings, "trusted.fct_loan", "loan_status") == ["closed", "closed", "unknown"]
    [event] = [
        event
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        and event.asset_check_evaluation_data.check_name.startswith(STATUS_CHECK)
    ]
    evaluation = event.asset_check_evaluation_data
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    alert = _check(event, result.dagster_run)
    assert alert is not None
    assert (alert.resolved, alert.datasets) == (False, ("trusted.fct_loan",))


def test_what_a_test_says_itself_goes_before_what_its_dataset_says(lab: Lab) -> None:
    settings = settings_of(lab)
    answer(settings, "loans_reconcile", OnError.QUARANTINE)
    lab.load("raw_ledger.m_loan", [loan(3, principal_repaid_derived=900)])
    report = build(settings)
    assert report.failures == []
    assert published(settings, "trusted.fct_loan") == [1, 2]
    assert check_of(report, "loans_reconcile").quarantined == 1
