"""The ledger's loans as they stand on a day: loans, transactions, schedules and arrears.

What belongs here: the projection of what will happen (`lives`) onto what has been committed by
the day of the view. Every derived column is computed from the same transactions, so the tables
agree to the cent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sandbox.world import markets
from sandbox.world.clients import Clients
from sandbox.world.draws import Bools, Draws, Ints
from sandbox.world.lives import Applications, Funnel
from sandbox.world.people import People
from sandbox.world.repayments import NEVER_DAY, local_day
from sandbox.world.units import DAY, HOUR, LEDGER_TIME, MINUTE, NEVER, dates, decimals, ranks, span, text, times

SUBMITTED, APPROVED, ACTIVE, WITHDRAWN, REJECTED = 100, 200, 300, 400, 500
CLOSED, WRITTEN_OFF, OVERPAID = 600, 601, 700
DISBURSEMENT, REPAYMENT, WRITE_OFF, RECOVERY = 1, 2, 6, 8
NPA_AFTER_DPD = 90


@dataclass(frozen=True)
class Payments:
    """Repayments committed by the day of the view, in order of loan and time. Amounts in millionths."""

    loan: Ints
    at: Ints
    amount: Ints
    reversed_at: Ints
    """NEVER unless it is reversed by now."""
    before: Ints
    """What had been paid on the loan before it."""

    @property
    def after(self) -> Ints:
        return self.before + self.amount


@dataclass(frozen=True)
class LoanBook:
    """The book on a day: tables, and by application what the truth needs."""

    loans: pa.Table
    transactions: pa.Table
    schedule: pa.Table
    arrears: pa.Table
    application: Ints
    """Row of `Funnel.applications` for each row of `loans`."""
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


def make_loan_book(draws: Draws, people: People, funnel: Funnel, clients: Clients, as_of: int) -> LoanBook:
    """Project every loan's life onto what the ledger has committed by `as_of`."""
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
    payments = _payments(draws, funnel, as_of)
    effective = payments.reversed_at >= NEVER
    paid = np.zeros(len(loans), dtype=np.int64)
    np.add.at(paid, payments.loan[effective], payments.amount[effective])
    written_off = lives.written_off_at <= as_of
    parts_paid = _parts(paid[:, None], lower, fee, interest, principal)
    met = (paid[:, None] >= upper) & (owed > 0)
    today = local_day(np.full(len(loans), as_of, dtype=np.int64), loans.market)
    unmet_due = np.where((owed > 0) & ~met, lives.due_day, NEVER_DAY).min(axis=1)
    closed = out & ~written_off & (paid >= total)
    active = out & ~written_off & ~closed
    days_past_due = np.where(active, np.maximum(today - unmet_due, 0), 0)
    npa_at = (unmet_due + NPA_AFTER_DPD + 1) * DAY + (2 - markets.UTC_OFFSET_HOURS[loans.market]) * HOUR
    is_npa = active & (days_past_due > NPA_AFTER_DPD)

    touched = _touched(payments, lower, upper, loans.disbursed)
    touched = np.where((written_off[:, None] & (upper > paid[:, None])), lives.written_off_at[:, None], touched)
    recovered_seen = lives.recovered_at <= as_of
    recovered = np.where(recovered_seen, lives.recovered, 0).sum(axis=1)
    loan_modified = np.maximum(
        touched.max(axis=1, initial=0), np.where(recovered_seen, lives.recovered_at, 0).max(axis=1)
    )
    loan_modified = np.maximum(loan_modified, _last_by_loan(payments, len(loans)))
    loan_modified = np.where(is_npa, np.maximum(loan_modified, npa_at), loan_modified)
    last_payment_day = local_day(_last_effective(payments, upper, len(loans)), loans.market[:, None])
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
    return LoanBook(
        loans=table,
        transactions=_transaction_table(draws, funnel, payments, id_of_loan, lower, total - paid, parts_paid, as_of),
        schedule=_schedule_table(funnel, id_of_loan, parts_paid, met, last_payment_day, touched, out, written_off),
        arrears=_arrears_table(funnel, id_of_loan, parts_paid, active, today),
        application=rows,
        status=status,
        outstanding=np.where(is_out, state.principal_outstanding[at], 0),
        days_past_due=np.where(is_out, days_past_due[at], 0),
        oldest_unpaid_due=np.where(is_out, state.unmet_due[at], NEVER_DAY),
        loan_id=ids,
    )


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


