"""The ledger agrees with itself to the cent, and the truth with the ledger."""

from __future__ import annotations

from world_lab import Query

from ingestion.tables import LEDGER
from sandbox.world import World

TRANSACTION_SUMS = """
    SELECT loan_id,
        sum(amount) FILTER (transaction_type_enum = 1) AS disbursed,
        coalesce(sum(principal_portion_derived) FILTER (transaction_type_enum = 2 AND NOT is_reversed), 0) AS principal,
        coalesce(sum(interest_portion_derived) FILTER (transaction_type_enum = 2 AND NOT is_reversed), 0) AS interest,
        coalesce(sum(fee_charges_portion_derived) FILTER (transaction_type_enum = 2 AND NOT is_reversed), 0) AS fee,
        coalesce(sum(amount) FILTER (transaction_type_enum = 2 AND NOT is_reversed), 0) AS paid,
        coalesce(sum(principal_portion_derived) FILTER (transaction_type_enum = 6), 0) AS lost,
        coalesce(sum(amount) FILTER (transaction_type_enum = 8), 0) AS recovered
    FROM m_loan_transaction GROUP BY loan_id
"""
SCHEDULE_SUMS = """
    SELECT loan_id, sum(principal_amount) AS principal, sum(principal_completed_derived) AS principal_paid,
        sum(principal_writtenoff_derived) AS principal_lost, sum(interest_amount) AS interest,
        sum(interest_completed_derived) AS interest_paid, sum(fee_charges_amount) AS fee,
        bool_and(completed_derived) AS complete, count(*) AS instalments
    FROM m_loan_repayment_schedule GROUP BY loan_id
"""


def test_every_table_and_column_of_the_contract_is_there(world: World) -> None:
    for declared in LEDGER:
        assert set(declared.columns) <= set(world.table(declared.name).column_names), declared.name


def test_loans_agree_with_their_transactions_to_the_cent(ask_large: Query) -> None:
    counted, wrong = ask_large(f"""
        SELECT count(*), count(*) FILTER (
            principal_disbursed_derived <> disbursed OR principal_repaid_derived <> principal
            OR principal_writtenoff_derived <> lost OR total_recovered_derived <> recovered
            OR principal_outstanding_derived <> CASE WHEN loan_status_id = 300 THEN disbursed - principal - lost ELSE 0 END
            OR (loan_status_id = 601) <> (lost > 0)
            OR (loan_status_id IN (600, 700) AND principal <> disbursed)
            OR (loan_status_id = 700) <> (paid > principal + interest + fee))
        FROM m_loan JOIN ({TRANSACTION_SUMS}) t ON t.loan_id = m_loan.id
    """)[0]
    assert counted > 1_000
    assert wrong == 0


def test_loans_agree_with_their_schedule_to_the_cent(ask_large: Query) -> None:
    counted, wrong = ask_large(f"""
        SELECT count(*), count(*) FILTER (
            s.principal <> principal_disbursed_derived OR principal_paid <> principal_repaid_derived
            OR principal_lost <> principal_writtenoff_derived OR s.interest <> interest_charged_derived
            OR interest_paid <> t.interest OR instalments <> number_of_repayments
            OR complete <> (loan_status_id IN (600, 700))
            OR total_outstanding_derived <> CASE WHEN loan_status_id = 300 THEN s.principal + s.interest + s.fee - paid ELSE 0 END)
        FROM m_loan JOIN ({TRANSACTION_SUMS}) t ON t.loan_id = m_loan.id JOIN ({SCHEDULE_SUMS}) s ON s.loan_id = m_loan.id
    """)[0]
    disbursed = ask_large("SELECT count(*) FROM m_loan WHERE disbursedon_date IS NOT NULL")[0][0]
    assert counted == disbursed
    assert wrong == 0


def test_an_instalment_is_complete_when_all_of_it_is_paid(ask_large: Query) -> None:
    wrong = ask_large("""
        SELECT count(*) FROM m_loan_repayment_schedule
        WHERE completed_derived <> (principal_completed_derived = principal_amount AND interest_completed_derived = interest_amount)
            OR completed_derived <> (obligations_met_on_date IS NOT NULL)
            OR fromdate >= duedate OR principal_amount <= 0
            OR principal_completed_derived + principal_writtenoff_derived > principal_amount
    """)
    assert wrong == [(0,)]


def test_the_day_an_instalment_was_met_is_the_day_of_a_payment(ask_large: Query) -> None:
    wrong = ask_large("""
        SELECT count(*) FROM m_loan_repayment_schedule s WHERE completed_derived AND NOT EXISTS (
            FROM m_loan_transaction t WHERE t.loan_id = s.loan_id AND t.transaction_type_enum = 2
                AND NOT t.is_reversed AND t.transaction_date = s.obligations_met_on_date)
    """)
    assert wrong == [(0,)]


def test_arrears_are_rebuilt_from_the_schedule_of_active_loans(ask_large: Query) -> None:
    missing = ask_large("""
        WITH due AS (
            SELECT s.loan_id, sum(s.principal_amount - principal_completed_derived) AS principal,
                sum(interest_amount - interest_completed_derived) AS interest, min(duedate) AS since
            FROM m_loan_repayment_schedule s JOIN m_loan l ON l.id = s.loan_id
            JOIN truth_loans t ON t.loan_id = s.loan_id
            WHERE loan_status_id = 300 AND duedate < as_of_date AND NOT completed_derived GROUP BY s.loan_id)
        SELECT count(*), count(*) FILTER (
            a.loan_id IS NULL OR due.loan_id IS NULL OR principal <> principal_overdue_derived
            OR interest <> interest_overdue_derived OR since <> overdue_since_date_derived
            OR total_overdue_derived <> principal_overdue_derived + interest_overdue_derived + fee_charges_overdue_derived)
        FROM due FULL JOIN m_loan_arrears_aging a USING (loan_id)
    """)[0]
    assert missing[0] > 100
    assert missing[1] == 0


