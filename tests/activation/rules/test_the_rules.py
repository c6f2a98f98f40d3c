"""The project's rules on rows that sit on their boundaries."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from activation.ops import open_ops, reading
from activation.ops import tables as t
from lendloop.publish import Catalog, GroupState, PublishedTable, write_catalog
from lendloop.source_status import SourceStatus

BANK = "m_savings_account_transaction.csv.gz"


def transaction(published: Any, number: int, amount: str, currency: str = "NGN", **columns: Any) -> None:
    published.sql(
        "insert into trusted.fct_account_transaction values (?, 1, 1, 'NG', ?, 'deposit', ?, ?, ?, ?, ?)",
        number, currency, published.now.date(), Decimal(amount), columns.get("is_reversed", False),
        columns.get("at", published.now), None,
    )  # fmt: skip


def test_large_transaction_is_over_its_currencys_limit_and_not_at_it(published: Any) -> None:
    transaction(published, 1, "1500000")
    transaction(published, 2, "1500000.000001")
    transaction(published, 3, "1500000.01", is_reversed=True)
    transaction(published, 4, "50000", "XXX")
    transaction(published, 5, "50000.01", "XXX")
    found = published.evaluate("large_transaction")
    assert (found.outcome, found.passed, found.findings, found.new) == ("failed", False, 2, 2)
    assert {row["entity"] for row in found.sample} == {"account transaction 2", "account transaction 5"}
    assert found.metadata["findings"] == 2
    with reading(open_ops(published.settings)) as connection:
        values = {row.entity_key["transaction_id"]: row.value for row in connection.execute(t.finding.select())}
    assert values == {2: Decimal("1500000.000001"), 5: Decimal("50000.010000")}


def test_large_transaction_is_pointed_at_another_fact_by_its_name_alone(published: Any) -> None:
    published.sql(
        "insert into trusted.fct_loan_transaction values (7, 1, 'ZZ', 'CZK', 'disbursement', ?, 60000, false, null, null)",
        published.now.date(),
    )
    rule = published.rule("large_transaction", parameters={"fact": {"dataset": "trusted.fct_loan_transaction"}})
    found = published.evaluate(rule)
    assert [row["entity"] for row in found.sample] == ["loan transaction 7"]
    assert rule.tables == ("trusted.fct_loan_transaction",)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"fact": {"dataset": "trusted.fct_nothing"}}, "trusted.fct_nothing is not published; published: trusted"),
        (
            {"amount_column": {"column": "sum"}},
            "parameters.amount_column: trusted.fct_account_transaction has no column sum",
        ),
    ],
)
def test_large_transaction_pointed_at_nothing_says_what_is_there(
    published: Any, parameters: dict[str, Any], message: str
) -> None:
    found = published.evaluate(published.rule("large_transaction", parameters=parameters))
    assert (found.outcome, found.passed) == ("error", False)
    assert message in found.error


def test_the_real_bank_has_194_transactions_over_50000(published: Any, bank: Any) -> None:
    published.sql(
        f"""insert into trusted.fct_account_transaction
            select id, savings_account_id, 0, 'ZZ', 'CZK', transaction_type_enum::varchar, transaction_date, amount,
                is_reversed::boolean, null, null
            from read_csv('{bank / BANK}')"""
    )
    found = published.evaluate("large_transaction")
    assert found.findings == 194
    assert found.sample[0]["value"] == "76,500"


def cohort(published: Any, days_ago: int, loans: int, defaults: int, market: str = "NG") -> None:
    published.sql(
        "insert into trusted.agg_first_payment_default values (?, ?, 1, 'NGN', 7, ?, ?)",
        published.now.date() - timedelta(days=days_ago), market, loans, defaults,
    )  # fmt: skip


def steady_history(published: Any, *markets: str) -> None:
    """Eight weeks before the recent one, ten loans a day, three of them defaulted."""
    for market in markets:
        published.sql(
            "insert into trusted.agg_first_payment_default"
            " select ?::date - i::integer, ?, 1, 'NGN', 7, 10, 3 from range(14, 70) t(i)",
            published.now.date(), market,
        )  # fmt: skip


def test_a_spike_is_over_history_by_more_than_chance_and_needs_volume(published: Any) -> None:
    steady_history(published, "NG", "GH", "BR")
    cohort(published, 8, 100, 60)
    cohort(published, 8, 100, 43, "GH")
    cohort(published, 8, 29, 29, "BR")
    found = published.evaluate("first_payment_default_spike")
    assert [row["entity"] for row in found.sample] == ["NG product 1 (NGN)"]
    assert found.sample[0]["value"] == "60 %"
    cohort(published, 9, 100, 47, "GH")
    assert published.evaluate("first_payment_default_spike").findings == 2


def test_a_cohort_that_is_not_mature_or_too_old_says_nothing(published: Any) -> None:
    steady_history(published, "NG")
    cohort(published, 6, 100, 99)
    cohort(published, 14, 100, 99)
    assert published.evaluate("first_payment_default_spike").passed


def test_a_backlog_is_more_than_the_carried_tickets_older_than_the_hours(published: Any) -> None:
    def tickets(count: int, market: str, hours: float, is_open: bool = True) -> None:
        published.sql(
            "insert into trusted.fct_ticket select i, 'p', ?, 'open', ?, ? from range(?) t(i)",
            market, is_open, published.now - timedelta(hours=hours), count,
        )  # fmt: skip

    tickets(25, "NG", 72)
    tickets(26, "GH", 72)
    tickets(60, "BR", 71.9)
    tickets(60, "CI", 100, is_open=False)
    found = published.evaluate("ticket_backlog")
    assert [(row["entity"], row["deviance"]) for row in found.sample] == [("tickets of GH", "1.04")]


def test_a_feed_is_stale_after_its_hours_whatever_brings_the_newest_change(published: Any) -> None:
    transaction(published, 1, "1", at=published.now - timedelta(hours=25))
    found = published.evaluate("ledger_feed_stale")
    assert [(row["entity"], row["value"]) for row in found.sample] == [("feed of the ledger", "25")]
    published.sql(
        "insert into trusted.fct_loan_transaction values (7, 1, 'NG', 'NGN', 'repayment', ?, 1, false, ?, ?)",
        published.now.date(), published.now - timedelta(hours=90), published.now - timedelta(hours=24),
    )  # fmt: skip
    assert published.evaluate("ledger_feed_stale").passed


def test_a_source_that_is_not_configured_skips_the_rule(published: Any) -> None:
    published.status["support"] = SourceStatus(source="support", configured=False)
    found = published.evaluate("ticket_backlog")
    assert (found.outcome, found.passed, found.reason) == ("skipped", True, "not configured: support")


def test_before_the_first_publication_there_is_nothing_to_say(published: Any) -> None:
    published.settings.home.published.unlink()
    found = published.evaluate("ticket_backlog")
    assert (found.outcome, found.passed) == ("skipped", True)


@pytest.mark.parametrize(
    ("status", "frozen"),
    [
        ({"error": "timeout"}, "the last read of ledger failed"),
        ({"succeeded_as_of": None}, "the last read of ledger failed"),
        ({"age_hours": 49}, "ledger was last read at 2026-02-28 11:00 UTC"),
        ({"age_hours": 47}, None),
    ],
)
def test_old_data_clears_no_finding(published: Any, status: dict[str, Any], frozen: str | None) -> None:
    transaction(published, 1, "2000000")
    published.evaluate("large_transaction")
    published.sql("delete from trusted.fct_account_transaction")
    age = timedelta(hours=status.pop("age_hours", 0))
    published.status["ledger"] = SourceStatus.model_validate(
        {"source": "ledger", "configured": True, "succeeded_as_of": published.now - age, **status}
    )
    found = published.evaluate("large_transaction")
    assert found.frozen == frozen
    assert found.cleared == (0 if frozen else 1)


def test_a_group_whose_audit_failed_clears_no_finding(published: Any) -> None:
    transaction(published, 1, "2000000")
    published.evaluate("large_transaction")
    published.sql("delete from trusted.fct_account_transaction")
    table = PublishedTable(group="portfolio", rows=1, files=[], published_as_of=published.now, version=1)
    catalog = Catalog(
        groups={"portfolio": GroupState(state="stale")}, tables={"trusted.fct_account_transaction": table}
    )
    write_catalog(published.settings.home, catalog)
    found = published.evaluate("large_transaction")
    assert (found.frozen, found.cleared) == (
        "trusted.fct_account_transaction is stale: the audit of portfolio failed", 0,
    )  # fmt: skip


def test_two_rows_for_one_entity_are_a_failure_of_the_rule(published: Any) -> None:
    transaction(published, 1, "2000000")
    transaction(published, 1, "3000000")
    assert "two rows for one entity" in published.evaluate("large_transaction").error


def test_evaluating_reads_only_published_files(published: Any, tmp_path: Any) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("market\nNG\n")
    published.sql(f"create view trusted.fct_reachable as select * from read_csv('{secret}')")
    rule = published.rule(
        "ticket_backlog",
        sql="select market, 1 as value, 0 as threshold, 1 as oldest_hours from trusted.fct_reachable",
    )
    assert "Permission" in published.evaluate(rule).error


def test_a_published_file_is_readable_through_its_view(published: Any) -> None:
    path = published.settings.home.published_files / "fct_seen.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"copy (select 'NG' as market) to '{path}'")
    published.sql(f"create view trusted.fct_seen as select * from read_parquet('{path}')")
    rule = published.rule(
        "ticket_backlog", sql="select market, 1 as value, 1 as threshold, 1 as oldest_hours from trusted.fct_seen"
    )
    assert published.evaluate(rule).findings == 1
