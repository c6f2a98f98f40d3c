"""Payments the ledger has committed by a day, and what each of them paid.

What belongs here: which payments count, and how the sum paid is allotted to instalments, to fee,
interest and principal. The tables made of that are in `loan_book` and `loan_transactions`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sandbox.world.draws import Draws, Ints
from sandbox.world.lives import Funnel
from sandbox.world.units import DAY, HOUR, MINUTE, NEVER, span


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


def parts(paid: Ints, lower: Ints, fee: Ints, interest: Ints, principal: Ints) -> tuple[Ints, Ints, Ints]:
    """What of the sum paid went to each instalment's fee, interest and principal."""
    start = np.asarray(paid - lower, dtype=np.int64)
    of_fee = np.clip(start, 0, fee)
    of_interest = np.clip(start - fee, 0, interest)
    return of_fee, of_interest, np.clip(start - fee - interest, 0, principal)


def committed_payments(draws: Draws, funnel: Funnel, as_of: int) -> Payments:
    """Repayments that can be seen at `as_of`, planned and bounced."""
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


def last_touched(payments: Payments, lower: Ints, upper: Ints, disbursed: Ints) -> Ints:
    """When each instalment's row last changed, by payment, reversal or disbursement."""
    touched = np.repeat(disbursed[:, None], upper.shape[1], axis=1)
    moment = np.where(payments.reversed_at < NEVER, payments.reversed_at, payments.at)
    hits = (payments.before[:, None] < upper[payments.loan]) & (payments.after[:, None] > lower[payments.loan])
    row, instalment = np.nonzero(hits)
    np.maximum.at(touched, (payments.loan[row], instalment), moment[row])
    return touched


def last_payment(payments: Payments, count: int) -> Ints:
    """By loan: when a payment was last made or reversed; 0 for none."""
    last = np.zeros(count, dtype=np.int64)
    np.maximum.at(last, payments.loan, np.where(payments.reversed_at < NEVER, payments.reversed_at, payments.at))
    return last


def met_at(payments: Payments, upper: Ints, count: int) -> Ints:
    """When each instalment was wholly paid by payments that count; 0 where it is not."""
    met = np.zeros(upper.shape, dtype=np.int64)
    hits = (payments.before[:, None] < upper[payments.loan]) & (payments.after[:, None] >= upper[payments.loan])
    hits &= (payments.reversed_at >= NEVER)[:, None]
    row, instalment = np.nonzero(hits)
    np.maximum.at(met, (payments.loan[row], instalment), payments.at[row])
    return met
