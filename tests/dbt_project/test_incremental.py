"""Incremental facts equal a full rebuild, whatever happened in between; the daily aggregate keeps its past."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dbt_lab import Lab

FACTS = ("fct_loan_transaction", "fct_account_transaction", "fct_installment")
MADE = datetime(2026, 1, 1, tzinfo=UTC)
START = date(2026, 3, 1)
APART = 5_000
"""How far apart the ids of facts are: several lie in one stretch that is compared as one, and there are many stretches."""


def ids(numbers: Iterable[int]) -> list[int]:
    return [number * APART for number in numbers]


def select(*models: str) -> tuple[str, ...]:
    return ("--exclude-resource-type", "test", "--select", *(f"+{model}" for model in models))


def loan(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "client_id": number % 7 + 1,
        "product_id": 1,
        "loan_status_id": 300,
        "currency_code": "NGN",
        "principal_amount": 1000,
        "principal_disbursed_derived": 1000,
        "principal_outstanding_derived": 500,
        "disbursedon_date": date(2026, 2, 1),
        **more,
    }


def transaction(number: int, loan_id: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number * APART,
        "loan_id": loan_id,
        "is_reversed": False,
        "transaction_type_enum": 2,
        "transaction_date": START - timedelta(days=number % 20),
        "amount": 10 + number,
        **more,
    }


def installment(number: int, loan_id: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number * APART,
        "loan_id": loan_id,
        "installment": number % 5 + 1,
        "duedate": START + timedelta(days=number % 15 - 7),
        "principal_amount": 100,
        "completed_derived": False,
        **more,
    }


def movement(number: int, account: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number * APART,
        "savings_account_id": account,
        "transaction_type_enum": 1 + number % 2,
        "transaction_date": START,
        "amount": number,
        **more,
    }


def begin(lab: Lab) -> None:
    lab.set_clock(START)
    lab.load("raw_ledger.m_office", [{"id": 1, "external_id": "NG"}, {"id": 2, "external_id": "GH"}])
    lab.load("raw_ledger.m_client", [{"id": n, "office_id": n % 2 + 1, "created_on_utc": MADE} for n in range(1, 8)])
    lab.load("raw_ledger.m_loan", [loan(n) for n in range(1, 21)])
    lab.load("raw_ledger.m_loan_transaction", [transaction(n, n % 25 + 1) for n in range(1, 81)])
    lab.load("raw_ledger.m_loan_repayment_schedule", [installment(n, n % 20 + 1) for n in range(1, 61)])
    lab.load("raw_ledger.m_savings_account", [{"id": n, "client_id": n, "currency_code": "NGN"} for n in range(1, 8)])
    lab.load("raw_ledger.m_savings_account_transaction", [movement(n, n % 9 + 1) for n in range(1, 41)])


def something_happens(lab: Lab, draw: random.Random, round_number: int) -> None:
    """One of everything that can change a fact, at random."""
    fresh = 1000 * round_number
    lab.set_clock(START + timedelta(days=round_number * draw.choice((0, 1, 3))))
    lab.load(
        "raw_ledger.m_loan_transaction",
        [transaction(fresh + n, draw.randint(1, 25)) for n in range(draw.randint(0, 5))],
    )
    lab.load(
        "raw_ledger.m_loan_transaction",
        [
            transaction(n, draw.randint(1, 20), is_reversed=True, amount=draw.randint(1, 99))
            for n in draw.sample(range(1, 81), 4)
        ],
    )
    lab.delete("raw_ledger.m_loan_transaction", ids(draw.sample(range(1, 81), 3)))
    lab.load(
        "raw_ledger.m_loan_repayment_schedule",
        [
            installment(
                n,
                n % 20 + 1,
                completed_derived=True,
                obligations_met_on_date=START + timedelta(days=draw.randint(0, 9)),
            )
            for n in draw.sample(range(1, 61), 5)
        ],
    )
    lab.delete("raw_ledger.m_loan_repayment_schedule", ids(draw.sample(range(1, 61), 2)))
    lab.load("raw_ledger.m_loan", [loan(n, product_id=draw.randint(1, 3)) for n in draw.sample(range(1, 26), 4)])
    lab.delete("raw_ledger.m_loan", [draw.randint(1, 20)])
    lab.load(
        "raw_ledger.m_client", [{"id": draw.randint(1, 7), "office_id": draw.randint(1, 3), "created_on_utc": MADE}]
    )
    lab.load(
        "raw_ledger.m_savings_account",
        [{"id": draw.randint(1, 9), "client_id": draw.randint(1, 7), "currency_code": "NGN"}],
    )
    lab.load("raw_ledger.m_savings_account_transaction", [movement(fresh + n, draw.randint(1, 9)) for n in range(3)])
    lab.delete("raw_ledger.m_savings_account_transaction", ids(draw.sample(range(1, 41), 2)))


def contents(lab: Lab, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
    return {table: lab.rows(f"select * from trusted.{table} order by all") for table in tables}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_incremental_facts_equal_a_full_rebuild_after_any_history(
    make_lab: Callable[[str], Lab], tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    lab = make_lab(f"history{seed}")
    begin(lab)
    lab.build(*select(*FACTS))
    for round_number in (1, 2, 3):
        something_happens(lab, draw, round_number)
        lab.build(*select(*FACTS))
    incremental = contents(lab, *FACTS)
    rebuilt = lab.copy(tmp_path / "rebuilt")
    rebuilt.build("--full-refresh", *select(*FACTS))
    assert contents(rebuilt, *FACTS) == incremental
    assert all(rows for rows in incremental.values())


@pytest.fixture(scope="module")
def daily(make_lab: Callable[[str], Lab]) -> Lab:
    lab = make_lab("daily")
    lab.set_clock(START)
    lab.load("raw_ledger.m_office", [{"id": 1, "external_id": "NG"}])
    lab.load("raw_ledger.m_client", [{"id": 1, "office_id": 1, "created_on_utc": MADE}])
    lab.load("raw_ledger.m_loan", [loan(1, client_id=1), loan(2, client_id=1, product_id=2)])
    lab.load(
        "raw_ledger.m_loan_transaction",
        [
            transaction(1, 1, transaction_date=START - timedelta(days=1), amount=40),
            transaction(2, 1, transaction_date=START, amount=60),
        ],
    )
    lab.build(*select("kpi_portfolio_daily"))
    return lab


def days(lab: Lab) -> list[tuple[Any, ...]]:
    return lab.rows(
        "select as_of_date, product_id, outstanding_principal, repaid_amount from trusted.agg_portfolio_daily order by all"
    )


YESTERDAY, TOMORROW = START - timedelta(days=1), START + timedelta(days=1)


def test_days_before_the_first_snapshot_have_flows_and_no_stock(daily: Lab) -> None:
    assert days(daily) == [(YESTERDAY, 1, None, 40), (START, 1, 500, 60), (START, 2, 500, 0)]
    assert daily.rows("select distinct as_of_date from kpi.kpi_portfolio_daily") == [(START,)]


@pytest.mark.slow
def test_the_past_keeps_its_stock_and_a_late_reversal_corrects_the_day_it_belongs_to(daily: Lab) -> None:
    daily.set_clock(TOMORROW)
    daily.load("raw_ledger.m_loan", [loan(1, client_id=1, principal_outstanding_derived=300)])
    daily.load(
        "raw_ledger.m_loan_transaction",
        [
            transaction(1, 1, transaction_date=YESTERDAY, amount=40, is_reversed=True),
            transaction(2, 1, transaction_date=START, amount=60, is_reversed=True),
            transaction(3, 1, transaction_date=TOMORROW, amount=200),
        ],
    )
    daily.delete("raw_ledger.m_loan", [2])
    daily.build("--full-refresh", *select("kpi_portfolio_daily"))
    assert days(daily) == [(START, 1, 500, 0), (START, 2, 500, 0), (TOMORROW, 1, 300, 200)]


@pytest.mark.slow
def test_the_stock_of_today_is_replaced_by_the_next_build(daily: Lab) -> None:
    daily.load("raw_ledger.m_loan", [loan(1, client_id=1, product_id=3, principal_outstanding_derived=250)])
    daily.build(*select("kpi_portfolio_daily"))
    assert days(daily) == [(START, 1, 500, 0), (START, 2, 500, 0), (TOMORROW, 3, 250, 200)]


@pytest.mark.slow
def test_a_value_that_stands_twice_is_found_where_no_primary_key_refuses_it(daily: Lab) -> None:
    checks = ("test", "--select", "fct_loan,test_name:unique")
    passed = daily.dbt(*checks)
    assert passed.success
    assert len(passed.result.results) == 1
    with daily.connect() as con:
        con.execute("create table keyless as from trusted.fct_loan; drop table trusted.fct_loan")
        con.execute("create table trusted.fct_loan as from keyless union all from keyless")
    failed = daily.dbt(*checks)
    assert not failed.success
    assert failed.result.results[0].failures == len(daily.rows("select * from keyless"))
