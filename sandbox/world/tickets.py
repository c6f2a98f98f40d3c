"""Support as it happens: who asks for help, why, and how it goes. What Zendesk shows of it is in `support`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sandbox.world.draws import Bools, Draws, Ints
from sandbox.world.lives import Funnel
from sandbox.world.people import START, People
from sandbox.world.units import DAY, MINUTE, NEVER, ranks, span

KINDS = ("payment", "kyc", "app", "limit", "complaint", "dispute", "hardship")
COMPLAINT, DISPUTE, HARDSHIP = 4, 5, 6
_WEIGHTS_LATE = (0.22, 0.0, 0.05, 0.03, 0.17, 0.21, 0.32)
_WEIGHTS_GOOD = (0.40, 0.0, 0.14, 0.28, 0.12, 0.05, 0.01)
_WEIGHTS_FUNNEL = (0.02, 0.55, 0.25, 0.06, 0.12, 0.0, 0.0)
OUTAGE_MARKET, OUTAGE = 0, START + 36 * 60 * MINUTE
"""A payment outage in one market, on the second day of the clock: complaints pile up."""


@dataclass(frozen=True)
class Tickets:
    """One row a ticket made by the day of the view, in order of making. Times are NEVER when not (yet) so."""

    id: Ints
    person: Ints
    key: Ints
    """Names the ticket in draws, together with the person."""
    kind: Ints
    about_loan: Ints
    """Row of `Funnel.loans`, -1 without."""
    created: Ints
    opened: Ints
    solved: Ints
    reopened: Ints
    solved_again: Ints
    closed: Ints

    def is_open(self, as_of: int) -> Bools:
        """Neither solved nor closed on the day."""
        solved = (self.solved <= as_of) & ~((self.reopened <= as_of) & (self.solved_again > as_of))
        return ~solved


def make_tickets(draws: Draws, people: People, funnel: Funnel, as_of: int) -> Tickets:
    """Every ticket made by `as_of`, with all that will happen to it."""
    loans, lives, made = funnel.loans, funnel.lives, funnel.applications
    first_due = lives.due_day[:, 0] * DAY
    trouble = (lives.written_off_at < NEVER) | (lives.worst_lateness_days > 14)
    parts: list[tuple[Ints, ...]] = []
    rows = np.arange(len(loans), dtype=np.int64)
    for nth in range(2):
        loan_keys = (loans.person, loans.cycle, np.full_like(rows, nth))
        asks = draws.uniform("asks", *loan_keys) < np.where(trouble, 0.24, 0.08) / (nth + 1)
        late = draws.choice("asks late about", _WEIGHTS_LATE, *loan_keys)
        good = draws.choice("asks about", _WEIGHTS_GOOD, *loan_keys)
        after_due = first_due + span(-2 + draws.exponential("asks after", 25.0, *loan_keys))
        after_loan = loans.disbursed + span(0.1 + draws.exponential("asks in", 8.0, *loan_keys))
        at = np.where(trouble, np.maximum(after_due, loans.disbursed + DAY), after_loan)
        parts.append(_chosen(asks, loans.person, loans.cycle * 4 + nth, np.where(trouble, late, good), rows, at))
    asks = draws.chance("asks in funnel", 0.05, made.person, made.cycle)
    kind = draws.choice("asks in funnel about", _WEIGHTS_FUNNEL, made.person, made.cycle)
    at = made.applied + span(0.05 + draws.exponential("asks after applying", 2.0, made.person, made.cycle))
    parts.append(_chosen(asks, made.person, made.cycle * 4 + 2, kind, np.full(len(made.person), -1), at))
    running = (lives.closed_at > OUTAGE) & (loans.disbursed < OUTAGE) & (lives.written_off_at > OUTAGE)
    hit = running & (loans.market == OUTAGE_MARKET) & draws.chance("outage", 0.10, loans.person, loans.cycle)
    at = OUTAGE + span(draws.exponential("outage asks", 0.3, loans.person, loans.cycle))
    parts.append(_chosen(hit, loans.person, loans.cycle * 4 + 3, np.full_like(rows, COMPLAINT), rows, at))

    person, key, kind, about, created = (np.concatenate(column) for column in zip(*parts, strict=True))
    seen = (created <= as_of) & (created < people.died[person])
    person, key, kind, about, created = person[seen], key[seen], kind[seen], about[seen], created[seen]
    order = np.lexsort((key, person, created))
    person, key, kind, about, created = person[order], key[order], kind[order], about[order], created[order]
    keys = (person, key)
    opened = created + span(0.01 + draws.exponential("ticket opened", 0.15, *keys))
    slow = draws.chance("ticket slow", 0.15, *keys)
    takes = np.where(
        slow, draws.exponential("ticket slow days", 35.0, *keys), draws.exponential("ticket days", 3.0, *keys)
    )
    solved = opened + span(0.05 + takes)
    comes_back = draws.chance("ticket reopened", 0.06, *keys)
    reopened = np.where(comes_back, solved + span(0.3 + 3 * draws.uniform("ticket reopened after", *keys)), NEVER)
    solved_again = np.where(comes_back, reopened + span(0.2 + draws.exponential("ticket again", 4.0, *keys)), NEVER)
    return Tickets(
        id=1001 + ranks(created, person, key),
        person=person,
        key=key,
        kind=kind,
        about_loan=about,
        created=created,
        opened=opened,
        solved=solved,
        reopened=reopened,
        solved_again=solved_again,
        closed=np.where(comes_back, solved_again, solved) + 4 * DAY,
    )


def _chosen(asks: Bools, *columns: Ints) -> tuple[Ints, ...]:
    return tuple(column[asks].astype(np.int64) for column in columns)