def _parts(paid: Ints, lower: Ints, fee: Ints, interest: Ints, principal: Ints) -> tuple[Ints, Ints, Ints]:
    """What of the sum paid went to each instalment's fee, interest and principal."""
    start = np.asarray(paid - lower, dtype=np.int64)
    of_fee = np.clip(start, 0, fee)
    of_interest = np.clip(start - fee, 0, interest)
    return of_fee, of_interest, np.clip(start - fee - interest, 0, principal)


def _payments(draws: Draws, funnel: Funnel, as_of: int) -> Payments:
    loans, lives = funnel.loans, funnel.lives
    planned_loan, slot = np.nonzero(lives.paid_at <= as_of)
    bounced_loan = np.flatnonzero(lives.bounced_at <= as_of)
    loan = np.concatenate([planned_loan, bounced_loan])
    at = np.concatenate([lives.paid_at[planned_loan, slot], lives.bounced_at[bounced_loan]])
    amount = np.concatenate([lives.paid[planned_loan, slot], lives.bounced[bounced_loan]])
    undone = np.concatenate([np.full(len(planned_loan), NEVER), lives.unbounced_at[bounced_loan]])
    order = np.lexsort((at, loan))
    loan, at, amount, undone = loan[order], at[order], amount[order], undone[order]

    committed = _committed_at(draws, loan, loans.person[loan], loans.cycle[loan], at) <= as_of
    loan, at, amount, undone = loan[committed], at[committed], amount[committed], undone[committed]
    undone = np.where(undone <= as_of, undone, NEVER)
    counts = np.where(undone < NEVER, 0, amount)
    running = np.cumsum(counts) - counts
    first = np.searchsorted(loan, loan, side="left")
    return Payments(loan, at, amount, undone, running - running[first] if len(running) else running)


def _committed_at(draws: Draws, loan: Ints, person: Ints, cycle: Ints, at: Ints) -> Ints:
    """When a payment can be seen: some of those around 18:00 UTC are committed up to 30 minutes late.

    Never where another payment of the loan is within a day, which would then be allotted twice.
    """
    around_close = (at % DAY >= 17 * HOUR + 30 * MINUTE) & (at % DAY < 18 * HOUR)
    same = loan[1:] == loan[:-1]
    close = same & (at[1:] - at[:-1] < DAY)
    near = np.zeros(len(loan), dtype=bool)
    near[1:] |= close
    near[:-1] |= close
    late = around_close & ~near & draws.chance("late commit", 0.8, person, cycle, at)
    return np.where(late, at + span(draws.uniform("late by", person, cycle, at) / 48), at)


def _touched(payments: Payments, lower: Ints, upper: Ints, disbursed: Ints) -> Ints:
    """When each instalment's row last changed, by payment, reversal or disbursement."""
    touched = np.repeat(disbursed[:, None], upper.shape[1], axis=1)
    moment = np.where(payments.reversed_at < NEVER, payments.reversed_at, payments.at)
    hits = (payments.before[:, None] < upper[payments.loan]) & (payments.after[:, None] > lower[payments.loan])
    row, instalment = np.nonzero(hits)
    np.maximum.at(touched, (payments.loan[row], instalment), moment[row])
    return touched


def _last_by_loan(payments: Payments, count: int) -> Ints:
    last = np.zeros(count, dtype=np.int64)
    np.maximum.at(last, payments.loan, np.where(payments.reversed_at < NEVER, payments.reversed_at, payments.at))
    return last


def _last_effective(payments: Payments, upper: Ints, count: int) -> Ints:
    """When each instalment was wholly paid by payments that count; 0 where it is not."""
    met_at = np.zeros(upper.shape, dtype=np.int64)
    hits = (payments.before[:, None] < upper[payments.loan]) & (payments.after[:, None] >= upper[payments.loan])
    hits &= (payments.reversed_at >= NEVER)[:, None]
    row, instalment = np.nonzero(hits)
    np.maximum.at(met_at, (payments.loan[row], instalment), payments.at[row])
    return met_at


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


