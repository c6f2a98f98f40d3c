"""Payments the ledger has committed by a day, and what each of them paid.

What belongs here: which payments count, and how the sum paid is allotted to instalments, to fee,
interest and principal. The tables made of that are in `loan_book` and `loan_transactions`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sandbox.world.draws import Draws, Ints
from sandbox.world.lives import Funnel
from sandbox.world.repayments import alike
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
    event: Ints
    """Its row in `payment_events`."""

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
    loan, slot = np.nonzero(lives.paid_at <= as_of)
    bounced = np.flatnonzero(lives.bounced_at <= as_of)
    place = np.searchsorted(loan, bounced) + (lives.paid_at[bounced] <= lives.bounced_at[bounced, None]).sum(axis=1)
    event = np.insert(len(bounced) + np.arange(len(loan)), place, np.arange(len(bounced)))
    at = np.insert(lives.paid_at[loan, slot], place, lives.bounced_at[bounced])
    amount = np.insert(lives.paid[loan, slot], place, lives.bounced[bounced])
    undone = np.insert(np.full(len(loan), NEVER), place, lives.unbounced_at[bounced])
    loan = np.insert(loan, place, bounced)

    committed = _committed_at(draws, loan, loans.person[loan], loans.cycle[loan], at) <= as_of
    loan, at, amount, undone, event = (some[committed] for some in (loan, at, amount, undone, event))
    undone = np.where(undone <= as_of, undone, NEVER)
    counts = np.where(undone < NEVER, 0, amount)
    running = np.cumsum(counts) - counts
    starts = np.flatnonzero(loan[1:] != loan[:-1]) + 1
    first = np.zeros(len(loan), dtype=np.int64)
    first[starts] = starts
    first = np.maximum.accumulate(first)
    return Payments(loan, at, amount, undone, running - running[first], event)


def payment_events(funnel: Funnel, as_of: int) -> tuple[Ints, Ints]:
    """Loan and moment of what was bounced or planned by `as_of`, whether it can be seen or not."""
    lives = funnel.lives
    bounced, (loan, slot) = np.flatnonzero(lives.bounced_at <= as_of), np.nonzero(lives.paid_at <= as_of)
    return np.concatenate([bounced, loan]), np.concatenate([lives.bounced_at[bounced], lives.paid_at[loan, slot]])


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


def last_touched(payments: Payments, product: Ints, lower: Ints, upper: Ints, disbursed: Ints) -> Ints:
    """When each instalment's row last changed, by payment, reversal or disbursement."""
    touched = np.repeat(disbursed[:, None], upper.shape[1], axis=1)
    moment = np.where(payments.reversed_at < NEVER, payments.reversed_at, payments.at)
    after = payments.after
    for instalments, rows in alike(product[payments.loan]):
        loan = payments.loan[rows]
        hits = payments.before[rows, None] < upper[loan, :instalments]
        hits &= after[rows, None] > lower[loan, :instalments]
        row, instalment = np.nonzero(hits)
        np.maximum.at(touched, (loan[row], instalment), moment[rows[row]])
    return touched


def last_payment(payments: Payments, count: int) -> Ints:
    """By loan: when a payment was last made or reversed; 0 for none."""
    last = np.zeros(count, dtype=np.int64)
    np.maximum.at(last, payments.loan, np.where(payments.reversed_at < NEVER, payments.reversed_at, payments.at))
    return last


def met_at(payments: Payments, product: Ints, upper: Ints) -> Ints:
    """When each instalment was wholly paid by payments that count; 0 where it is not."""
    met = np.zeros(upper.shape, dtype=np.int64)
    after, counts = payments.after, payments.reversed_at >= NEVER
    for instalments, rows in alike(product[payments.loan]):
        loan = payments.loan[rows]
        hits = payments.before[rows, None] < upper[loan, :instalments]
        hits &= (after[rows, None] >= upper[loan, :instalments]) & counts[rows, None]
        row, instalment = np.nonzero(hits)
        np.maximum.at(met, (loan[row], instalment), payments.at[rows[row]])
    return met
