"""The CRM's contacts as records: who is in it (also twice), what they agreed to, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sandbox.world import spelling
from sandbox.world.clients import Clients
from sandbox.world.draws import Bools, Draws, Ints
from sandbox.world.lives import Funnel
from sandbox.world.people import START, People
from sandbox.world.tickets import DISPUTE, Tickets
from sandbox.world.units import DAY, HOUR, NEVER, span

CONTACT_ID_BASE = 51_000_000_001
UNKNOWN, YES, NO = 0, 1, 2
Happened = Callable[[Ints], Bools]
PREFERRED_CHANNEL_APPEARS = START + 3 * DAY
_LEDGER_LINK_KEPT = 0.92
_LEDGER_LINK_WRONG = 0.015


@dataclass(frozen=True)
class Consent:
    """What a contact says about one channel on the day: UNKNOWN, YES or NO, and since when."""

    state: Ints
    since: Ints
    ever_no: Bools
    """Whether it may be NO on any day, past or to come."""


@dataclass(frozen=True)
class Contacts:
    """Every contact made by the day of the view, in order of making; also archived ones."""

    id: Ints
    person: Ints
    is_duplicate: Bools
    created: Ints
    archived: Ints
    """NEVER while live."""
    phone_key: Ints
    """Key of the number on the day; -1 where none that works is kept."""
    phone: Ints
    phone_style: Ints
    email_key: Ints
    email_style: Ints
    sms: Consent
    email_consent: Consent
    do_not_contact: Bools
    is_fraud: Bools
    is_deceased: Bools
    in_dispute: Bools
    client: Ints
    """Row of the client that `ledger_client_id` means, -1 for none."""
    client_link_wrong: Bools
    modified: Ints
    of_person: Ints
    """By person: row of their first contact."""

    def live(self, as_of: int) -> Bools:
        """Which contacts are not archived."""
        alive: Bools = self.archived > as_of
        return alive


def make_contacts(
    draws: Draws, people: People, funnel: Funnel, clients: Clients, tickets: Tickets, as_of: int
) -> Contacts:
    """Everyone is a contact from the day they arrive; some are entered twice."""
    twice = np.flatnonzero(draws.chance("entered twice", 0.04, people.id))
    again = people.arrived[twice] + span(2 + 120 * draws.uniform("entered again", twice))
    twice, again = twice[again <= as_of], again[again <= as_of]
    person = np.concatenate([people.id, twice])
    created = np.concatenate([people.arrived, again])
    is_duplicate = np.arange(len(person)) >= len(people)
    order = np.lexsort((is_duplicate, person, created))
    person, created, is_duplicate = person[order], created[order], is_duplicate[order]
    keys = (person, is_duplicate.astype(np.int64))

    modified = created.copy()

    def happened(moments: Ints) -> Bools:
        """Which of the moments are past; they count as changes of the contact."""
        past = moments <= as_of
        np.copyto(modified, np.maximum(modified, moments), where=past)
        return past

    moved = happened(np.where(is_duplicate, NEVER, people.phone_changed[person]))
    phone = np.where(moved, people.later_phone[person], people.phone[person])
    phone_style = spelling.phone_styles(draws, "contact phone", *keys)
    email_style = draws.choice("contact e-mail", (86, 5, 2, 2.5, 4.5), *keys)
    email_style = np.where(is_duplicate & draws.chance("e-mail typo", 0.25, *keys), spelling.MAIL_TYPO, email_style)

    sms = _consent(draws, "sms", keys, created, is_duplicate, 0.84, happened)
    by_mail = _consent(draws, "e-mail", keys, created, is_duplicate, 0.70, happened)
    stop = created + span(5 + 300 * draws.uniform("stop", *keys))
    stop = np.where(draws.chance("stops", 0.02, *keys), stop, NEVER)

    first_loan = np.full(len(people), NEVER, dtype=np.int64)
    np.minimum.at(first_loan, funnel.loans.person, funnel.loans.disbursed)
    main = ~is_duplicate
    found_out = np.where(people.is_fraudster & (first_loan < NEVER), first_loan + 20 * DAY, NEVER)
    told = people.died + span(8 + 25 * draws.uniform("death told", people.id))
    told = np.where((people.died < NEVER) & draws.chance("death known", 0.8, people.id), told, NEVER)
    in_dispute, dispute_changed = _disputes(draws, people, tickets, as_of)
    happened(np.where(main, dispute_changed[person], NEVER))
    happened(np.where(main, funnel.offered[person], NEVER))
    first_applied = np.full(len(people), NEVER, dtype=np.int64)
    np.minimum.at(first_applied, funnel.applications.person, funnel.applications.applied)
    happened(np.where(main, first_applied[person], NEVER))
    happened(np.where(main, first_loan[person], NEVER))

    row = clients.of_person[person]
    linked = main & (row >= 0) & draws.chance("ledger link", _LEDGER_LINK_KEPT, *keys)
    link_at = np.where(linked, clients.created[np.maximum(row, 0)] + 5 * 60_000_000, NEVER)
    linked = happened(link_at)

    is_fraud = happened(np.where(main, found_out[person], NEVER))
    is_deceased = happened(np.where(main, told[person], NEVER))
    stopped = happened(stop)
    flagged = (stop < NEVER) | sms.ever_no | by_mail.ever_no
    archive = created + span(10 + 120 * draws.uniform("archived after", *keys))
    archives = np.where(is_duplicate, ~flagged & draws.chance("archives twin entry", 0.5, *keys), False)
    never_offered = funnel.offered[person] >= NEVER
    archives = archives | (main & never_offered & ~flagged & draws.chance("archives lead", 0.15, *keys))
    archived = np.where(archives, archive, NEVER)
    happened(archived)
    of_person = np.full(len(people), -1, dtype=np.int64)
    of_person[person[main]] = np.flatnonzero(main)
    return Contacts(
        id=CONTACT_ID_BASE + np.arange(len(person), dtype=np.int64),
        person=person,
        is_duplicate=is_duplicate,
        created=created,
        archived=np.where(archived <= as_of, archived, NEVER),
        phone_key=np.where(phone_style < spelling.VALID_PHONE_STYLES, phone, -1),
        phone=phone,
        phone_style=phone_style,
        email_key=np.where(email_style < spelling.VALID_MAIL_STYLES, people.email[person], -1),
        email_style=email_style,
        sms=sms,
        email_consent=by_mail,
        do_not_contact=stopped,
        is_fraud=is_fraud,
        is_deceased=is_deceased,
        in_dispute=main & in_dispute[person],
        client=np.where(linked, row, -1),
        client_link_wrong=linked & draws.chance("ledger link wrong", _LEDGER_LINK_WRONG, *keys),
        modified=modified,
        of_person=of_person,
    )


def _consent(
    draws: Draws,
    channel: str,
    keys: tuple[Ints, Ints],
    created: Ints,
    is_duplicate: Bools,
    yes: float,
    happened: Happened,
) -> Consent:
    """Asked on arrival; some say yes later, some withdraw, and some of those come back."""
    asked = draws.choice(f"{channel}/asked", (yes, 0.05, 0.95 - yes), *keys)
    state = np.array([YES, NO, UNKNOWN], dtype=np.int64)[asked]
    state = np.where(is_duplicate & draws.chance(f"{channel}/not asked again", 0.7, *keys), UNKNOWN, state)
    since = np.where(state == UNKNOWN, NEVER, created)
    agrees = created + span(3 + 11 * draws.uniform(f"{channel}/agrees after", *keys))
    agrees = np.where((state == UNKNOWN) & draws.chance(f"{channel}/agrees", 0.2, *keys), agrees, NEVER)
    agreed = happened(agrees)
    state, since = np.where(agreed, YES, state), np.where(agreed, agrees, since)
    withdraws = created + span(15 + 380 * draws.uniform(f"{channel}/when", *keys))
    changes_mind = draws.chance(f"{channel}/withdraws", 0.13, *keys)
    ever_no = changes_mind | (state == NO)
    withdraws = np.where((state == YES) & changes_mind, withdraws, NEVER)
    returns = withdraws + span(3 + 60 * draws.uniform(f"{channel}/returns after", *keys))
    returns = np.where((withdraws < NEVER) & draws.chance(f"{channel}/returns", 0.15, *keys), returns, NEVER)
    withdrawn = happened(withdraws)
    state, since = np.where(withdrawn, NO, state), np.where(withdrawn, withdraws, since)
    returned = happened(returns)
    return Consent(np.where(returned, YES, state), np.where(returned, returns, since), ever_no)


def _disputes(draws: Draws, people: People, tickets: Tickets, as_of: int) -> tuple[Bools, Ints]:
    """By person: in dispute on the day, and when that last changed. Most disputes reach the CRM within hours."""
    rows = np.flatnonzero(tickets.kind == DISPUTE)
    rows = rows[draws.chance("dispute noted", 0.75, tickets.person[rows], tickets.key[rows])]
    start = tickets.created[rows] + 3 * HOUR
    end = np.where(tickets.closed[rows] < NEVER, tickets.closed[rows], NEVER)
    person = tickets.person[rows]
    disputed = np.zeros(len(people), dtype=bool)
    disputed[person[(start <= as_of) & (end > as_of)]] = True
    changed = np.zeros(len(people), dtype=np.int64)
    for moments in (start, end):
        past = moments <= as_of
        np.maximum.at(changed, person[past], moments[past])
    return disputed, np.where(changed > 0, changed, NEVER)