def _transaction_table(
    draws: Draws,
    funnel: Funnel,
    payments: Payments,
    id_of_loan: Ints,
    lower: Ints,
    left: Ints,
    parts_paid: tuple[Ints, Ints, Ints],
    as_of: int,
) -> pa.Table:
    loans, lives = funnel.loans, funnel.lives
    owed = (lives.fee_due, lives.interest_due, lives.principal_due)
    at_loan = payments.loan
    before = _parts(payments.before[:, None], lower[at_loan], *(o[at_loan] for o in owed))
    after = _parts(payments.after[:, None], lower[at_loan], *(o[at_loan] for o in owed))
    portion = [np.sum(a - b, axis=1) for a, b in zip(after, before, strict=True)]
    disbursed = np.flatnonzero(loans.disbursed <= as_of)
    lost = np.flatnonzero(lives.written_off_at <= as_of)
    lost_parts = [(o[lost] - p[lost]).sum(axis=1) for o, p in zip(owed, parts_paid, strict=True)]
    got, nth = np.nonzero(lives.recovered_at <= as_of)

    def column(of_payments: Ints, of_disbursed: Ints, of_lost: Ints, of_recovered: Ints) -> Ints:
        return np.concatenate([of_payments, of_disbursed, of_lost, of_recovered]).astype(np.int64)

    none_out, none_lost, none_got = (np.zeros(len(rows), dtype=np.int64) for rows in (disbursed, lost, got))
    loan = column(at_loan, disbursed, lost, got)
    kind = np.repeat(
        np.array([REPAYMENT, DISBURSEMENT, WRITE_OFF, RECOVERY], dtype=np.int64),
        [len(at_loan), len(disbursed), len(lost), len(got)],
    )
    at = column(payments.at, loans.disbursed[disbursed], lives.written_off_at[lost], lives.recovered_at[got, nth])
    undone = column(payments.reversed_at, none_out + NEVER, none_lost + NEVER, none_got + NEVER)
    amount = column(payments.amount, loans.principal[disbursed], left[lost], lives.recovered[got, nth])
    fee, interest, principal = (column(portion[i], none_out, lost_parts[i], none_got) for i in range(len(owed)))
    balance = column(loans.principal[at_loan] - after[2].sum(axis=1), loans.principal[disbursed], none_lost, none_got)
    has_portions = (kind == REPAYMENT) | (kind == WRITE_OFF)
    id_by_row = 1 + _transaction_places(draws, funnel, as_of, loan, at)
    deleted = (undone < NEVER) & draws.chance("deletes reversed", 0.3, loans.person[loan], loans.cycle[loan])
    deleted &= undone + span(4 + 10 * draws.uniform("deleted after reversal", loans.person[loan])) <= as_of
    market = loans.market[loan]
    order = np.argsort(id_by_row)
    order = order[~deleted[order]]
    return pa.table(
        {
            "id": pa.array(id_by_row),
            "loan_id": pa.array(id_of_loan[loan]),
            "is_reversed": pa.array(undone < NEVER),
            "reversed_on_date": dates(local_day(undone, market)),
            "transaction_type_enum": pa.array(kind),
            "transaction_date": dates(local_day(at, market)),
            "amount": decimals(amount),
            "principal_portion_derived": decimals(principal, has_portions),
            "interest_portion_derived": decimals(interest, has_portions),
            "fee_charges_portion_derived": decimals(fee, has_portions & (fee > 0)),
            "penalty_charges_portion_derived": decimals(
                np.zeros(len(loan), dtype=np.int64), np.zeros(len(loan), dtype=bool)
            ),
            "outstanding_loan_balance_derived": decimals(balance, kind != RECOVERY),
            "created_on_utc": times(at, LEDGER_TIME),
            "last_modified_on_utc": times(np.where(undone < NEVER, undone, at), LEDGER_TIME),
        }
    ).take(pa.array(order))


def _transaction_places(draws: Draws, funnel: Funnel, as_of: int, loan: Ints, at: Ints) -> Ints:
    """Places in the order of insertion, counting also what is not yet committed: ids never move."""
    loans, lives = funnel.loans, funnel.lives
    moments = [
        loans.disbursed,
        lives.written_off_at,
        lives.bounced_at,
        lives.paid_at.ravel(),
        lives.recovered_at.ravel(),
    ]
    slots = np.arange(len(loans), dtype=np.int64)
    owners = [slots, slots, slots, np.repeat(slots, lives.paid_at.shape[1]), np.repeat(slots, 2)]
    every, owner = np.concatenate(moments), np.concatenate(owners)
    seen = every <= as_of
    every, owner = every[seen], owner[seen]
    order = np.lexsort((loans.person[owner], every))
    every, person = every[order], loans.person[owner][order]
    place = np.searchsorted(every, at, side="left")
    tied = np.flatnonzero((place + 1 < len(every)) & (every[np.minimum(place + 1, len(every) - 1)] == at))
    wanted = loans.person[loan]
    for row in tied:
        end = np.searchsorted(every, at[row], side="right")
        place[row] += int(np.searchsorted(person[place[row] : end], wanted[row], side="left"))
    return place.astype(np.int64)


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
    loan, instalment = np.nonzero((lives.due_day < NEVER_DAY) & out[:, None])
    order = np.lexsort((instalment, loans.person[loan], loans.disbursed[loan]))
    loan, instalment = loan[order], instalment[order]
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
