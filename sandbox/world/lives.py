"""The funnel: a person's applications one after the other, and the loans that come of them.

What belongs here: from eligible to repeat, cycle by cycle. How a loan is paid back is in
`repayments`; what a system shows of it on a day is elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sandbox.world import markets
from sandbox.world.draws import Bools, Draws, Floats, Ints
from sandbox.world.people import START, People
from sandbox.world.repayments import Lives, Loans, plan_lives, together
from sandbox.world.units import DAY, HOUR, MINUTE, NEVER, UNIT, span

EXPIRES_AFTER = 30 * DAY
SPIKE_MARKET, SPIKE_FROM, SPIKE_TO = 1, START - 14 * DAY, START
"""Loans that a bad campaign brought: most default, and mature as the clock goes on."""

_PRODUCT_WEIGHTS = ((0.56, 0.41, 0.03, 0, 0), (0.40, 0.44, 0.10, 0.03, 0.03), (0.24, 0.38, 0.18, 0.1, 0.1))


@dataclass(frozen=True)
class _Rates:
    """Rates by number of the loan, the last one for all that follow."""

    defaults: tuple[float, ...]
    comes_back: tuple[float, ...]
    """After a loan that was closed well."""
    tries_again: tuple[float, ...]
    """After an application that came to nothing."""


_NEW_LENDER = _Rates(defaults=(0.50, 0.24, 0.16, 0.11), comes_back=(0.80,), tries_again=(0.30,))
_OLD_LENDER = _Rates(
    defaults=(0.50, 0.22, 0.12, 0.07, 0.04, 0.02),
    comes_back=(0.88, 0.93, 0.97, 0.985),
    tries_again=(0.50, 0.80, 0.95),
)
"""One with more than a year of history, which lives on its regulars."""


@dataclass(frozen=True)
class Applications:
    """One row an application. Times are NEVER where the step is not taken."""

    person: Ints
    cycle: Ints
    product: Ints
    number: Ints
    """The number the loan has if it is disbursed; 1 is the first."""
    requested: Ints
    approved_amount: Ints
    applied: Ints
    kyc: Ints
    approved: Ints
    declined: Ints
    accepted: Ints
    withdrawn: Ints
    expired: Ints
    disbursed: Ints
    loan: Ints
    """Row in `loans` and `lives`, -1 without."""


@dataclass(frozen=True)
class Funnel:
    offered: Ints
    """By person: when they were first offered a loan."""
    applications: Applications
    loans: Loans
    lives: Lives


def make_funnel(draws: Draws, people: People, years: int, as_of: int) -> Funnel:
    """All applications made by `as_of`, with the whole life of their loans (also what lies after it)."""
    rates = _OLD_LENDER if years > 1 else _NEW_LENDER
    offered = people.arrived + span(0.02 + draws.exponential("offer", 0.8, people.id))
    offered = np.where(draws.chance("is offered", 0.93, people.id) & (offered < people.died), offered, NEVER)
    applies = draws.chance("applies", 0.88, people.id) & (offered < NEVER)
    ready = np.where(applies, offered + span(0.01 + draws.exponential("apply", 2.5, people.id)), NEVER)

    ready = np.where(ready < people.died, ready, NEVER)

    person = np.flatnonzero(ready <= as_of).astype(np.int64)
    ready = ready[person]
    number = np.ones(len(person), dtype=np.int64)
    applications, loans, lives = [], [], []
    loan_count, cycle = 0, 0
    while True:
        made = _apply(draws, people, person, np.full(len(person), cycle, dtype=np.int64), number, ready)
        has_loan = np.flatnonzero(made.disbursed < NEVER)
        batch, life = _lend(draws, people, rates.defaults, made, has_loan)
        made.loan[has_loan] = loan_count + np.arange(len(has_loan))
        applications.append(made)
        loans.append(batch)
        lives.append(life)
        loan_count += len(batch)
        again = _apply_again(draws, people, rates, made, has_loan, life)
        still = np.flatnonzero(again <= as_of)
        if not len(still):
            break
        number = (number + (made.disbursed < NEVER))[still]
        person, ready, cycle = person[still], again[still], cycle + 1
    return Funnel(offered, together(applications), together(loans), together(lives))


def _apply(draws: Draws, people: People, person: Ints, cycle: Ints, number: Ints, applied: Ints) -> Applications:
    keys = (person, cycle)
    market, died = people.market[person], people.died[person]
    again = number > 1

    def later(moment: Ints, happens: Bools, delay: Ints) -> Ints:
        """`moment` plus the delay where it happens and the person lives to see it."""
        then = moment + delay
        return np.where(happens & (moment < NEVER) & (then < died), then, NEVER)

    def chance(stream: str, first: float, repeat: float) -> Bools:
        return draws.uniform(stream, *keys) < np.where(again, repeat, first)

    def hours(stream: str, mean: float) -> Ints:
        return span(draws.exponential(stream, mean, *keys) / 24) + 2 * MINUTE

    weights = np.minimum(number - 1, len(_PRODUCT_WEIGHTS) - 1)
    edges = np.cumsum(np.array(_PRODUCT_WEIGHTS), axis=1)[weights]
    product = (draws.uniform("product", *keys)[:, None] >= edges[:, :-1]).sum(axis=1).astype(np.int64)
    factor = np.array([p.amount_factor for p in markets.PRODUCTS])[product]
    wanted = markets.BASE_AMOUNT[market] * factor * 1.3 ** np.minimum(number - 1, 8)
    wanted = wanted * np.exp(0.25 * draws.normal("amount", *keys))
    requested = _rounded(wanted, market)
    share = np.array([1.0, 0.8, 0.6])[draws.choice("approved share", (0.7, 0.2, 0.1), *keys)]

    kyc = later(applied, chance("kyc", 0.88, 0.99), np.where(again, 2 * MINUTE, hours("kyc after", 10)))
    decided = later(kyc, np.ones(len(person), dtype=bool), np.where(again, 3 * MINUTE, hours("decided after", 4)))
    approves = chance("approved", 0.80, 0.95)
    approved, declined = np.where(approves, decided, NEVER), np.where(approves, NEVER, decided)
    accepts = chance("accepted", 0.82, 0.92)
    accepted = later(approved, accepts, hours("accepted after", 12))
    walks = ~accepts & draws.chance("walks away", 0.3, *keys)
    withdrawn = later(approved, walks, span(0.5 + 5 * draws.uniform("walks after", *keys)))
    disbursed = later(accepted, draws.chance("account set up", 0.95, *keys), hours("disbursed after", 2))
    waits = np.minimum(np.minimum(declined, withdrawn), disbursed) >= NEVER
    waiting_since = np.where(accepted < NEVER, accepted, np.where(approved < NEVER, approved, applied))
    return Applications(
        person=person,
        cycle=cycle,
        product=product,
        number=number,
        requested=requested,
        approved_amount=_rounded(requested / UNIT * share, market),
        applied=applied,
        kyc=kyc,
        approved=approved,
        declined=declined,
        accepted=accepted,
        withdrawn=withdrawn,
        expired=np.where(waits, waiting_since + EXPIRES_AFTER, NEVER),
        disbursed=disbursed,
        loan=np.full(len(person), -1, dtype=np.int64),
    )


def _rounded(amount: Floats, market: Ints) -> Ints:
    """Whole steps of the market's currency, at least one, in millionths."""
    step = markets.AMOUNT_STEP[market]
    return np.maximum(np.rint(amount / step).astype(np.int64), 1) * step * UNIT


