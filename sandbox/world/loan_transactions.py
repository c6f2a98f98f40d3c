"""`m_loan_transaction`: disbursements, repayments, write-offs and recoveries as committed by a day."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sandbox.world.allotment import Payments, parts
from sandbox.world.draws import Draws, Ints
from sandbox.world.lives import Funnel
from sandbox.world.repayments import local_day
from sandbox.world.units import LEDGER_TIME, NEVER, dates, decimals, span, times

_AT_ONCE = 200_000
"""Payments allotted together: what bounds the memory of matrices."""
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
    portion, principal_after = _portions(payments, lower, owed)
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
    balance = column(loans.principal[at_loan] - principal_after, loans.principal[disbursed], none_lost, none_got)
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


def _portions(payments: Payments, lower: Ints, owed: tuple[Ints, Ints, Ints]) -> tuple[list[Ints], Ints]:
    """By payment: what of it went to fee, interest and principal, and the principal that is paid after it."""
    portions, principal = np.zeros((len(owed), len(payments.loan)), dtype=np.int64), np.zeros_like(payments.loan)
    for at in range(0, len(payments.loan), _AT_ONCE):
        some = slice(at, at + _AT_ONCE)
        loan = payments.loan[some]
        due = [lower[loan], *(o[loan] for o in owed)]
        before = parts(payments.before[some, None], *due)
        after = parts(payments.after[some, None], *due)
        for place, (earlier, later) in enumerate(zip(before, after, strict=True)):
            portions[place, some] = np.sum(later - earlier, axis=1)
        principal[some] = after[2].sum(axis=1)
    return list(portions), principal


def _transaction_places(draws: Draws, funnel: Funnel, as_of: int, loan: Ints, at: Ints) -> Ints:
    """Places in the order of insertion, counting also what is not yet committed: ids never move."""
    loans, lives = funnel.loans, funnel.lives
    moments = [loans.disbursed, lives.written_off_at, lives.bounced_at, lives.paid_at, lives.recovered_at]
    seen = [np.nonzero(some <= as_of) for some in moments]
    every = np.concatenate([some[places] for some, places in zip(moments, seen, strict=True)])
    owner = np.concatenate([places[0] for places in seen])
    order = np.lexsort((loans.person[owner], every))
    every, person = every[order], loans.person[owner][order]
    place = np.searchsorted(every, at, side="left")
    tied = np.flatnonzero((place + 1 < len(every)) & (every[np.minimum(place + 1, len(every) - 1)] == at))
    wanted = loans.person[loan]
    for row in tied:
        end = np.searchsorted(every, at[row], side="right")
        place[row] += int(np.searchsorted(person[place[row] : end], wanted[row], side="left"))
    return place.astype(np.int64)
