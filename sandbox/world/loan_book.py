"""The ledger's loans as they stand on a day: loans, transactions, schedules and arrears.

What belongs here: the projection of what will happen (`lives`) onto what has been committed by
the day of the view. Every derived column is computed from the same transactions, so the tables
agree to the cent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa

from sandbox.world import markets
from sandbox.world.allotment import committed_payments, last_payment, last_touched, met_at, parts
from sandbox.world.clients import Clients
from sandbox.world.draws import Bools, Draws, Ints
from sandbox.world.lives import Applications, Funnel
from sandbox.world.loan_transactions import transaction_table
from sandbox.world.people import People
from sandbox.world.repayments import NEVER_DAY, local_day
from sandbox.world.units import DAY, HOUR, LEDGER_TIME, NEVER, dates, decimals, in_order, ranks, text, times

SUBMITTED, APPROVED, ACTIVE, WITHDRAWN, REJECTED = 100, 200, 300, 400, 500
CLOSED, WRITTEN_OFF, OVERPAID = 600, 601, 700
NPA_AFTER_DPD = 90


@dataclass(frozen=True)
class LoanBook:
    """The book on a day beside its tables: what the truth needs."""

    application: Ints
    """Row of `Funnel.applications` for each row of `m_loan`, as the next four."""
    status: Ints
    outstanding: Ints
    days_past_due: Ints
    oldest_unpaid_due: Ints
    loan_id: Ints
    """By application; -1 while the ledger has no loan for it."""


def loan_ids(applications: Applications, as_of: int) -> Ints:
    """By application the id of the ledger's loan, which is made when the KYC is complete; -1 without."""
    made = np.flatnonzero(applications.kyc <= as_of)
    ids = np.full(len(applications.person), -1, dtype=np.int64)
    ids[made] = 1 + ranks(applications.kyc[made], applications.person[made])
    return ids


def make_loan_book(
    draws: Draws, people: People, funnel: Funnel, clients: Clients, as_of: int
) -> tuple[LoanBook, Iterator[tuple[str, pa.Table]]]:
    """Project every loan's life onto what the ledger has committed by `as_of`: the book, and its tables as they are asked for."""
    made, loans, lives = funnel.applications, funnel.loans, funnel.lives
    ids = loan_ids(made, as_of)
    id_of_loan = np.full(len(loans), -1, dtype=np.int64)
    has_loan = np.flatnonzero(made.loan >= 0)
    id_of_loan[made.loan[has_loan]] = ids[has_loan]
    out = loans.disbursed <= as_of

    fee, interest, principal = lives.fee_due, lives.interest_due, lives.principal_due
    owed = fee + interest + principal
    upper = np.cumsum(owed, axis=1)
    lower = upper - owed
    total = upper[:, -1]
    payments = committed_payments(draws, funnel, as_of)
    effective = payments.reversed_at >= NEVER
    paid = np.zeros(len(loans), dtype=np.int64)
    np.add.at(paid, payments.loan[effective], payments.amount[effective])
    written_off = lives.written_off_at <= as_of
    parts_paid = parts(paid[:, None], lower, fee, interest, principal)
    met = (paid[:, None] >= upper) & (owed > 0)
    today = local_day(np.full(len(loans), as_of, dtype=np.int64), loans.market)
    unmet_due = np.where((owed > 0) & ~met, lives.due_day, NEVER_DAY).min(axis=1)
    closed = out & ~written_off & (paid >= total)
    active = out & ~written_off & ~closed
    days_past_due = np.where(active, np.maximum(today - unmet_due, 0), 0)
    npa_at = (unmet_due + NPA_AFTER_DPD + 1) * DAY + (2 - markets.UTC_OFFSET_HOURS[loans.market]) * HOUR
    is_npa = active & (days_past_due > NPA_AFTER_DPD)

    touched = last_touched(payments, loans.product, lower, upper, loans.disbursed)
    touched = np.where((written_off[:, None] & (upper > paid[:, None])), lives.written_off_at[:, None], touched)
    recovered_seen = lives.recovered_at <= as_of
    recovered = np.where(recovered_seen, lives.recovered, 0).sum(axis=1)
    loan_modified = np.maximum(
        touched.max(axis=1, initial=0), np.where(recovered_seen, lives.recovered_at, 0).max(axis=1)
    )
    loan_modified = np.maximum(loan_modified, last_payment(payments, len(loans)))
    loan_modified = np.where(is_npa, np.maximum(loan_modified, npa_at), loan_modified)
    last_payment_day = local_day(met_at(payments, loans.product, upper), loans.market[:, None])
    principal_left = loans.principal - parts_paid[2].sum(axis=1)
    state = _LoanState(
        status=np.where(written_off, WRITTEN_OFF, np.where(closed, np.where(paid > total, OVERPAID, CLOSED), ACTIVE)),
        principal_repaid=parts_paid[2].sum(axis=1),
        principal_outstanding=np.where(active, principal_left, 0),
        principal_written_off=np.where(written_off, principal_left, 0),
        interest=interest.sum(axis=1),
        total_outstanding=np.where(active, total - paid, 0),
        recovered=recovered,
        closed_day=np.where(closed, np.where(met, last_payment_day, 0).max(axis=1), NEVER_DAY),
        written_off_day=np.where(written_off, local_day(lives.written_off_at, loans.market), NEVER_DAY),
        is_npa=is_npa,
        modified=loan_modified,
        out=out,
        days_past_due=days_past_due,
        unmet_due=np.where(active & (unmet_due < today), unmet_due, NEVER_DAY),
    )
    rows = np.flatnonzero(ids >= 0)
    rows = rows[np.argsort(ids[rows])]
    table, status = _loan_table(people, made, clients, ids, rows, state, as_of)
    at = made.loan[rows]
    is_out = (at >= 0) & out[at]
    book = LoanBook(
        application=rows,
        status=status,
        outstanding=np.where(is_out, state.principal_outstanding[at], 0),
        days_past_due=np.where(is_out, days_past_due[at], 0),
        oldest_unpaid_due=np.where(is_out, state.unmet_due[at], NEVER_DAY),
        loan_id=ids,
    )

    def others() -> Iterator[tuple[str, pa.Table]]:
        nonlocal met, last_payment_day, touched
        yield (
            "m_loan_repayment_schedule",
            _schedule_table(funnel, id_of_loan, parts_paid, met, last_payment_day, touched, out, written_off),
        )
        del met, last_payment_day, touched  # large, and memory is scarcest with the transactions
        yield "m_loan_arrears_aging", _arrears_table(funnel, id_of_loan, parts_paid, active, today)
        left = total - paid
        yield (
            "m_loan_transaction",
            transaction_table(draws, funnel, payments, id_of_loan, lower, left, parts_paid, as_of),
        )

    return book, chain([("m_loan", table)], others())


