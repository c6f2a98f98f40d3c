"""The score of a dataset on real builds: what each dimension counts, how it is kept, and which rows fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dbt_lab import Lab

from governance import quality
from governance.manifest import parse_manifest
from governance.quality import Build, dimension_of, measure, read_failing_rows, read_standings
from governance.registry import Dataset, Dimension, read_registry
from governance.watch import Finding, Verdict
from lendloop.history import keep_history
from lendloop.home import Home
from lendloop.project import load_manifest
from lendloop.publish import read_catalog
from lendloop.settings import load_settings
from lendloop.zones import build_and_publish
from orchestration.cli import main
from orchestration.lineage import load_definitions
from orchestration.names import COMPLETE
from orchestration.resources import Hub
from orchestration.screen import small_line
from orchestration.zones import zones_asset

LOAN = "trusted.fct_loan"


def loan(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "client_id": number, "product_id": 1, "loan_status_id": 600, "currency_code": "NGN",
        "account_no": str(number), "number_of_repayments": 4, "principal_amount": 1000,
        "principal_disbursed_derived": 1000, "principal_repaid_derived": 1000, "principal_outstanding_derived": 0,
        "principal_writtenoff_derived": 0, "submittedon_date": date(2026, 2, 1), "disbursedon_date": date(2026, 2, 1), **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def lender(make_lab: Callable[[str], Lab]) -> Lab:
    """Four loans: one's balances do not add up, one's status is unknown, which stops its group from being published."""
    lab = make_lab("lender")
    lab.load("raw_ledger.m_office", [{"id": 1, "external_id": "NG"}])
    lab.load("raw_ledger.m_client", [{"id": number, "office_id": 1} for number in range(1, 5)])
    odd = [loan(3, principal_repaid_derived=900), loan(4, loan_status_id=999, number_of_repayments=None)]
    lab.load("raw_ledger.m_loan", [loan(1), loan(2), *odd])
    return lab


@pytest.fixture(scope="module")
def built(lender: Lab) -> tuple[Build, dict[str, Dataset]]:
    settings = load_settings(LENDLOOP_HOME=lender.folder, as_of="2026-03-01")
    report = build_and_publish(settings, settings.clock())
    manifest = load_manifest(settings.home)
    catalog = read_catalog(settings.home)
    assert catalog.built_at
    assert catalog.as_of
    build = Build(manifest, report.nodes, report.groups, catalog.built_at, catalog.as_of)
    return build, read_registry(parse_manifest(manifest))


@pytest.fixture
def warehouse(lender: Lab, built: Any, tmp_path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(shutil.copy(lender.warehouse, tmp_path / "warehouse.duckdb")))
    connection.execute("set timezone = 'UTC'; create schema if not exists raw_meta")
    return connection


def test_a_record_that_is_nobodys_or_of_no_source_is_found(lender: Lab, built: Any, tmp_path: Path) -> None:
    lab = lender.copy(tmp_path / "lab")
    links = "trusted.map_customer_source"
    with lab.connect() as connection:
        connection.execute(
            f"insert into {links} select * replace ('9' as source_id) from {links} where source_id = '1'"
        )
        connection.execute(f"delete from {links} where source_id = '2'")
    [test] = lab.dbt("test", "--select", "every_record_is_somebody").result.results
    assert (str(test.status), test.failures) == ("fail", 2)


def test_each_dimension_is_the_share_of_rows_that_hold(
    warehouse: duckdb.DuckDBPyConnection, built: tuple[Build, dict[str, Dataset]], lender: Lab
) -> None:
    build, datasets = built
    score = measure(warehouse, lender.home, datasets, build)[LOAN]
    by_check = {check.what: (check.dimension, check.rows, check.failing) for check in score.checks}
    assert by_check["loans_reconcile"] == (Dimension.ACCURACY, 4, 1)
    [status] = [value for name, value in by_check.items() if name.startswith("accepted_values_fct_loan_loan_status")]
    assert status == (Dimension.VALIDITY, 4, 1)
    assert by_check["instalment_count filled in 95%"] == (Dimension.COMPLETENESS, 4, 1), "one of four is not filled"
    assert by_check["freshness"] == (Dimension.TIMELINESS, 1, 1), "its group was never published"
    assert (score.of(Dimension.ACCURACY), score.of(Dimension.TIMELINESS)) == (0.75, 0.0)
    assert score.of(Dimension.UNIQUENESS) == 1.0
    assert score.overall == pytest.approx(sum(score.of(one) or 0 for one in Dimension) / 6)


def test_what_is_not_as_usual_counts_against_completeness_and_validity(
    warehouse: duckdb.DuckDBPyConnection, built: tuple[Build, dict[str, Dataset]], lender: Lab
) -> None:
    build, datasets = built
    now = build.as_of.replace(tzinfo=None)
    missing = Finding(
        kind="rows", what="rows", of="NG", since=now, until=now, time_zone="Africa/Lagos", found=0, low=9, high=20
    )
    verdict = Verdict(rows_judged=True, values_judged=True, findings=[missing])
    scores = measure(warehouse, lender.home, datasets, replace(build, verdicts={LOAN: verdict}))
    by_check = {check.what: (check.dimension, check.rows, check.failing) for check in scores[LOAN].checks}
    assert by_check["rows as usual"] == (Dimension.COMPLETENESS, 1, 1)
    assert by_check["values as usual"] == (Dimension.VALIDITY, 1, 0)
    unjudged = [check.what for check in scores["trusted.fct_ticket"].checks]
    assert not {"rows as usual", "values as usual"} & set(unjudged), "no verdict counts neither way"


def test_failing_rows_are_kept_by_key_without_personal_data_and_bounded(
    warehouse: duckdb.DuckDBPyConnection,
    built: tuple[Build, dict[str, Dataset]],
    lender: Lab,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build, datasets = built
    measure(warehouse, lender.home, datasets, build)
    found = read_failing_rows(warehouse, LOAN)
    assert [(row[0], json.loads(row[3])) for row in found] == [
        ("accuracy", {"loan_id": 3}),
        ("validity", {"loan_id": 4}),
    ]
    [(shown,)] = warehouse.execute("select shown from quality.failing_row where dimension = 'accuracy'").fetchall()
    assert not {"person_key", "client_id", "account_no"} & set(json.loads(shown))
    warehouse.execute(f"insert into {LOAN} select * replace (loan_id + 10 as loan_id) from {LOAN} where loan_id = 3")
    monkeypatch.setattr(quality, "KEPT_ROWS", 1)
    score = measure(warehouse, lender.home, datasets, build)[LOAN]
    assert next(check.failing for check in score.checks if check.what == "loans_reconcile") == 2
    assert len([row for row in read_failing_rows(warehouse, LOAN) if row[0] == "accuracy"]) == 1


def test_scores_are_kept_over_time_in_one_table_and_measuring_again_changes_nothing(
    warehouse: duckdb.DuckDBPyConnection, built: tuple[Build, dict[str, Dataset]], lender: Lab
) -> None:
    build, datasets = built
    for days in (500, 1, 0, 0):
        moved = build.built_at - timedelta(days=days)
        measure(
            warehouse,
            lender.home,
            datasets,
            Build(build.manifest, build.nodes, build.groups, moved, build.as_of),
        )
    [standing] = read_standings(warehouse, LOAN)
    assert len(standing.trend) == 2, "what is older than is kept is gone"
    assert warehouse.execute("select table_name from duckdb_tables() where schema_name = 'quality' order by 1").fetchall() == [
        ("failing_row",), ("format",), ("score",),
    ]  # fmt: skip
    warehouse.execute("attach ':memory:' as kept")
    keep_history(warehouse, {"nodes": {}}, "kept")
    scores = warehouse.execute("select count(*) from kept.quality.score").fetchall()
    assert scores == warehouse.execute("select count(*) from quality.score").fetchall() != [(0,)]


def test_a_test_belongs_to_the_dimension_of_its_kind_or_of_its_own_words() -> None:
    def node(kind: str, **meta: Any) -> dict[str, Any]:
        return {"config": {"meta": meta}, "test_metadata": {"name": kind} if kind else None}

    assert dimension_of(node("relationships")) is Dimension.CONSISTENCY
    assert dimension_of(node("unique_combination")) is Dimension.UNIQUENESS
    assert dimension_of(node("")) is Dimension.ACCURACY
    assert dimension_of(node("", dimension="consistency")) is Dimension.CONSISTENCY


def test_the_asset_and_the_command_show_the_score(
    lender: Lab, tmp_path: Path, clean_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    lender.copy(home)
    clean_environment.setenv("LENDLOOP_HOME", str(home))
    clean_environment.setenv("LENDLOOP_AS_OF", "2026-03-01")
    manifest = load_manifest(Home(home))
    step = zones_asset(manifest, read_registry(parse_manifest(manifest)), load_definitions(load_settings()).graph)
    result = dg.materialize([step], resources={"hub": Hub()}, raise_on_error=False)
    [loans] = [
        one
        for one in result.asset_materializations_for_node("build_and_publish")
        if one.asset_key.path[-1] == "fct_loan"
    ]
    shown = float(loans.metadata["quality"].value)  # type: ignore[arg-type]
    assert 0 < shown < 1
    complete = {
        check.asset_key.to_user_string(): check
        for check in result.get_asset_check_evaluations()
        if check.check_name == COMPLETE
    }
    loans_filled, people_filled = complete["trusted/fct_loan"], complete["contacts/customer_profile"]
    assert (loans_filled.passed, loans_filled.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert loans_filled.metadata["message"].value == "instalment_count filled in 95%: 1 of 4 rows short of it"
    assert not people_filled.passed, "contact data is not scored, and its promise counts"
    with pytest.raises(SystemExit) as left:
        main(["quality", LOAN, "--json"])
    assert not left.value.code
    found = json.loads(capsys.readouterr().out)
    assert found["datasets"][0]["score"] == pytest.approx(shown, abs=1e-6)
    assert {row["dimension"] for row in found["failing_rows"]} == {"accuracy", "validity"}
    with pytest.raises(SystemExit):
        main(["quality"])
    shown = capsys.readouterr().out
    assert "trusted.dim_customer" in shown
    assert "not compared with its past trusted.fct_ticket: all: a source of it was never" in shown


def test_a_trend_is_a_small_line() -> None:
    assert small_line([0.5, 1.0, 0.75]) == "▁█▅"
    assert small_line([1.0, 1.0]) == "▄▄"
    assert small_line([]) == small_line([None]) == ""
    assert small_line([Decimal(1), None, Decimal(2), Decimal(3)]) == "▁ ▅█"
