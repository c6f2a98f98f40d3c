"""`lendloop kpi` and `lendloop kpi explain` as a person types them, on a lender that was loaded."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.end_to_end.installation import Installation


def catalogue(loaded: Installation, *arguments: str) -> list[dict[str, Any]]:
    done = loaded.lendloop("kpi", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["kpis"]
    return found


def test_the_catalogue_lists_every_kpi_by_market_and_currency(loaded: Installation) -> None:
    found = catalogue(loaded)
    assert len({row["name"] for row in found}) >= 45
    par = {row["market"]: row for row in found if row["name"] == "par_30"}
    assert set(par) == {"NG", "GH", "BR", "CI"}
    ours = dict(loaded.query("select market, par_30 from kpi.kpi_portfolio_market_daily"))
    assert {market: Decimal(row["value"]) for market, row in par.items()} == ours
    assert {row["status"] for row in par.values()} == {"ok"}
    cac = [row for row in found if row["name"] == "customer_acquisition_cost"]
    assert any(row["value"] is not None for row in cac)
    assert {row["currency"] for row in cac} == {"NGN", "GHS", "BRL", "XOF"}


def test_the_catalogue_on_a_terminal_has_values_trends_and_reasons_in_a_copied_home_too(
    loaded: Installation, tmp_path: Path
) -> None:
    copy = Installation(shutil.copytree(loaded.home, tmp_path / "copy"), loaded.environment)
    done = copy.lendloop("kpi", "--market", "NG")
    assert done.returncode == 0, done.stderr
    views = copy.query("select sql from duckdb_views() where schema_name = 'kpi'")
    assert views
    assert all(f"{copy.home}/" in sql and f"{loaded.home}/" not in sql for (sql,) in views)
    (cac,) = [line for line in done.stdout.splitlines() if line.startswith("customer_acquisition_cost")]
    assert " NGN " in cac
    assert "▁" in done.stdout
    assert "GHS" not in done.stdout


def test_a_value_is_explained_by_rows_that_add_up_to_it(loaded: Installation) -> None:
    done = loaded.lendloop("kpi", "explain", "par_30", "--by", "product", "--market", "NG", "--limit", "3", "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)["values"]
    assert len(values) > 1
    for value in values:
        assert value["adds_up"]
        assert len(value["rows"]) + value["others"]["rows"] == value["rows_in_all"]
        total = sum(Decimal(row["numerator"]) for row in value["rows"]) + Decimal(value["others"]["numerator"])
        assert total == Decimal(value["numerator"])
        assert all(set(row) == {"loan_id", "numerator", "denominator"} for row in value["rows"])


def test_an_explanation_on_a_terminal_says_what_the_kpi_is_and_how_many_rows_are_not_shown(
    loaded: Installation,
) -> None:
    done = loaded.lendloop("kpi", "explain", "par_30", "--market", "NG", "--limit", "2")
    assert done.returncode == 0, done.stderr
    assert "kpi.kpi_portfolio_daily.par_30 = par_30_principal / outstanding_principal" in done.stdout
    assert " more" in done.stdout


def test_a_wrong_name_date_or_breakdown_is_wrong_use_in_one_line(loaded: Installation) -> None:
    for arguments in (["par"], ["par_30", "--on", "2020-01-01"], ["par_30", "--by", "currency"]):
        done = loaded.lendloop("kpi", "explain", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
