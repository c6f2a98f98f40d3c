"""Who lives in the pretend world: one row a person, from birth to death, before any system knows them.

What belongs here: a person's true attributes and how people are related (twins, family that
shares a phone, strangers who were given somebody's old number). What does not: what a system
wrote down about them (`crm`, `clients`, `support`).

Persons stand in blocks of eight; the place in the block says who may be related to whom, so that
relations never chain: 1 may be 0's twin, 4 may share 3's phone, and 6 may hold the old number of
the 7 of an earlier block.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np

from sandbox.world import markets
from sandbox.world.draws import Bools, Draws, Ints
from sandbox.world.units import DAY, HOUR, NEVER, micros, span

START = micros(datetime(2026, 6, 30, 18, tzinfo=UTC))
"""The world's clock when it is new."""
YEAR_DAYS = 365
BLOCK = 8
_TWIN, _FAMILY, _RECYCLED = 0.08, 0.20, 0.10
_EPOCH_DAY = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class People:
    """One row a person; `id` is also the row number. Names are indices into the pools of `markets`."""

    id: Ints
    market: Ints
    sex: Ints
    first_name: Ints
    last_name: Ints
    birth_day: Ints
    arrived: Ints
    phone: Ints
    """Key of the number they use: the person whose number it was first."""
    later_phone: Ints
    """Key of the number they change to at `phone_changed`."""
    phone_changed: Ints
    email: Ints
    """Key of the mailbox they use: the person whose mailbox it is; -1 without."""
    quality: np.ndarray[tuple[int], np.dtype[np.float64]]
    """How well they repay, uniform in [0, 1)."""
    died: Ints
    is_fraudster: Bools
    twin_of: Ints
    """The person whose twin they are, -1 for most."""
    shares_phone_with: Ints
    recycled_from: Ints
    is_related: Bools
    """Somebody shares, or will share, this person's number or looks (also people who have not arrived)."""

    def __len__(self) -> int:
        return len(self.id)


def daily_arrivals(customers: int, years: int) -> float:
    """New people a day after a history of so many years."""
    return 1.3 * customers / (years * YEAR_DAYS)


def make_people(draws: Draws, customers: int, years: int, as_of: int) -> People:
    """Everyone who has arrived by `as_of`, in the order of arrival; the first `customers` within `years` before START."""
    at_most = customers + int(max(0.0, (as_of - START) / DAY) * daily_arrivals(customers, years)) + 1
    person = np.arange(at_most, dtype=np.int64)
    arrived = _arrivals(draws, customers, years, person)
    person, arrived = person[arrived <= as_of], arrived[arrived <= as_of]
    place = person % BLOCK
    recycle_distance = BLOCK * max(1, customers // (2 * BLOCK))

    twin_of = np.where((place == 1) & draws.chance("twin", _TWIN, person), person - 1, -1)
    family_of = np.where((place == 4) & draws.chance("family", _FAMILY, person), person - 1, -1)
    recycled_from = person - recycle_distance + 1
    recycled = (place == 6) & (recycled_from >= 0) & draws.chance("recycled", _RECYCLED, person)
    recycled_from = np.where(recycled, recycled_from, -1)
    kin = np.maximum(np.maximum(twin_of, family_of), recycled_from)
    kin = np.where(kin >= 0, kin, person)

    market = draws.choice("market", markets.MARKET_WEIGHTS, kin)
    own_twin = np.where(twin_of >= 0, twin_of, person)
    sex = draws.integers("sex", 0, 2, kin)
    first, last = markets.first_names(), markets.last_names()
    drawn = draws.uniform("first name", kin)
    first_name = first.start[market, sex] + (drawn * first.size[market, sex]).astype(np.int64)
    first_name = np.where(kin != person, first.unlike[first_name], first_name)
    surname_of = np.where((family_of >= 0) & draws.chance("family surname", 0.6, person), family_of, own_twin)
    drawn = draws.uniform("last name", surname_of)
    last_name = last.start[market, 0] + (drawn * last.size[market, 0]).astype(np.int64)

    youngest = date(2007, 6, 1).toordinal() - _EPOCH_DAY
    birth_day = youngest - (44 * 365 * draws.uniform("birth", own_twin) ** 1.3).astype(np.int64)
    related = (family_of >= 0) | recycled
    birth_day = np.where(related & (birth_day == birth_day[kin]), birth_day - 400, birth_day)

    phone = person.copy()
    shares = (family_of >= 0) | ((twin_of >= 0) & draws.chance("twin phone", 0.5, person))
    phone = np.where(shares | recycled, kin, phone)
    gave_up = (place == BLOCK - 1) & draws.chance("recycled", _RECYCLED, person + recycle_distance - 1)
    will_be = ((place == 0) & draws.chance("twin", _TWIN, person + 1)) | (
        (place == 3) & draws.chance("family", _FAMILY, person + 1)
    )
    changes = np.where(gave_up, 0.5, 0.02)
    phone_changed = arrived + span(20 + 120 * draws.uniform("phone change", person))
    phone_changed = np.where(draws.chance("changes phone", changes, person) & ~shares, phone_changed, NEVER)

    email = np.where(draws.chance("has e-mail", 0.75, person), person, -1)
    email = np.where((family_of >= 0) & draws.chance("family e-mail", 0.15, person), email[kin], email)

    died = np.where(
        draws.chance("dies", 0.006, person), arrived + span(5 + 400 * draws.uniform("death", person)), NEVER
    )
    return People(
        id=person,
        market=market,
        sex=sex,
        first_name=first_name,
        last_name=last_name,
        birth_day=birth_day,
        arrived=arrived,
        phone=phone,
        later_phone=person + 5_000_000,
        phone_changed=phone_changed,
        email=email,
        quality=draws.uniform("quality", person),
        died=died,
        is_fraudster=draws.chance("fraudster", 0.012, person),
        twin_of=twin_of,
        shares_phone_with=np.where(shares, kin, -1),
        recycled_from=recycled_from,
        is_related=will_be | gave_up | (kin != person),
    )


def _arrivals(draws: Draws, customers: int, years: int, person: Ints) -> Ints:
    """When people are first seen: years of steady growth, then a steady stream; grows with the row."""
    within = draws.uniform("arrival", person)
    share = np.minimum((person + within) / customers, 1.0)
    passed = (np.sqrt(0.49 + 1.2 * share) - 0.7) / 0.6
    past = START - span((1.0 - passed) * (years * YEAR_DAYS)) - HOUR
    future = START + span((person - customers + within) / daily_arrivals(customers, years))
    arrived: Ints = np.where(person < customers, past, future)
    return arrived