def _lend(
    draws: Draws, people: People, rates: tuple[float, ...], made: Applications, rows: Ints
) -> tuple[Loans, Lives]:
    person, cycle, number, disbursed = made.person[rows], made.cycle[rows], made.number[rows], made.disbursed[rows]
    market = people.market[person]
    loans = Loans(person, cycle, market, made.product[rows], number, made.approved_amount[rows], disbursed)
    rate = _by_number(rates, number)
    rate = rate + 0.5 * (0.5 - people.quality[person]) * np.where(number == 1, 1.0, 0.4)
    in_spike = (market == SPIKE_MARKET) & (disbursed >= SPIKE_FROM) & (disbursed < SPIKE_TO)
    rate = np.where(people.is_fraudster[person], 1.0, np.where(in_spike, 0.92, rate))
    return loans, plan_lives(draws, loans, people.died[person], draws.uniform("defaults", person, cycle) < rate)


def _apply_again(draws: Draws, people: People, rates: _Rates, made: Applications, rows: Ints, life: Lives) -> Ints:
    """When each person applies next; NEVER for those who do not come back."""
    keys = (made.person, made.cycle)
    closed = np.full(len(made.person), NEVER, dtype=np.int64)
    lateness = np.zeros(len(made.person), dtype=np.int64)
    closed[rows] = life.closed_at
    lateness[rows] = life.worst_lateness_days
    good = np.where(lateness <= 30, _by_number(rates.comes_back, made.number), 0.08)
    drawn = draws.uniform("comes back", *keys)
    quickly = draws.chance("at once", 0.35, *keys)
    gap = np.where(quickly, 10 * MINUTE + HOUR, span(0.2 + draws.exponential("gap", 9.0, *keys)))
    after_loan = np.where((drawn < good) & (closed < NEVER), closed + gap, NEVER)

    pause = span(1 + 30 * draws.uniform("pause", *keys))
    unmade = np.minimum(np.minimum(made.expired, made.withdrawn), made.declined + 30 * DAY)
    after_none = np.where(
        (drawn < _by_number(rates.tries_again, made.number)) & (unmade < NEVER), unmade + pause, NEVER
    )
    next_time = np.where(made.disbursed < NEVER, after_loan, after_none)
    stops = people.is_fraudster[made.person] & (made.disbursed < NEVER)
    return np.where(stops | (next_time >= people.died[made.person]), NEVER, next_time)


def _by_number(rates: tuple[float, ...], number: Ints) -> Floats:
    found: Floats = np.array(rates)[np.minimum(number, len(rates)) - 1]
    return found
