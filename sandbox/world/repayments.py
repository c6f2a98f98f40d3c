"""How loans are paid back: a loan's whole life, drawn when it is disbursed.

What belongs here: instalments, planned payments, payments that bounce, write-offs, recoveries.
What does not: what the ledger shows of it on a day (`loan_book`).

A payment is allotted to the oldest instalment first, within it to fee, interest and principal;
so everything follows from how much has been paid in all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from sandbox.world import markets
from sandbox.world.draws import Bools, Draws, Ints
from sandbox.world.units import DAY, HOUR, MINUTE, NEVER

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

WRITE_OFF_DPD = 120
SLOTS = 2 * markets.MAX_INSTALMENTS
NEVER_DAY = NEVER // DAY

_PAYS_IN_TIME, _PAYS_A_WEEK_LATE, _PAYS_A_MONTH_LATE, _PAYS_IN_PARTS = 0, 1, 2, 3
_PAYS_NOTHING, _PAYS_A_PART, _PAYS_VERY_LATE = 4, 5, 6

_AT_ONCE = 20_000
"""Rows taken together: their matrices stay in the processor's cache."""
_SETTLED_IN_A_BATCH = 0.08
"""Payments that a mobile-money operator settles together, shortly before 18:00 UTC."""
_WAYS_TO_PAY = (0.58, 0.22, 0.06, 0.14)
_WAYS_TO_DEFAULT = (0.62, 0.26, 0.12)


@dataclass(frozen=True)
class Loans:
    """Disbursed loans, one row each. `person` and `cycle` together name a loan."""

    person: Ints
    cycle: Ints
    market: Ints
    product: Ints
    number: Ints
    """1 for a person's first disbursed loan."""
    principal: Ints
    disbursed: Ints
    """Microseconds."""

    def __len__(self) -> int:
        return len(self.person)


@dataclass(frozen=True)
class Lives:
    """What will become of loans: matrices of loan by instalment or by payment, and columns by loan."""

    due_day: Ints
    """(loan, instalment); NEVER_DAY where there is no such instalment."""
    principal_due: Ints
    interest_due: Ints
    fee_due: Ints
    paid_at: Ints
    """(loan, payment slot), in order of time; NEVER where there is none."""
    paid: Ints
    bounced_at: Ints
    """A payment that is taken back at `unbounced_at`; NEVER for most loans."""
    bounced: Ints
    unbounced_at: Ints
    written_off_at: Ints
    recovered_at: Ints
    """(loan, 2)"""
    recovered: Ints
    closed_at: Ints
    worst_lateness_days: Ints


Columns = TypeVar("Columns", bound="DataclassInstance")


def together(parts: list[Columns]) -> Columns:
    """Records of columns put one below the other; the list is emptied, so that no more than one column is there twice."""
    kind = type(parts[0])
    columns = [dict(vars(part)) for part in parts]
    parts.clear()
    return kind(**{one.name: np.concatenate([part.pop(one.name) for part in columns]) for one in fields(kind)})


def take_rows(columns: Columns, rows: Ints) -> Columns:
    """Some rows of a record of columns."""
    return type(columns)(**{one.name: getattr(columns, one.name)[rows] for one in fields(columns)})