@dataclass(frozen=True)
class _LoanState:
    """Disbursed loans on the day of the view, one row a loan of `Funnel.loans`."""

    status: Ints
    principal_repaid: Ints
    principal_outstanding: Ints
    principal_written_off: Ints
    interest: Ints
    total_outstanding: Ints
    recovered: Ints
    closed_day: Ints
    written_off_day: Ints
    is_npa: Bools
    modified: Ints
    out: Bools
    days_past_due: Ints
    unmet_due: Ints


def _loan_table(
    people: People, made: Applications, clients: Clients, ids: Ints, rows: Ints, state: _LoanState, as_of: int
) -> tuple[pa.Table, Ints]:
    person, loan = made.person[rows], made.loan[rows]
    market = people.market[person]
    out = (loan >= 0) & state.out[loan]

    def seen(moments: Ints) -> Ints:
        return np.where(moments[rows] <= as_of, moments[rows], NEVER)

    def of_loan(values: Ints, otherwise: int = 0) -> Ints:
        return np.where(out, values[loan], otherwise)

    kyc, approved, declined = seen(made.kyc), seen(made.approved), seen(made.declined)
    given_up = np.minimum(seen(made.withdrawn), seen(made.expired))
    status = np.where(approved < NEVER, APPROVED, SUBMITTED)
    status = np.where(declined < NEVER, REJECTED, np.where(given_up < NEVER, WITHDRAWN, status))
    status = np.where(out, state.status[loan], status)
    modified = kyc.copy()
    for moments in (approved, declined, given_up):
        modified = np.where(moments < NEVER, np.maximum(modified, moments), modified)
    modified = np.where(out, np.maximum(modified, state.modified[loan]), modified)
    principal = np.where(approved < NEVER, made.approved_amount[rows], made.requested[rows])
    disbursed = made.disbursed[rows]
    instalments = np.array([p.instalments for p in markets.PRODUCTS], dtype=np.int64)[made.product[rows]]
    table = pa.table(
        {
            "id": pa.array(ids[rows]),
            "account_no": text(ids[rows], 9),
            "external_id": text(application_ids(made)[rows]),
            "client_id": pa.array(clients.id[clients.of_person[person]]),
            "product_id": pa.array(markets.product_id(market, made.product[rows])),
            "loan_status_id": pa.array(status),
            "currency_code": pa.array(markets.CURRENCIES).take(pa.array(market)),
            "principal_amount": decimals(principal),
            "approved_principal": decimals(made.approved_amount[rows], approved < NEVER),
            "principal_disbursed_derived": decimals(np.where(out, made.approved_amount[rows], 0)),
            "principal_repaid_derived": decimals(of_loan(state.principal_repaid)),
            "principal_outstanding_derived": decimals(of_loan(state.principal_outstanding)),
            "principal_writtenoff_derived": decimals(of_loan(state.principal_written_off)),
            "interest_charged_derived": decimals(of_loan(state.interest)),
            "total_outstanding_derived": decimals(of_loan(state.total_outstanding)),
            "total_recovered_derived": decimals(of_loan(state.recovered)),
            "number_of_repayments": pa.array(instalments),
            "submittedon_date": dates(local_day(kyc, market)),
            "approvedon_date": dates(local_day(approved, market)),
            "disbursedon_date": dates(np.where(out, local_day(disbursed, market), NEVER_DAY)),
            "closedon_date": dates(of_loan(state.closed_day, NEVER_DAY)),
            "writtenoffon_date": dates(of_loan(state.written_off_day, NEVER_DAY)),
            "charged_off_on_date": pa.nulls(len(rows), pa.date32()),
            "loan_counter": pa.array(made.number[rows], mask=~out),
            "is_npa": pa.array(out & state.is_npa[loan]),
            "created_on_utc": times(kyc, LEDGER_TIME),
            "last_modified_on_utc": times(modified, LEDGER_TIME),
        }
    )
    return table, status


