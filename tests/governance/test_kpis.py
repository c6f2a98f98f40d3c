"""The catalogue of KPIs: what it lists, what it refuses, and what it says of a value that is blank, stale or old."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from governance.dictionary import read_dictionary
from governance.kpi_rows import explain
from governance.kpi_values import kpi_values, standing
from governance.kpis import Kpi, find_kpi, read_kpis
from governance.manifest import Manifest
from lendloop.clock import Clock, parse_clock
from lendloop.errors import ConfigurationError
from lendloop.home import Home
from lendloop.project import load_manifest
from lendloop.publish import Catalog, GroupState, PublishedTable
from lendloop.source_status import SourceStatus
from lendloop.standing import Demotion
from lendloop.standing import Standing as DatasetStanding
from orchestration.cli import main

AS_OF = datetime(2026, 3, 31, 6, tzinfo=UTC)
CLOCK: Clock = parse_clock("2026-03-31T06:00:00Z")
AGREED = DatasetStanding()
NO_COSTS = {"costs": SourceStatus(source="costs")}
COSTS = {"costs": SourceStatus(source="costs", configured=True)}


@pytest.fixture(scope="module")
def project(parsed: Home) -> dict[str, Any]:
    return load_manifest(parsed)


@pytest.fixture
def kpis(project: dict[str, Any]) -> dict[str, Kpi]:
    return {kpi.name: kpi for kpi in read_kpis(project)}


@pytest.fixture
def published() -> Iterator[duckdb.DuckDBPyConnection]:
    """Three small tables as readers find them."""
    with duckdb.connect() as con:
        con.execute("create schema kpi; create schema trusted")
        con.execute(
            "create table kpi.kpi_portfolio_daily as select * from (values"
            " (date '2026-03-29', 'NG', 1, 'NGN', 10.0, 100.0), (date '2026-03-31', 'NG', 1, 'NGN', 25.0, 100.0),"
            " (date '2026-03-31', 'NG', 2, 'NGN', 0.0, 300.0), (date '2026-03-31', 'NG', 1, 'USD', 7.0, 7.0),"
            " (date '2026-03-31', 'GH', 3, 'GHS', 0.0, 0.0))"
            " as t(as_of_date, market, product_id, currency, par_30_principal, outstanding_principal)"
        )
        con.execute(
            "create table kpi.kpi_first_payment_default as select * from (values"
            " (date '2026-03-20', 'NG', 1, 'NGN', 7, 1, 4), (date '2026-03-25', 'NG', 1, 'NGN', 7, 0, 0),"
            " (date '2026-03-25', 'NG', 1, 'NGN', 1, 1, 1))"
            " as t(first_due_on, market, product_id, currency, horizon_days, defaulted_loan_count, mature_loan_count)"
        )
        con.execute(
            "create table kpi.kpi_unit_economics_monthly as select * from (values"
            " (date '2026-01-01', 'NG', 1, 'NGN', 90.0, 3), (date '2026-02-01', 'NG', 1, 'NGN', null, 3),"
            " (date '2026-02-01', 'GH', 3, 'GHS', 5.0, 0))"
            " as t(calendar_month, market, product_id, currency, new_borrower_cost, new_borrower_count)"
        )
        con.execute(
            "create table trusted.agg_portfolio_monthly as"
            " select *, 0 as annualised_net_income, 1 as average_outstanding_principal from kpi.kpi_unit_economics_monthly"
        )
        con.execute(
            "create table trusted.fct_loan as select i as loan_id, 'NG' as market, 1 as product_id, 'NGN' as currency,"
            " true as is_first_loan, date '2026-01-15' as disbursed_on from range(3) t(i)"
        )
        con.execute(
            "create table trusted.fct_cost as select * from (values ('a', date '2026-01-01', 'NG', 'NGN', null::bigint, 'acquisition', 60.0),"
            " ('b', date '2026-01-01', 'NG', 'NGN', null, 'onboarding', 30.0), ('c', date '2026-01-01', 'NG', 'NGN', null, 'funding', 9.0))"
            " as t(cost_id, calendar_month, market, currency, cost_product_id, cost_kind, cost_amount)"
        )
        yield con


def catalog(*, state: str = "fresh", as_of: datetime = AS_OF) -> Catalog:
    tables = ("portfolio_daily", "first_payment_default", "unit_economics_monthly")
    return Catalog(
        version=3,
        groups={"portfolio": GroupState(state=state, version=3, published_as_of=as_of, reason="a test failed")},
        tables={
            f"kpi.kpi_{name}": PublishedTable(group="portfolio", rows=1, files=[], published_as_of=as_of, version=3)
            for name in tables
        },
    )


def test_every_definition_of_the_company_is_listed_with_its_term_owner_and_rows(
    kpis: dict[str, Kpi], manifest: Manifest
) -> None:
    terms = read_dictionary(manifest).terms
    assert set(kpis) >= {
        *(f"par_{days}" for days in (1, 7, 30, 60, 90)), "written_off_amount", "fpd_1", "fpd_7", "fpd_30",
        "roll_rate_current_to_1_7", "roll_rate_61_90_to_91_plus", "vintage_loss_8", "approval_rate", "take_up_rate",
        *(f"repeat_rate_{days}" for days in (30, 60, 90)), "customer_acquisition_cost", "customer_lifetime_value_6",
        *(f"recovery_rate_{days}" for days in (30, 90, 180, 360)), "net_yield", "dpd_91_plus_share", "repeat_count",
    }  # fmt: skip
    for kpi in kpis.values():
        assert kpi.term in terms, kpi.name
        assert kpi.meaning, kpi.name
        assert kpi.owner in manifest.teams, kpi.name
        assert kpi.version >= 1
    assert {kpis["par_30"].kind, kpis["vintage_loss_8"].kind} == {"metric", "sql"}
    assert kpis["fpd_7"].place == "kpi.kpi_first_payment_default.fpd_rate (horizon_days = 7)"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"table": "kpi_nothing"}, "stands in no column of kpi_nothing"),
        ({"rows": ["nothing"]}, "no governance/rows/nothing.sql"),
        ({"series": [{"days": 7}]}, "its series must name horizon_days"),
        ({"refesh": "daily"}, "refesh: Extra inputs are not permitted"),
        ({"series_name": "fpd"}, "KPIs with one name: fpd"),
    ],
)
def test_what_is_declared_wrong_is_named(project: dict[str, Any], change: dict[str, Any], said: str) -> None:
    broken = {**project, "metrics": deepcopy(project["metrics"])}
    (metric,) = [one for one in broken["metrics"].values() if one["name"] == "fpd_rate"]
    metric["config"]["meta"]["kpi"] |= change
    with pytest.raises(ConfigurationError, match=said):
        read_kpis(broken)


def test_an_unknown_kpi_is_answered_with_the_nearest(kpis: dict[str, Kpi]) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown KPI 'par_31'; nearest: par_1, par_30, .*lists all"):
        find_kpi(list(kpis.values()), "par_31")


def test_products_together_are_divided_anew_and_currencies_are_kept_apart(
    published: duckdb.DuckDBPyConnection, kpis: dict[str, Kpi]
) -> None:
    values = kpi_values(published, kpis["par_30"], since=date(2026, 3, 31))
    assert {(value.market, value.currency): value.value for value in values} == {
        ("NG", "NGN"): Decimal("0.0625"),
        ("NG", "USD"): 1,
        ("GH", "GHS"): None,
    }
    by_product = kpi_values(published, kpis["par_30"], since=date(2026, 3, 31), by="product", market="NG")
    assert [(value.product, value.value) for value in by_product] == [("1", Decimal("0.25")), ("1", 1), ("2", 0)]


def test_a_value_now_has_its_day_its_trend_with_gaps_and_its_freshness(
    published: duckdb.DuckDBPyConnection, kpis: dict[str, Kpi]
) -> None:
    found = {
        (one.market, one.currency): one
        for one in standing(published, kpis["par_30"], catalog(), NO_COSTS, CLOCK, demotions=AGREED)
    }
    naira = found["NG", "NGN"]
    assert (naira.period, naira.value, naira.status, naira.published_as_of) == (
        date(2026, 3, 31), Decimal("0.0625"), "ok", AS_OF,
    )  # fmt: skip
    assert len(naira.trend) == 30
    assert naira.trend[-3:] == (Decimal("0.1"), None, Decimal("0.0625"))
    assert (found["GH", "GHS"].status, found["GH", "GHS"].reason) == ("blank", "nothing to divide by")


def test_where_cells_mature_the_newest_mature_one_is_shown(
    published: duckdb.DuckDBPyConnection, kpis: dict[str, Kpi]
) -> None:
    (found,) = standing(published, kpis["fpd_7"], catalog(), NO_COSTS, CLOCK, demotions=AGREED)
    assert (found.period, found.value) == (date(2026, 3, 20), Decimal("0.25"))
    published.execute("delete from kpi.kpi_first_payment_default where first_due_on = date '2026-03-20'")
    (found,) = standing(published, kpis["fpd_7"], catalog(), NO_COSTS, CLOCK, demotions=AGREED)
    assert (found.value, found.status, found.reason) == (None, "blank", "nothing is old enough yet")


def test_a_month_without_costs_is_blank_with_the_reason_and_no_older_month_stands_for_it(
    published: duckdb.DuckDBPyConnection, kpis: dict[str, Kpi]
) -> None:
    cac = kpis["customer_acquisition_cost"]
    found = {one.market: one for one in standing(published, cac, catalog(), COSTS, CLOCK, demotions=AGREED)}
    assert (found["NG"].period, found["NG"].value, found["NG"].status) == (date(2026, 2, 1), None, "blank")
    assert found["NG"].reason == "the file of costs lacks a kind that it needs, until 2026-02"
    assert found["NG"].trend[-2:] == (Decimal(30), None)
    assert found["GH"].reason == "nothing to divide by"
    without = standing(published, cac, catalog(), NO_COSTS, CLOCK, "NG", demotions=AGREED)
    assert [one.reason for one in without] == ["LENDLOOP_COSTS_FILE is not set: what the business costs is not known"]


def test_a_kept_version_and_an_old_one_are_stale(published: duckdb.DuckDBPyConnection, kpis: dict[str, Kpi]) -> None:
    kept = standing(published, kpis["fpd_7"], catalog(state="stale"), NO_COSTS, CLOCK, demotions=AGREED)
    assert [(one.status, one.reason) for one in kept] == [("stale", "its group keeps version 3: a test failed")]
    old = standing(
        published, kpis["fpd_7"], catalog(as_of=AS_OF - timedelta(hours=27)), NO_COSTS, CLOCK, demotions=AGREED
    )
    assert [(one.status, one.reason) for one in old] == [("stale", "older than 26 hours")]


def test_a_value_of_a_source_that_is_not_read_any_more_is_stale_though_it_is_made_anew_each_day(
    published: duckdb.DuckDBPyConnection, kpis: dict[str, Kpi]
) -> None:
    for hours, said in (
        (26, None),
        (27, "the ledger was last read in full 2026-03-30 03:00 UTC, more than 26 hours ago"),
    ):
        read = SourceStatus(source="ledger", configured=True, succeeded_as_of=AS_OF - timedelta(hours=hours))
        (found,) = standing(published, kpis["fpd_7"], catalog(), {**NO_COSTS, "ledger": read}, CLOCK, demotions=AGREED)
        assert (found.status, found.reason) == ("stale" if said else "ok", said)
    none = {**NO_COSTS, "ledger": SourceStatus(source="ledger")}
    (found,) = standing(published, kpis["fpd_7"], catalog(), none, CLOCK, demotions=AGREED)
    assert (found.status, found.reason) == (
        "stale",
        "the ledger is not configured any more: what is left of it grows old",
    )


def test_a_value_of_a_demoted_table_or_of_what_rests_on_one_is_not_shown_as_agreed(
    published: duckdb.DuckDBPyConnection, kpis: dict[str, Kpi]
) -> None:
    table, fact = kpis["fpd_7"].table, "trusted.fct_loan"
    broken = Demotion(since=AS_OF, reason="its promise broke on 3 of the last 7 days", dependents=[table])
    for key, said in ((table, "demoted since 2026-03-31: its promise broke"), (fact, f"rests on {fact}, demoted")):
        (found,) = standing(
            published, kpis["fpd_7"], catalog(), NO_COSTS, CLOCK, demotions=DatasetStanding(demoted={key: broken})
        )
        assert found.value == Decimal("0.25")
        assert found.status == "demoted"
        assert (found.reason or "").startswith(said)


def test_what_is_not_published_is_blank(kpis: dict[str, Kpi]) -> None:
    (found,) = standing(None, kpis["par_30"], Catalog(), NO_COSTS, CLOCK, demotions=AGREED)
    assert (found.status, found.value) == ("blank", None)


def test_the_rows_behind_a_value_are_bounded_and_add_up(
    published: duckdb.DuckDBPyConnection, kpis: dict[str, Kpi]
) -> None:
    (found,) = explain(published, kpis["customer_acquisition_cost"], on=date(2026, 1, 20), limit=2)
    assert (found.value.value, found.rows_of, found.adds_up) == (30, "new_borrowers", True)
    assert found.rows == (("cost a", 60, 0), ("cost b", 30, 0))
    assert (found.total, found.others, found.others_numerator, found.others_denominator) == (5, 3, 0, 3)


def test_rows_that_do_not_add_up_are_passed_over_for_coarser_ones_and_said_when_there_are_none(
    published: duckdb.DuckDBPyConnection, kpis: dict[str, Kpi]
) -> None:
    published.execute("update trusted.fct_cost set cost_amount = 61 where cost_id = 'a'")
    cac = kpis["customer_acquisition_cost"]
    (found,) = explain(published, cac, on=date(2026, 1, 1))
    assert (found.rows_of, found.adds_up, found.total) == ("portfolio_months", True, 1)
    (alone,) = explain(published, replace(cac, rows=("new_borrowers",)), on=date(2026, 1, 1))
    assert not alone.adds_up


def test_a_day_without_a_value_names_the_nearest(published: duckdb.DuckDBPyConnection, kpis: dict[str, Kpi]) -> None:
    with pytest.raises(ConfigurationError, match="fpd_7 has no value of 2026-03-21; the nearest is of 2026-03-20"):
        explain(published, kpis["fpd_7"], on=date(2026, 3, 21))


@pytest.mark.parametrize("command", [["kpi"], ["kpi", "explain", "par_30", "--by", "product"]])
@pytest.mark.usefixtures("clean_environment")
def test_a_market_that_does_not_exist_is_refused_and_the_known_are_listed(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command, "--market", "XX"])
    assert left.value.code == 2
    assert capsys.readouterr().err == "lendloop: unknown market 'XX': one of NG, GH, BR, CI, ZZ\n"
