"""`lendloop dictionary` as a person types it, and its faults in `lendloop check`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestration.check import CheckOutcome, check_all
from orchestration.cli import main
from orchestration.screen import show_checks


def lendloop(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    with pytest.raises(SystemExit) as left:
        main(["dictionary", *arguments])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


@pytest.mark.usefixtures("parsed_environment")
def test_a_search_answers_with_the_term_its_owner_where_it_stands_and_what_it_comes_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, _ = lendloop(capsys, "search", "portfolio", "at", "risk", "30", "--json")
    terms: list[dict[str, Any]] = json.loads(out)["terms"]
    assert status == 0
    assert (terms[0]["term"], terms[0]["owner"], terms[0]["found"]) == (
        "par_30",
        "risk",
        "synonym portfolio at risk 30",
    )
    assert terms[0]["formula"].startswith("par_30_principal / outstanding_principal")
    assert terms[0]["stands in"] == ["kpi.kpi_portfolio_daily.par_30", "kpi.kpi_portfolio_market_daily.par_30"]
    assert list(terms[0]["comes from"]) == terms[0]["stands in"]
    assert "raw_ledger.m_loan.principal_outstanding_derived" in terms[0]["comes from"]["kpi.kpi_portfolio_daily.par_30"]


@pytest.mark.usefixtures("parsed_environment")
def test_ltv_is_answered_with_why_it_is_refused_and_what_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = lendloop(capsys, "search", "LTV")
    assert status == 0
    assert "ltv (refused as a name)" in out
    assert "instead: loan_to_value, customer_lifetime_value" in out
    assert "not to be confused with:\n    customer_lifetime_value: what a customer brings" in out


@pytest.mark.usefixtures("parsed_environment")
def test_what_nothing_is_like_is_an_error_and_a_term_that_is_none_names_those_like_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert lendloop(capsys, "search", "xyzzyq") == (1, "", "lendloop: nothing in the dictionary is like 'xyzzyq'\n")
    status, _, err = lendloop(capsys, "show", "par_3o")
    assert status == 1
    assert "no term is called par_3o; there is par_3" in err


@pytest.mark.usefixtures("parsed_environment")
def test_the_check_covers_dictionary_and_registry(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = lendloop(capsys, "check")
    assert (status, out.split()[1]) == (0, "terms")
    outcomes = {outcome.name: outcome for outcome in check_all()}
    assert outcomes["registry"].summary.startswith("37 datasets")
    assert outcomes["dictionary"].summary == out.strip()


def test_each_fault_of_a_check_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = "models/x.yml: fct_loan: declares no owner; add `owner` to its meta: " + "a long advice [1] " * 20
    show_checks(
        [
            CheckOutcome(name="registry", fault=f"{line}\n{line}"),
            CheckOutcome(name="rules", summary="well", warnings=[line]),
        ],
        as_json=False,
    )
    said = [f"registry: fault {line}"] * 2 + ["rules: ok well", f"rules: warning {line}", ""]
    assert capsys.readouterr().out.split("\n") == said
