"""The ledger's clients: who became one when, also twice, and `m_client` as it stands on a day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sandbox.world import spelling
from sandbox.world.draws import Bools, Draws, Ints
from sandbox.world.lives import Funnel
from sandbox.world.people import START, People
from sandbox.world.repayments import local_day
from sandbox.world.units import DAY, LEDGER_TIME, MINUTE, NEVER, dates, join, keep, pick, span, text, times

PENDING, ACTIVE, CLOSED = 100, 300, 600
OCCUPATION_APPEARS = START + 2 * DAY
"""The ledger's next release adds a column; only what is written after it has a value."""
_OCCUPATIONS = ("trader", "driver", "teacher", "farmer", "tailor", "nurse", "student", "mechanic")


@dataclass(frozen=True)
class Clients:
    """Every client ever made by the day of the view, also those deleted since. Row order is id order."""

    id: Ints
    person: Ints
    is_duplicate: Bools
    created: Ints
    activated: Ints
    changed: Ints
    """When the profile was edited; NEVER for most."""
    closed: Ints
    deleted: Ints
    phone_key: Ints
    """-1 where no valid number is kept."""
    email_key: Ints
    phone_style: Ints
    email_style: Ints
    has_broken_office: Bools
    of_person: Ints
    """By person: the row of their (first) client, -1 without."""

    def live(self, as_of: int) -> Bools:
        """Which rows the ledger still has."""
        alive: Bools = self.deleted > as_of
        return alive


def make_clients(draws: Draws, people: People, funnel: Funnel, as_of: int) -> Clients:
    """Clients are made with the first application; some people are taken on twice."""
    made = funnel.applications
    first = made.cycle == 0
    person = made.person[first]
    created = made.applied[first]
    activated = np.full(len(people), NEVER, dtype=np.int64)
    np.minimum.at(activated, made.person, made.kyc)
    twice = draws.chance("taken on twice", 0.015, person)
    again = created[twice] + span(1 + 60 * draws.uniform("again", person[twice]))
    again_person = person[twice][again <= as_of]
    again = again[again <= as_of]

    person = np.concatenate([person, again_person])
    is_duplicate = np.arange(len(person)) >= len(person) - len(again_person)
    created = np.concatenate([created, again])
    order = np.lexsort((person, created))
    person, is_duplicate, created = person[order], is_duplicate[order], created[order]
    keys = (person, is_duplicate.astype(np.int64))

    changed = created + span(10 + 300 * draws.uniform("profile edited", *keys))
    changed = np.where(draws.chance("edits profile", 0.15, *keys) & ~is_duplicate, changed, NEVER)
    closed = people.died[person] + 25 * DAY
    closed = np.where((people.died[person] < NEVER) & draws.chance("closed after death", 0.3, *keys), closed, NEVER)
    deleted = created + span(8 + 60 * draws.uniform("deleted after", *keys))
    deleted = np.where(is_duplicate & draws.chance("deleted", 0.6, *keys), deleted, NEVER)
    phone_style = spelling.phone_styles(draws, "client phone", *keys)
    email_style = draws.choice("client e-mail", (80, 4, 1, 2, 13), *keys)
    moved = people.phone_changed[person] < np.where(changed <= as_of, changed, 0)
    phone = np.where(moved, people.later_phone[person], people.phone[person])
    main = np.flatnonzero(~is_duplicate)
    of_person = np.full(len(people), -1, dtype=np.int64)
    of_person[person[main]] = main
    activated_at = np.where(is_duplicate, created + 5 * MINUTE, activated[person])
    broken = draws.chance("broken office", 0.012, *keys) & (activated_at > as_of)
    return Clients(
        id=np.arange(1, len(person) + 1, dtype=np.int64),
        person=person,
        is_duplicate=is_duplicate,
        created=created,
        activated=activated_at,
        changed=changed,
        closed=closed,
        deleted=deleted,
        phone_key=np.where(phone_style < spelling.VALID_PHONE_STYLES, phone, -1),
        email_key=np.where(email_style < spelling.VALID_MAIL_STYLES, people.email[person], -1),
        phone_style=phone_style,
        email_style=email_style,
        has_broken_office=broken,
        of_person=of_person,
    )


def client_table(draws: Draws, people: People, clients: Clients, as_of: int) -> pa.Table:
    """`m_client`. A broken office is -1 here; a ledger that takes any type shows a text there."""
    person, market = clients.person, people.market[clients.person]
    keys = (person, clients.is_duplicate.astype(np.int64))

    def seen(moments: Ints) -> Ints:
        return np.where(moments <= as_of, moments, NEVER)

    activated, changed, closed = seen(clients.activated), seen(clients.changed), seen(clients.closed)
    status = np.where(closed < NEVER, CLOSED, np.where(activated < NEVER, ACTIVE, PENDING))
    odd = np.where(clients.is_duplicate, 0.6, 0.10)
    style = np.where(
        draws.uniform("client name odd", *keys) < odd, spelling.name_styles(draws, "client name", 1.0, *keys), 0
    )
    first = spelling.first_names(people, person, style)
    last = spelling.last_names(people, person, spelling.name_styles(draws, "client surname", 0.06, *keys))
    phone = np.where(clients.phone_key >= 0, clients.phone_key, people.phone[person])
    modified = clients.created.copy()
    for moments in (activated, changed, closed):
        modified = np.where(moments < NEVER, np.maximum(modified, moments), modified)
    birth = np.where(draws.chance("client birth missing", 0.015, *keys), NEVER // DAY, people.birth_day[person])
    columns = {
        "id": pa.array(clients.id),
        "account_no": text(clients.id, 9),
        "external_id": keep(join("LL-", text(clients.id + 100_000)), draws.chance("external id", 0.9, *keys)),
        "status_enum": pa.array(status),
        "activation_date": dates(local_day(activated, market)),
        "firstname": first,
        "lastname": last,
        "display_name": join(first, " ", last),
        "mobile_no": spelling.phones(people, person, phone, clients.phone_style),
        "email_address": spelling.emails(people, person, clients.email_style),
        "date_of_birth": dates(birth),
        "gender": pick(np.where(draws.chance("gender kept", 0.9, *keys), people.sex[person], 2), "F", "M", None),
        "office_id": pa.array(np.where(clients.has_broken_office, -1, market + 1)),
        "submittedon_date": dates(local_day(clients.created, market)),
        "created_on_utc": times(clients.created, LEDGER_TIME),
        "last_modified_on_utc": times(modified, LEDGER_TIME),
    }
    if as_of >= OCCUPATION_APPEARS:
        kind = draws.integers("occupation", 0, len(_OCCUPATIONS), *keys)
        columns["occupation"] = keep(pa.array(_OCCUPATIONS).take(pa.array(kind)), modified >= OCCUPATION_APPEARS)
    return pa.table(columns).filter(pa.array(clients.live(as_of)))
