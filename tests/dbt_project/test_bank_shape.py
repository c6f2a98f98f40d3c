"""A ledger alone, in the shape of a bank's export: no CRM, no support, no phone, no office, few columns, a foreign currency."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from dbt_lab import Lab

AS_OF = date(1998, 12, 31)
MADE = datetime(1998, 1, 1, tzinfo=UTC)


def loan(number: int, status: int, disbursed: int, repaid: int, outstanding: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "client_id": number,
        "product_id": 1,
        "loan_status_id": status,
        "currency_code": "CZK",
        "principal_amount": disbursed,
        "principal_disbursed_derived": disbursed,
        "principal_repaid_derived": repaid,
        "principal_outstanding_derived": outstanding,
        "number_of_repayments": 12,
        "disbursedon_date": date(1998, 1, 1),
        "created_on_utc": MADE,
        **more,
    }


@pytest.fixture(scope="module")
def lab(make_lab: Callable[[str], Lab]) -> Lab:
    lab = make_lab("bank")
    lab.set_clock(AS_OF)
    people = [{"id": n, "status_enum": 300, "date_of_birth": date(1950, 1, 1), "office_id": n} for n in range(1, 11)]
    lab.load("raw_ledger.m_client", people)
    lab.load(
        "raw_ledger.m_loan",
        [
            loan(1, 300, 1200, 600, 600),
            loan(2, 300, 2400, 1000, 1400),
            loan(3, 600, 500, 500, 0, closedon_date=date(1998, 9, 1)),
            loan(4, 601, 900, 300, 0, writtenoffon_date=date(1998, 6, 1)),
        ],
    )
    lab.load(
        "raw_ledger.m_loan_repayment_schedule",
        [
            {
                "id": 1,
                "loan_id": 1,
                "installment": 1,
                "duedate": date(1998, 11, 30),
                "principal_amount": 100,
                "completed_derived": False,
            },
            {
                "id": 2,
                "loan_id": 1,
                "installment": 2,
                "duedate": date(1998, 12, 30),
                "principal_amount": 100,
                "completed_derived": False,
            },
            {
                "id": 3,
                "loan_id": 2,
                "installment": 1,
                "duedate": date(1998, 12, 1),
                "principal_amount": 200,
                "completed_derived": True,
            },
            {
                "id": 4,
                "loan_id": 2,
                "installment": 2,
                "duedate": date(1999, 1, 1),
                "principal_amount": 200,
                "completed_derived": False,
            },
            {
                "id": 5,
                "loan_id": 4,
                "installment": 1,
                "duedate": date(1998, 2, 1),
                "principal_amount": 75,
                "completed_derived": False,
            },
        ],
    )
    lab.load(
        "raw_ledger.m_loan_transaction",
        [
            {
                "id": n,
                "loan_id": n,
                "is_reversed": False,
                "transaction_type_enum": 1,
                "transaction_date": date(1998, 1, 1),
                "amount": amount,
            }
            for n, amount in ((1, 1200), (2, 2400), (3, 500), (4, 900))
        ],
    )
    lab.load("raw_ledger.m_savings_account", [{"id": 7, "client_id": 5, "currency_code": "CZK"}])
    lab.load(
        "raw_ledger.m_savings_account_transaction",
        [
            {
                "id": 70,
                "savings_account_id": 7,
                "transaction_type_enum": 1,
                "transaction_date": date(1993, 3, 1),
                "amount": Decimal("76500"),
            },
            {
                "id": 71,
                "savings_account_id": 7,
                "transaction_type_enum": 2,
                "transaction_date": date(1993, 3, 2),
                "amount": Decimal("0.1"),
            },
        ],
    )
    lab.build()
    return lab


def test_par_is_the_whole_outstanding_principal_of_late_loans(lab: Lab) -> None:
    assert lab.rows(
        "select market, currency, loan_count, par_1_principal, par_30_principal, par_60_principal, outstanding_principal, par_30"
        " from kpi.kpi_portfolio_market_daily"
    ) == [("ZZ", "CZK", 2, 600, 600, 0, 2000, Decimal("0.3"))]
    assert lab.rows("select days_past_due, dpd_bucket, overdue_amount from trusted.fct_loan where loan_id = 1") == [
        (31, "31-60", 200)
    ]


def test_balances_the_ledger_does_not_derive_follow_from_those_it_does(lab: Lab) -> None:
    assert lab.rows(
        "select principal_written_off, total_outstanding, days_past_due from trusted.fct_loan where loan_id = 4"
    ) == [(600, 0, 0)]
    assert lab.rows(
        "select as_of_date, written_off_amount from trusted.agg_portfolio_daily where written_off_amount > 0"
    ) == [(date(1998, 6, 1), 600)]


def test_clients_without_names_or_contacts_stay_apart_and_unreachable(lab: Lab) -> None:
    assert lab.rows("select count(*), sum(ledger_client_count) from trusted.dim_customer") == [(10, 10)]
    assert lab.one("select count(*) from contacts.customer_contact") == 0
    assert lab.one("select count(*) from trusted.dim_contact_permission") == 0


def test_products_that_only_loans_name_are_there(lab: Lab) -> None:
    assert lab.rows("select product_id, product_name, currency from trusted.dim_product") == [(1, "Product 1", "CZK")]


def test_money_on_accounts_keeps_every_decimal(lab: Lab) -> None:
    assert lab.rows("select amount, transaction_type, market from trusted.fct_account_transaction order by 1 desc") == [
        (Decimal("76500.000000"), "deposit", "ZZ"),
        (Decimal("0.100000"), "withdrawal", "ZZ"),
    ]


@pytest.mark.slow
def test_a_second_build_with_nothing_new_changes_no_row(lab: Lab) -> None:
    tables = [
        name
        for (name,) in lab.rows(
            "select table_schema || '.' || table_name from information_schema.tables where table_schema in ('trusted', 'kpi', 'contacts')"
        )
    ]
    before = {name: lab.rows(f"select * from {name} order by all") for name in tables}
    lab.build()
    after = {name: lab.rows(f"select * from {name} order by all") for name in tables}
    assert before == after
    assert len(tables) >= 22


@pytest.mark.slow
def test_unit_tests_of_the_business_rules_pass(lab: Lab) -> None:
    outcome = lab.dbt("test", "--select", "test_type:unit")
    assert outcome.exception is None, outcome.exception
    assert {str(result.status) for result in outcome.result.results} == {"pass"}
    assert len(outcome.result.results) >= 12


@pytest.mark.slow
def test_nothing_at_all_in_raw_still_builds(make_lab: Callable[[str], Lab]) -> None:
    empty = make_lab("empty")
    empty.set_clock(datetime(2026, 3, 31, 12, tzinfo=UTC))
    empty.build()
    assert empty.one("select count(*) from trusted.dim_customer") == 0
    assert empty.one("select count(*) from trusted.dim_market") == 5