def local_day(moments: Ints, market: Ints) -> Ints:
    """The business day of an instant in the market's time zone, as days since 1970; NEVER stays far off."""
    days: Ints = np.where(moments >= NEVER, NEVER_DAY, (moments + markets.UTC_OFFSET_HOURS[market] * HOUR) // DAY)
    return days


def alike(product: Ints) -> Iterator[tuple[int, Ints]]:
    """Some rows after the other of those whose products have so many instalments: matrices as wide as that do for them."""
    count = np.array([p.instalments for p in markets.PRODUCTS], dtype=np.int64)[product]
    for instalments in sorted({p.instalments for p in markets.PRODUCTS}):
        rows = np.flatnonzero(count == instalments)
        for at in range(0, len(rows), _AT_ONCE):
            yield instalments, rows[at : at + _AT_ONCE]


def plan_lives(draws: Draws, loans: Loans, died: Ints, defaults: Bools) -> Lives:
    """The life of each loan. `died` (microseconds) stops payments; `defaults` says who will not pay in time."""
    lives = _no_lives(len(loans))
    for instalments, rows in alike(loans.product):
        life = _plan(draws, take_rows(loans, rows), instalments, died[rows], defaults[rows])
        for name, planned in vars(life).items():
            whole = getattr(lives, name)
            whole[(rows, slice(planned.shape[1])) if planned.ndim > 1 else rows] = planned
    return lives


def _no_lives(count: int) -> Lives:
    """Lives in which nothing happens, for loans of any number of instalments."""

    def matrix(width: int, value: int = 0) -> Ints:
        return np.full((count, width), value, dtype=np.int64)

    def column() -> Ints:
        return np.zeros(count, dtype=np.int64)

    each = markets.MAX_INSTALMENTS
    return Lives(
        matrix(each, NEVER_DAY), matrix(each), matrix(each), matrix(each), matrix(SLOTS, NEVER), matrix(SLOTS),
        column(), column(), column(), column(), matrix(2), matrix(2), column(), column(),
    )  # fmt: skip


def _plan(draws: Draws, loans: Loans, instalments: int, died: Ints, defaults: Bools) -> Lives:
    """The life of loans that all have so many instalments, in matrices as wide as that."""
    keys = (loans.person, loans.cycle)
    market = loans.market[:, None]
    slots = np.arange(2 * instalments, dtype=np.int64)[None, :]
    slot_keys = (loans.person[:, None], loans.cycle[:, None], slots)
    instalment_keys = (*slot_keys[:2], slots[:, :instalments])

    due_day, principal, interest, fee = _schedule(loans, instalments)
    total_each = principal + interest + fee
    total = total_each.sum(axis=1)

    behaviour = _behaviour(draws, loans, instalments, defaults, instalment_keys)
    offset, amount = _planned(draws, behaviour, total_each, markets.MINOR_UNIT[market], instalment_keys)
    day = due_day[:, :, None] + offset
    day = day.reshape(len(loans), slots.size)
    amount = amount.reshape(len(loans), slots.size)
    first_day = local_day(loans.disbursed, loans.market)[:, None] + 1
    day = np.maximum(day, first_day)
    paid_at = _at_daytime(draws, "payment time", day, market, slot_keys)
    in_batch = draws.chance("settled in a batch", _SETTLED_IN_A_BATCH, *slot_keys)
    batch_at = (
        day * DAY + (17.6 * HOUR + draws.uniform("batch", *slot_keys) * 0.4 * HOUR).astype(np.int64) // 1000 * 1000
    )
    paid_at = np.where(in_batch, batch_at, paid_at)
    paid_at = np.where((amount > 0) & (paid_at < died[:, None]), paid_at, NEVER)

    order = np.argsort(paid_at, axis=1, kind="stable")
    paid_at = np.take_along_axis(paid_at, order, axis=1) + slots * 1000
    paid_at = np.minimum(paid_at, NEVER)
    paid = np.where(paid_at < NEVER, np.take_along_axis(amount, order, axis=1), 0)

    met_at = _met_at(paid_at, paid, total_each)
    written_off_day = np.where(
        local_day(met_at, market) > due_day + WRITE_OFF_DPD, due_day + WRITE_OFF_DPD, NEVER_DAY
    ).min(axis=1)
    at_night = (
        markets.UTC_OFFSET_HOURS[loans.market] * -HOUR + 2 * HOUR + draws.integers("night", 0, 1800, *keys) * 1_000_000
    )
    written_off_at = np.where(written_off_day < NEVER_DAY, written_off_day * DAY + at_night, NEVER)
    late = paid_at >= written_off_at[:, None]
    paid_at, paid = np.where(late, NEVER, paid_at), np.where(late, 0, paid)

    met_at = _met_at(paid_at, paid, total_each)
    closed_at = met_at.max(axis=1)
    lateness = np.where(met_at < NEVER, local_day(met_at, market) - due_day, 0).max(axis=1, initial=0)
    paid = _overpay(draws, loans, paid_at, paid, closed_at, total)
    bounced_at, bounced, unbounced_at = _bounce(
        draws, loans, due_day[:, 0], total_each[:, 0], total, paid_at, paid, np.minimum(written_off_at, died), closed_at
    )
    recovered_at, recovered = _recover(draws, loans, written_off_at, died, total - paid.sum(axis=1))
    return Lives(
        due_day, principal, interest, fee, paid_at, paid, bounced_at, bounced, unbounced_at,
        written_off_at, recovered_at, recovered, closed_at, lateness,
    )  # fmt: skip


def _schedule(loans: Loans, instalments: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Due day, principal, interest and fee of each instalment; the last takes what rounding leaves."""
    product = loans.product
    each = np.array([p.days_each for p in markets.PRODUCTS], dtype=np.int64)[product][:, None]
    rate = np.array([p.rate for p in markets.PRODUCTS])[product]
    fee_rate = np.array([p.fee_rate for p in markets.PRODUCTS])[product]
    unit = markets.MINOR_UNIT[loans.market]
    number = np.arange(1, instalments + 1, dtype=np.int64)[None, :]
    disbursed_day = local_day(loans.disbursed, loans.market)[:, None]
    interest = np.rint(loans.principal * rate / unit).astype(np.int64) * unit
    fee = np.rint(loans.principal * fee_rate / unit).astype(np.int64) * unit
    return (
        disbursed_day + number * each,
        _split(loans.principal, instalments, unit),
        _split(interest, instalments, unit),
        np.where(number == 1, fee[:, None], 0),
    )


def _split(amount: Ints, count: int, unit: Ints) -> Ints:
    """Equal parts in whole minor units, the remainder in the last."""
    part = amount // count // unit * unit
    parts = np.repeat(part[:, None], count, axis=1)
    parts[:, -1] = amount - part * (count - 1)
    return parts


def _behaviour(draws: Draws, loans: Loans, instalments: int, defaults: Bools, keys: tuple[Ints, ...]) -> Ints:
    """What happens at each instalment: good ones until the person defaults, then one way of defaulting."""
    good = draws.choice("good", _WAYS_TO_PAY, *keys)
    breaks_at = (draws.uniform("breaks at", loans.person, loans.cycle) ** 2 * instalments).astype(np.int64)[:, None]
    way = _PAYS_NOTHING + draws.choice("way to default", _WAYS_TO_DEFAULT, loans.person, loans.cycle)[:, None]
    number = np.arange(instalments, dtype=np.int64)[None, :]
    after = np.where(way == _PAYS_VERY_LATE, _PAYS_VERY_LATE, _PAYS_NOTHING)
    bad = np.where(number < breaks_at, good, np.where(number == breaks_at, way, after))
    behaviour: Ints = np.where(defaults[:, None], bad, good)
    return behaviour


def _planned(draws: Draws, behaviour: Ints, due: Ints, unit: Ints, keys: tuple[Ints, ...]) -> tuple[Ints, Ints]:
    """Days after the due day and amount of the two payments at each instalment: (loan, instalment, 2)."""
    first, second = draws.uniform("first part", *keys), draws.uniform("second part", *keys)
    early = np.where(first < 0.45, 0, -(1 + 5 * second)).astype(np.int64)
    choices = [
        early,
        1 + (first * 7).astype(np.int64),
        8 + (first * 23).astype(np.int64),
        (first * 5).astype(np.int64) - 2,
        np.zeros_like(early),
        (first * 40).astype(np.int64),
        31 + (first * 85).astype(np.int64),
    ]
    day = np.choose(behaviour, choices)
    share = np.choose(behaviour, [1.0, 1.0, 1.0, 0.3 + 0.4 * second, 0.0, 0.2 + 0.4 * second, 1.0])
    amount = np.where(share >= 1.0, due, np.rint(due * share / unit).astype(np.int64) * unit)
    rest = np.where(behaviour == _PAYS_IN_PARTS, due - amount, 0)
    rest_day = day + 2 + (second * 18).astype(np.int64)
    return np.stack([day, rest_day], axis=2), np.stack([amount, rest], axis=2)


def _at_daytime(draws: Draws, stream: str, day: Ints, market: Ints, keys: tuple[Ints, ...]) -> Ints:
    """An instant between 07:00 and 20:30 of the market's day, whole milliseconds."""
    within = (7 * HOUR + draws.uniform(stream, *keys) * (13 * HOUR + 30 * MINUTE)).astype(np.int64) // 1000 * 1000
    moments: Ints = np.where(day >= NEVER_DAY // 2, NEVER, day * DAY - markets.UTC_OFFSET_HOURS[market] * HOUR + within)
    return moments


def _met_at(paid_at: Ints, paid: Ints, due: Ints) -> Ints:
    """When each instalment is wholly paid, the oldest first."""
    owed = np.cumsum(due, axis=1)
    reached = np.cumsum(paid, axis=1)[:, None, :] >= owed[:, :, None]
    moments = np.where(reached, paid_at[:, None, :], NEVER).min(axis=2)
    return np.asarray(moments, dtype=np.int64)


def _overpay(draws: Draws, loans: Loans, paid_at: Ints, paid: Ints, closed_at: Ints, total: Ints) -> Ints:
    """A few people pay more than they owe with their last payment."""
    unit = markets.MINOR_UNIT[loans.market]
    extra = np.rint(total * 0.05 / unit).astype(np.int64) * unit
    over = draws.chance("overpays", 0.006, loans.person, loans.cycle) & (closed_at < NEVER)
    last = (paid_at == closed_at[:, None]) & over[:, None]
    more: Ints = paid + np.where(last & (np.cumsum(last, axis=1) == 1), extra[:, None], 0)
    return more


def _bounce(
    draws: Draws,
    loans: Loans,
    due: Ints,
    instalment: Ints,
    total: Ints,
    paid_at: Ints,
    paid: Ints,
    end: Ints,
    closed: Ints,
) -> tuple[Ints, Ints, Ints]:
    """A payment that the bank takes back after one to three days; none where another payment is near."""
    keys = (loans.person, loans.cycle)
    day = due + draws.integers("bounce day", -3, 20, *keys)
    day = np.maximum(day, local_day(loans.disbursed, loans.market) + 1)
    at = _at_daytime(draws, "bounce time", day, loans.market, keys)
    undone = (
        at + DAY * draws.integers("unbounce", 1, 4, *keys) + draws.integers("unbounce s", 0, 3600, *keys) * 1_000_000
    )
    before = np.where(paid_at < at[:, None], paid, 0).sum(axis=1)
    amount = np.minimum(instalment, total - before)
    near = ((paid_at > at[:, None] - DAY) & (paid_at < undone[:, None] + DAY)).any(axis=1)
    happens = draws.chance("bounces", 0.06, *keys) & ~near & (amount > 0) & (at < closed) & (undone + 2 * DAY < end)
    return (
        np.where(happens, at, NEVER),
        np.where(happens, amount, 0),
        np.where(happens, undone, NEVER),
    )


def _recover(draws: Draws, loans: Loans, written_off_at: Ints, died: Ints, lost: Ints) -> tuple[Ints, Ints]:
    """Cash after the write-off: once or twice, for a quarter of the loans."""
    keys = (loans.person[:, None], loans.cycle[:, None], np.arange(2, dtype=np.int64)[None, :])
    market = loans.market[:, None]
    day = local_day(written_off_at, loans.market)[:, None] + np.cumsum(
        draws.integers("recovery day", 5, 90, *keys), axis=1
    )
    share = 0.1 + 0.35 * draws.uniform("recovery share", *keys)
    unit = markets.MINOR_UNIT[market]
    amount = np.rint(np.maximum(lost, 0)[:, None] * share / unit).astype(np.int64) * unit
    pays = draws.uniform("recovers", loans.person, loans.cycle)[:, None] < np.array([[0.25, 0.08]])
    at = _at_daytime(draws, "recovery time", day, market, keys)
    pays &= (written_off_at < NEVER)[:, None] & (at < died[:, None]) & (amount > 0)
    return np.where(pays, at, NEVER), np.where(pays, amount, 0)
