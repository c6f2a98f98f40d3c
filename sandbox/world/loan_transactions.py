"""`m_loan_transaction`: disbursements, repayments, write-offs and recoveries as committed by a day."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sandbox.world.allotment import Payments, parts, payment_events
from sandbox.world.draws import Draws, Ints
from sandbox.world.lives import Funnel
from sandbox.world.repayments import alike, local_day
from sandbox.world.units import LEDGER_TIME, MONEY, NEVER, dates, decimals, ranks, span, times

DISBURSEMENT, REPAYMENT, WRITE_OFF, RECOVERY = 1, 2, 6, 8


def transaction_table(
    draws: Draws,
    funnel: Funnel,
    payments: Payments,
    id_of_loan: Ints,
    lower: Ints,
    left: Ints,
    parts_paid: tuple[Ints, Ints, Ints],
    as_of: int,
) -> pa.Table:
    """The transactions. `lower` is what must be paid before an instalment, `left` what is unpaid of each loan."""
    loans, lives = funnel.loans, funnel.lives
    owed = (lives.fee_due, lives.interest_due, lives.principal_due)
    at_loan = payments.loan
    portion, principal_after = _portions(payments, loans.product, lower, owed)
    disbursed = np.flatnonzero(loans.disbursed <= as_of)
    lost = np.flatnonzero(lives.written_off_at <= as_of)
    lost_parts = [(o[lost] - p[lost]).sum(axis=1) for o, p in zip(owed, parts_paid, strict=True)]
    got, nth = np.nonzero(lives.recovered_at <= as_of)

    rest = np.concatenate([disbursed, lost, got])
    rest_at = np.concatenate([loans.disbursed[disbursed], lives.written_off_at[lost], lives.recovered_at[got, nth]])
    ids = _ids(funnel, payments, rest, rest_at, as_of)
    order = _kept(ids, _deleted(draws, funnel, payments, as_of))
    loan = np.concatenate([at_loan, rest])[order]

    def column(of_payments: Ints, of_disbursed: Ints | int, of_lost: Ints | int, of_recovered: Ints | int) -> Ints:
        of_rest = ((of_disbursed, disbursed), (of_lost, lost), (of_recovered, got))
        whole = [np.broadcast_to(values, rows.shape) for values, rows in of_rest]
        return np.concatenate([of_payments, *whole])[order]

    kind = column(np.full(len(at_loan), REPAYMENT), DISBURSEMENT, WRITE_OFF, RECOVERY)
    at = np.concatenate([payments.at, rest_at])[order]
    undone = column(payments.reversed_at, NEVER, NEVER, NEVER)
    fee, interest, principal = (column(portion[i], 0, lost_parts[i], 0) for i in range(len(owed)))
    has_portions = (kind == REPAYMENT) | (kind == WRITE_OFF)
    balance = column(loans.principal[at_loan] - principal_after, loans.principal[disbursed], 0, 0)
    del portion, principal_after
    market = loans.market[loan]
    return pa.table(
        {
            "id": pa.array(ids[order]),
            "loan_id": pa.array(id_of_loan[loan]),
            "is_reversed": pa.array(undone < NEVER),
            "reversed_on_date": dates(local_day(undone, market)),
            "transaction_type_enum": pa.array(kind),
            "transaction_date": dates(local_day(at, market)),
            "amount": decimals(
                column(payments.amount, loans.principal[disbursed], left[lost], lives.recovered[got, nth])
            ),
            "principal_portion_derived": decimals(principal, has_portions),
            "interest_portion_derived": decimals(interest, has_portions),
            "fee_charges_portion_derived": decimals(fee, has_portions & (fee > 0)),
            "penalty_charges_portion_derived": pa.nulls(len(order), MONEY),
            "outstanding_loan_balance_derived": decimals(balance, kind != RECOVERY),
            "created_on_utc": times(at, LEDGER_TIME),
            "last_modified_on_utc": times(np.where(undone < NEVER, undone, at), LEDGER_TIME),
        }
    )


def _ids(funnel: Funnel, payments: Payments, rest: Ints, rest_at: Ints, as_of: int) -> Ints:
    """Places in the order of insertion of payments and then the rest, counting what is not yet committed: ids never move."""
    event_loan, event_at = payment_events(funnel, as_of)
    person = funnel.loans.person[np.concatenate([event_loan, rest])]
    places = 1 + ranks(np.concatenate([event_at, rest_at]), person)
    return np.concatenate([places[payments.event], places[len(event_at) :]])


def _deleted(draws: Draws, funnel: Funnel, payments: Payments, as_of: int) -> Ints:
    """The payments whose reversal was tidied away."""
    undone = np.flatnonzero(payments.reversed_at < NEVER)
    loan = payments.loan[undone]
    person, cycle = funnel.loans.person[loan], funnel.loans.cycle[loan]
    at = payments.reversed_at[undone] + span(4 + 10 * draws.uniform("deleted after reversal", person))
    gone: Ints = undone[draws.chance("deletes reversed", 0.3, person, cycle) & (at <= as_of)]
    return gone


def _kept(ids: Ints, deleted: Ints) -> Ints:
    """The rows in the order of their ids, without the deleted."""
    row = np.full(ids.max(initial=0) + 1, -1, dtype=np.int64)
    row[ids] = np.arange(len(ids))
    row[ids[deleted]] = -1
    return row[row >= 0]


def _portions(payments: Payments, product: Ints, lower: Ints, owed: tuple[Ints, Ints, Ints]) -> tuple[list[Ints], Ints]:
    """By payment (`product` and matrices are by loan): what of it went to fee, interest and principal, and the principal that is paid after it."""
    portions, principal = np.zeros((len(owed), len(payments.loan)), dtype=np.int64), np.zeros_like(payments.loan)
    for instalments, rows in alike(product[payments.loan]):
        loan = payments.loan[rows]
        lowest, *due = (matrix[loan, :instalments] for matrix in (lower, *owed))
        before = parts(payments.before[rows, None], lowest, *due)
        after = parts(payments.after[rows, None], lowest, *due)
        for place, (earlier, later) in enumerate(zip(before, after, strict=True)):
            portions[place, rows] = np.sum(later - earlier, axis=1)
        principal[rows] = after[2].sum(axis=1)
    return list(portions), principal
