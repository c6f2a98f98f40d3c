"""Customers' accounts at the lender: opened with the first loan, money in and out of them.

Loans arrive here and are drawn; some people are also paid into their account, a few of them large sums.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sandbox.world import markets
from sandbox.world.clients import Clients
from sandbox.world.draws import Draws, Ints
from sandbox.world.lives import Funnel
from sandbox.world.people import People
from sandbox.world.repayments import local_day
from sandbox.world.units import (
    DAY,
    LEDGER_TIME,
    MINUTE,
    NEVER,
    UNIT,
    dates,
    decimals,
    in_order,
    ranks,
    span,
    text,
    times,
)

DEPOSIT, WITHDRAWAL = 1, 2
_PERIOD_DAYS = 30
_AT_ONCE = 5_000
"""Holders whose months are drawn together: they stay in the processor's cache."""


def make_savings(draws: Draws, people: People, funnel: Funnel, clients: Clients, as_of: int) -> dict[str, pa.Table]:
    """Accounts and their transactions committed by `as_of`, by table name; no balance is ever negative."""
    loans = funnel.loans
    opened = np.full(len(people), NEVER, dtype=np.int64)
    np.minimum.at(opened, loans.person, loans.disbursed)
    holder = np.flatnonzero(opened <= as_of)
    account = np.full(len(people), -1, dtype=np.int64)
    account[holder] = 1 + ranks(opened[holder], holder)

    person, at, kind, amount = _moves(draws, people, funnel, opened, holder, as_of)
    balance = _balances(account[person], np.where(kind == DEPOSIT, amount, -amount))

    holder = holder[np.argsort(account[holder])]
    market = people.market[holder]
    accounts = pa.table(
        {
            "id": pa.array(account[holder]),
            "account_no": text(account[holder] + 700_000_000),
            "client_id": pa.array(clients.id[clients.of_person[holder]]),
            "currency_code": pa.array(markets.CURRENCIES).take(pa.array(market)),
            "activated_on": dates(local_day(opened[holder], market)),
            "created_on_utc": times(opened[holder], LEDGER_TIME),
            "last_modified_on_utc": times(opened[holder], LEDGER_TIME),
        }
    )
    transactions = pa.table(
        {
            "id": pa.array(np.arange(1, len(person) + 1, dtype=np.int64)),
            "savings_account_id": pa.array(account[person]),
            "transaction_type_enum": pa.array(kind),
            "is_reversed": pa.array(np.zeros(len(person), dtype=bool)),
            "transaction_date": dates(local_day(at, people.market[person])),
            "amount": decimals(amount),
            "running_balance_derived": decimals(balance),
            "created_on_utc": times(at, LEDGER_TIME),
            "last_modified_on_utc": times(at, LEDGER_TIME),
        }
    )
    return {"m_savings_account": accounts, "m_savings_account_transaction": transactions}


Moves = tuple[Ints, Ints, Ints, Ints]
"""Person, moment, kind and amount."""


def _moves(draws: Draws, people: People, funnel: Funnel, opened: Ints, holder: Ints, as_of: int) -> Moves:
    """What went in and out by `as_of`, in the order of time."""
    some = (holder[at : at + _AT_ONCE] for at in range(0, len(holder), _AT_ONCE))
    moves = [_loan_moves(draws, funnel), *(_income_moves(draws, people, opened, part, as_of) for part in some)]
    person, at, kind, amount = (np.concatenate(column) for column in zip(*moves, strict=True))
    del moves
    rows = np.flatnonzero((at <= as_of) & (amount > 0) & (at < people.died[person] + 5 * DAY))
    rows = rows[in_order(at[rows], person[rows], kind[rows])]
    return person[rows], at[rows], kind[rows], amount[rows]


def _balances(account: Ints, amount: Ints) -> Ints:
    """What is in the account after each amount; `account` counts from 0 or more."""
    count = len(account)
    order = np.sort(account * count + np.arange(count, dtype=np.int64)) % max(count, 1)
    running = np.cumsum(amount[order])
    owner = account[order]
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]]) if count else np.empty(0, dtype=np.int64)
    before = running[starts] - amount[order[starts]]
    running -= np.repeat(before, np.diff(np.r_[starts, count]))
    balance = np.empty(count, dtype=np.int64)
    balance[order] = running
    return balance


def _loan_moves(draws: Draws, funnel: Funnel) -> Moves:
    """Each loan arrives and most of it is drawn within two days."""
    loans = funnel.loans
    keys = (loans.person, loans.cycle)
    unit = markets.MINOR_UNIT[loans.market]
    share = np.where(draws.chance("draws all", 0.6, *keys), 1.0, 0.5 + 0.45 * draws.uniform("draws", *keys))
    drawn = np.floor(loans.principal * share / unit).astype(np.int64) * unit
    at = loans.disbursed + MINUTE
    drawn_at = at + span(0.01 + 2 * draws.uniform("drawn after", *keys))
    return _in_and_out(loans.person, at, loans.principal, drawn_at, drawn)


def _income_moves(draws: Draws, people: People, opened: Ints, holder: Ints, as_of: int) -> Moves:
    """In some months money comes from elsewhere, once in a while a large sum, and most goes out again."""
    periods = int((as_of - int(opened[holder].min())) // (_PERIOD_DAYS * DAY)) + 1
    row, period = np.nonzero(draws.chance("income", 0.35, holder[:, None], np.arange(periods, dtype=np.int64)))
    person = holder[row]
    due = opened[person] + span((period + draws.uniform("income day", person, period)) * _PERIOD_DAYS)
    past = due <= as_of
    person, period, due = person[past], period[past], due[past]
    keys = (person, period)
    market = people.market[person]
    unit = markets.MINOR_UNIT[market]
    size = np.exp(0.7 * draws.normal("income size", *keys)) * 1.5
    size = np.where(draws.chance("large income", 0.004, *keys), 30 + 60 * draws.uniform("how large", *keys), size)
    amount = np.rint(markets.BASE_AMOUNT[market] * size * UNIT / unit).astype(np.int64) * unit
    spent = np.floor(amount * (0.5 + 0.5 * draws.uniform("spent", *keys)) / unit).astype(np.int64) * unit
    spent_at = due + span(0.2 + 6 * draws.uniform("spent after", *keys))
    return _in_and_out(person, due, amount, spent_at, spent)


def _in_and_out(person: Ints, at: Ints, amount: Ints, out_at: Ints, out: Ints) -> Moves:
    kind = np.repeat(np.array([DEPOSIT, WITHDRAWAL], dtype=np.int64), len(person))
    return (
        np.concatenate([person, person]),
        np.concatenate([at, out_at]),
        kind,
        np.concatenate([amount, out]),
    )