def test_the_truth_about_loans_is_what_ledger_and_schedule_say(ask_large: Query) -> None:
    counted, wrong = ask_large("""
        WITH oldest AS (
            SELECT loan_id, min(duedate) AS due FROM m_loan_repayment_schedule WHERE NOT completed_derived GROUP BY loan_id)
        SELECT count(*), count(*) FILTER (
            t.status_id <> l.loan_status_id OR t.principal_outstanding <> l.principal_outstanding_derived
            OR t.days_past_due <> CASE WHEN loan_status_id = 300 THEN greatest(date_diff('day', due, as_of_date), 0) ELSE 0 END
            OR t.oldest_unpaid_due_on IS DISTINCT FROM CASE WHEN loan_status_id = 300 AND due < as_of_date THEN due END
            OR l.is_npa <> (t.days_past_due > 90))
        FROM truth_loans t FULL JOIN m_loan l ON l.id = t.loan_id LEFT JOIN oldest o ON o.loan_id = l.id
    """)[0]
    assert counted > 1_000
    assert wrong == 0


def test_every_loan_belongs_to_the_person_of_its_client(ask_large: Query) -> None:
    wrong = ask_large("""
        SELECT count(*) FROM m_loan l JOIN truth_loans t ON t.loan_id = l.id
        LEFT JOIN truth_person_sources s ON s.source = 'ledger' AND s.source_id = l.client_id::VARCHAR
        WHERE s.person_id IS DISTINCT FROM t.person_id
    """)
    assert wrong == [(0,)]


def test_no_loan_of_a_currency_without_minor_units_has_cents(ask_large: Query) -> None:
    cents = ask_large("""
        SELECT count(*) FROM m_loan_transaction t JOIN m_loan l ON l.id = t.loan_id
        WHERE currency_code = 'XOF' AND (amount % 1 <> 0 OR principal_portion_derived % 1 <> 0 OR interest_portion_derived % 1 <> 0)
    """)
    assert cents == [(0,)]
    assert ask_large("SELECT count(*) > 0 FROM m_loan WHERE currency_code = 'XOF' AND loan_status_id = 600") == [
        (True,)
    ]


def test_every_status_of_a_loan_and_every_type_of_transaction_occurs(ask_large: Query) -> None:
    statuses = {row[0] for row in ask_large("SELECT DISTINCT loan_status_id FROM m_loan")}
    types = {row[0] for row in ask_large("SELECT DISTINCT transaction_type_enum FROM m_loan_transaction")}
    assert {100, 200, 300, 400, 500, 600, 601, 700} <= statuses
    assert {1, 2, 6, 8} <= types


def test_about_half_of_first_loans_default_and_fewer_of_later_ones(ask_large: Query) -> None:
    rates = dict(
        ask_large("""
        SELECT loan_counter = 1, avg((obligations_met_on_date IS NULL OR obligations_met_on_date > duedate + 30)::INT)
        FROM m_loan l JOIN m_loan_repayment_schedule s ON s.loan_id = l.id AND s.installment = 1
        WHERE duedate + 30 < DATE '2026-06-30' GROUP BY 1
    """)
    )
    assert 0.4 < rates[True] < 0.58
    assert rates[False] < 0.3


def test_repayments_are_early_late_partial_and_reversed(ask_large: Query) -> None:
    early, late, partial, undone = ask_large("""
        SELECT count(*) FILTER (transaction_date < duedate), count(*) FILTER (transaction_date > duedate),
            count(*) FILTER (amount < s.principal_amount), count(*) FILTER (is_reversed)
        FROM m_loan_transaction t JOIN m_loan_repayment_schedule s ON s.loan_id = t.loan_id AND s.installment = 1
        JOIN m_loan l ON l.id = t.loan_id WHERE transaction_type_enum = 2 AND number_of_repayments = 1
    """)[0]
    assert min(early, late, partial, undone) > 20


def test_a_write_off_comes_120_days_after_the_oldest_unpaid_instalment(ask_large: Query) -> None:
    days = ask_large("""
        SELECT DISTINCT date_diff('day', min(duedate), any_value(writtenoffon_date))
        FROM m_loan l JOIN m_loan_repayment_schedule s ON s.loan_id = l.id
        WHERE loan_status_id = 601 AND NOT completed_derived GROUP BY l.id
    """)
    assert days == [(120,)]


def test_no_account_is_ever_overdrawn_and_balances_add_up(ask_large: Query) -> None:
    wrong = ask_large("""
        SELECT count(*) FILTER (running_balance_derived < 0), count(*) FILTER (running_balance_derived <> total) FROM (
            SELECT *, sum(CASE transaction_type_enum WHEN 1 THEN amount ELSE -amount END)
                OVER (PARTITION BY savings_account_id ORDER BY id) AS total FROM m_savings_account_transaction)
    """)
    assert wrong == [(0, 0)]


def test_a_few_account_transactions_are_very_large(ask_large: Query) -> None:
    share = ask_large("""
        SELECT avg((amount > 20 * median)::INT) FROM (
            SELECT amount, median(amount) OVER (PARTITION BY currency_code) AS median
            FROM m_savings_account_transaction t JOIN m_savings_account a ON a.id = t.savings_account_id)
    """)[0][0]
    assert 0 < share < 0.02