DEAL_ID_BASE = 8_100_000_001


def application_ids(made: Applications) -> Ints:
    """By application the id of its deal in the CRM, in the order of application."""
    return DEAL_ID_BASE + ranks(made.applied, made.person)


def _schedule_table(
    funnel: Funnel,
    id_of_loan: Ints,
    parts_paid: tuple[Ints, Ints, Ints],
    met: Bools,
    met_day: Ints,
    touched: Ints,
    out: Bools,
    written_off: Bools,
) -> pa.Table:
    loans, lives = funnel.loans, funnel.lives
    order = in_order(loans.disbursed, loans.person)
    order = order[out[order]]
    loan, instalment = np.nonzero(lives.due_day[order] < NEVER_DAY)
    loan = order[loan]
    cell = (loan, instalment)
    disbursed_day = local_day(loans.disbursed, loans.market)
    previous = np.where(instalment == 0, disbursed_day[loan], lives.due_day[loan, np.maximum(instalment - 1, 0)])
    principal, done = lives.principal_due[cell], met[cell]
    zero = np.zeros(len(loan), dtype=np.int64)
    return pa.table(
        {
            "id": pa.array(np.arange(1, len(loan) + 1, dtype=np.int64)),
            "loan_id": pa.array(id_of_loan[loan]),
            "installment": pa.array(instalment + 1),
            "fromdate": dates(previous),
            "duedate": dates(lives.due_day[cell]),
            "principal_amount": decimals(principal),
            "principal_completed_derived": decimals(parts_paid[2][cell]),
            "principal_writtenoff_derived": decimals(
                np.where(written_off[loan], principal - parts_paid[2][cell], zero)
            ),
            "interest_amount": decimals(lives.interest_due[cell]),
            "interest_completed_derived": decimals(parts_paid[1][cell]),
            "fee_charges_amount": decimals(lives.fee_due[cell]),
            "penalty_charges_amount": decimals(zero),
            "completed_derived": pa.array(done),
            "obligations_met_on_date": dates(np.where(done, met_day[cell], NEVER_DAY)),
            "last_modified_on_utc": times(touched[cell], LEDGER_TIME),
        }
    )


def _arrears_table(
    funnel: Funnel, id_of_loan: Ints, parts_paid: tuple[Ints, Ints, Ints], active: Bools, today: Ints
) -> pa.Table:
    """`m_loan_arrears_aging`: what active loans should have paid before today."""
    lives = funnel.lives
    due = lives.due_day < today[:, None]
    fee, interest, principal = (
        np.where(due, owed - paid, 0).sum(axis=1)
        for owed, paid in zip((lives.fee_due, lives.interest_due, lives.principal_due), parts_paid, strict=True)
    )
    left = (lives.fee_due + lives.interest_due + lives.principal_due) - sum(parts_paid)
    since = np.where(due & (left > 0), lives.due_day, NEVER_DAY).min(axis=1)
    rows = np.flatnonzero(active & (since < NEVER_DAY))
    rows = rows[np.argsort(id_of_loan[rows])]
    return pa.table(
        {
            "loan_id": pa.array(id_of_loan[rows]),
            "principal_overdue_derived": decimals(principal[rows]),
            "interest_overdue_derived": decimals(interest[rows]),
            "fee_charges_overdue_derived": decimals(fee[rows]),
            "penalty_charges_overdue_derived": decimals(np.zeros(len(rows), dtype=np.int64)),
            "total_overdue_derived": decimals((fee + interest + principal)[rows]),
            "overdue_since_date_derived": dates(since[rows]),
        }
    )
