"""Support as Zendesk keeps it: users, tickets and ticket events; nested values as JSON text."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sandbox.world import spelling
from sandbox.world.clients import Clients
from sandbox.world.draws import Bools, Draws, Ints
from sandbox.world.people import START, YEAR_DAYS, People
from sandbox.world.tickets import COMPLAINT, DISPUTE, HARDSHIP, KINDS, Tickets
from sandbox.world.units import DAY, NEVER, SECOND, join, keep, pick, ranks, span, text, times

AGENTS = 8
USER_ID_BASE = 360_000_000_001
EVENT_ID_BASE = 5_200_000_000_001
GROUP_IDS = (71_001, 71_002, 71_003)
STATUSES = ("new", "open", "pending", "solved", "closed")
NEW, OPEN, PENDING, SOLVED, CLOSED = range(5)

_CHANNELS = ("whatsapp", "email", "web", "mobile", "voice")
_PRIORITIES = ("low", "normal", "high", "urgent", None)
_TAGS: dict[int, tuple[list[str], ...]] = {
    0: (["payment"], ["payment", "receipt"], []),
    1: (["kyc"], ["kyc", "documents"], ["kyc"]),
    2: (["app"], ["app", "login"], []),
    3: (["limit"], ["limit", "vip"], ["limit"]),
    COMPLAINT: (["complaint"], ["complaint", "payment"], ["app", "complaint"]),
    DISPUTE: (["dispute"], ["dispute", "payment"], ["dispute", "complaint"]),
    HARDSHIP: (["hardship"], ["hardship", "plan"], ["hardship", "payment"]),
}
_SUBJECTS: dict[int, tuple[str, ...]] = {
    0: ("Payment not showing", 'I paid yesterday, still says "due"', "Paid twice 😟", "Pagamento não aparece"),
    1: ("Document refused", "Which ID do you take?", "Photo upload fails", "Ma pièce d'identité est refusée"),
    2: ("App does not open", "Code by SMS never comes", "Não consigo entrar no app", "L'application se ferme"),
    3: ("Higher limit please 🙏", "When can I borrow more?", "Quero aumentar meu limite", "Plus grand montant ?"),
    COMPLAINT: ("Your agent was rude", "Too many messages!!", "Reclamação sobre cobrança", "Réclamation"),
    DISPUTE: ("This is not my loan", "I never took this loan", "Não reconheço esta dívida", "Je conteste ce prêt"),
    HARDSHIP: ("Lost my job", "Need more time to pay 🙏", "Perdi o emprego, preciso de prazo", "Je suis malade"),
}


@dataclass(frozen=True)
class SupportUsers:
    """Requesters, in order of making; row i is user `id[i]`."""

    id: Ints
    person: Ints
    is_second: Bools
    created: Ints
    of_ticket: Ints
    """By ticket: row of its requester."""


def make_users(draws: Draws, tickets: Tickets) -> SupportUsers:
    """One user a person who asked for help; some wrote from a second address and became two."""
    splits = draws.chance("two users", 0.05, tickets.person)
    second = splits & (tickets.key % 2 == 1)
    pair = tickets.person * 2 + second
    pairs, inverse = np.unique(pair, return_inverse=True)
    created = np.full(len(pairs), NEVER, dtype=np.int64)
    np.minimum.at(created, inverse, tickets.created)
    place = ranks(created, pairs)
    order = np.argsort(place)
    return SupportUsers(
        id=USER_ID_BASE + AGENTS + np.arange(len(pairs), dtype=np.int64),
        person=(pairs // 2)[order],
        is_second=(pairs % 2 == 1)[order],
        created=created[order],
        of_ticket=place[inverse],
    )


def user_table(draws: Draws, people: People, clients: Clients, users: SupportUsers, years: int, as_of: int) -> pa.Table:
    """`support_users`: agents, hired before the `years` of history, then requesters.

    Whoever has no sure id gives a phone that works. Some are only tied to their client days later, by an agent.
    """
    person = users.person
    keys = (person, users.is_second.astype(np.int64))
    related = people.is_related[person]
    client = clients.of_person[person]
    known = (client >= 0) & (draws.chance("user external id", 0.7, *keys) | related)
    right = clients.id[np.maximum(client, 0)]
    mistyped = known & ~related & draws.chance("user external id wrong", 0.006, *keys)
    external = np.where(mistyped, np.where(right > 30, right - 20, right + 20), right)
    tied_at = users.created + span(1 + 9 * draws.uniform("user tied after", *keys))
    tied_later = known & ~related & draws.chance("user tied later", 0.10, *keys)
    modified = np.where(tied_later & (tied_at <= as_of), tied_at, users.created)
    tied = known & ~(tied_later & (tied_at > as_of))
    known &= ~tied_later
    phone_style = spelling.phone_styles(draws, "user phone", *keys)
    phone_style = np.where(known, phone_style, phone_style % spelling.VALID_PHONE_STYLES)
    moved = people.phone_changed[person] < users.created
    phone = np.where(moved, people.later_phone[person], people.phone[person])
    email_style = draws.choice("user e-mail", (60, 4, 0, 1, 35), *keys)
    style = spelling.name_styles(draws, "user name", 0.18, *keys)
    name = join(
        spelling.first_names(people, person, style),
        " ",
        spelling.last_names(people, person, spelling.name_styles(draws, "user surname", 0.05, *keys)),
    )
    count = len(person)
    suspended = draws.chance("user suspended", 0.004, *keys)
    requesters = pa.table(
        {
            "id": pa.array(users.id),
            "external_id": keep(text(external), tied),
            "name": name,
            "email": spelling.emails(people, person, email_style),
            "phone": spelling.phones(people, person, phone, phone_style),
            "role": pa.repeat("end-user", count),
            "active": pa.array(np.ones(count, dtype=bool)),
            "suspended": pa.array(suspended),
            "tags": pa.repeat("[]", count),
            "user_fields": pick(people.sex[person], '{"segment": null}', '{"segment": "retail"}'),
            "created_at": _seconds(users.created),
            "updated_at": _seconds(modified),
        }
    )
    number = np.arange(AGENTS, dtype=np.int64)
    hired = np.full(AGENTS, START - (years * YEAR_DAYS + 5) * DAY, dtype=np.int64)
    agents = pa.table(
        {
            "id": pa.array(USER_ID_BASE + number),
            "external_id": pa.nulls(AGENTS, pa.string()),
            "name": join("Support agent ", text(number + 1)),
            "email": join("agent", text(number + 1), "@support.example.com"),
            "phone": pa.nulls(AGENTS, pa.string()),
            "role": pa.repeat("agent", AGENTS),
            "active": pa.array(np.ones(AGENTS, dtype=bool)),
            "suspended": pa.array(np.zeros(AGENTS, dtype=bool)),
            "tags": pa.repeat("[]", AGENTS),
            "user_fields": pa.repeat("{}", AGENTS),
            "created_at": _seconds(hired),
            "updated_at": _seconds(hired),
        }
    )
    return pa.concat_tables([agents, requesters.cast(agents.schema)]).combine_chunks()


def _history(tickets: Tickets) -> list[tuple[int, Ints]]:
    """The status changes of a ticket in order of time: status and when; NEVER where it does not happen."""
    pending = tickets.opened + (tickets.solved - tickets.opened) // 2
    return [
        (NEW, tickets.created),
        (OPEN, tickets.opened),
        (PENDING, pending),
        (SOLVED, tickets.solved),
        (OPEN, tickets.reopened),
        (SOLVED, tickets.solved_again),
        (CLOSED, tickets.closed),
    ]


def ticket_table(draws: Draws, tickets: Tickets, users: SupportUsers, as_of: int) -> pa.Table:
    """`support_tickets` as they stand; generated_timestamp is in seconds since 1970."""
    keys = (tickets.person, tickets.key)
    count = len(tickets.id)
    status = np.full(count, NEW, dtype=np.int64)
    modified = tickets.created.copy()
    for then, moments in _history(tickets):
        past = moments <= as_of
        status = np.where(past, then, status)
        modified = np.where(past, np.maximum(modified, moments), modified)
    variant = draws.integers("ticket tags", 0, 3, *keys)
    tags = pa.array([json.dumps(kind_tags) for kind in range(len(KINDS)) for kind_tags in _TAGS[kind]])
    wording = draws.integers("ticket subject", 0, 4, *keys)
    subjects = pa.array([subject for kind in range(len(KINDS)) for subject in _SUBJECTS[kind]])
    subject = subjects.take(pa.array(tickets.kind * 4 + wording))
    requester = users.id[users.of_ticket]
    serious = tickets.kind >= COMPLAINT
    priority = np.where(
        serious,
        1 + draws.integers("ticket priority", 0, 3, *keys),
        draws.choice("ticket priority", (3, 5, 1, 0.2, 1), *keys),
    )
    rating = np.where(status >= SOLVED, draws.choice("rating", (5, 3, 2), *keys), 0)
    generated = modified // SECOND + draws.integers("generated after", 1, 5, *keys)
    channel = draws.integers("ticket channel", 0, len(_CHANNELS), *keys)
    custom = draws.integers("ticket custom", 0, 3, *keys)
    return pa.table(
        {
            "id": pa.array(tickets.id),
            "external_id": pa.nulls(count, pa.string()),
            "requester_id": pa.array(requester),
            "submitter_id": pa.array(requester),
            "assignee_id": pa.array(_agent(draws, tickets), mask=status == NEW),
            "group_id": pa.array(np.array(GROUP_IDS, dtype=np.int64)[tickets.kind % len(GROUP_IDS)]),
            "organization_id": pa.nulls(count, pa.int64()),
            "status": pa.array(STATUSES).take(pa.array(status)),
            "priority": pa.array(_PRIORITIES).take(pa.array(priority)),
            "type": pick(np.where(serious, 0, 1), "problem", "question"),
            "subject": subject,
            "description": join(subject, "\n\nSent from my phone"),
            "via": join('{"channel": "', pa.array(_CHANNELS).take(pa.array(channel)), '"}'),
            "tags": tags.take(pa.array(tickets.kind * 3 + variant)),
            "custom_fields": pick(
                custom, "[]", '[{"id": 20001, "value": "self-service"}]', '[{"id": 20001, "value": null}]'
            ),
            "satisfaction_rating": pick(rating, '{"score": "unoffered"}', '{"score": "good"}', '{"score": "bad"}'),
            "created_at": _seconds(tickets.created),
            "updated_at": _seconds(modified),
            "generated_timestamp": pa.array(generated),
        }
    )


def event_table(draws: Draws, tickets: Tickets, users: SupportUsers, as_of: int) -> pa.Table:
    """`support_ticket_events`: one audit a status change; the first carries the ticket's creation."""
    history = _history(tickets)
    rows = np.arange(len(tickets.id), dtype=np.int64)
    ticket = np.concatenate([rows] * len(history))
    step = np.repeat(np.arange(len(history), dtype=np.int64), len(rows))
    at = np.concatenate([moments for _, moments in history])
    past = at <= as_of
    ticket, step, at = ticket[past], step[past], at[past]
    order = np.lexsort((step, tickets.id[ticket], at))
    ticket, step, at = ticket[order], step[order], at[order]
    came_back = (step == len(history) - 1) & (tickets.reopened[ticket] < NEVER)
    names = [STATUSES[status] for status, _ in history]
    identity = EVENT_ID_BASE + np.arange(len(ticket), dtype=np.int64)
    by_requester = (step == 0) | (step == 4)
    updater = np.where(by_requester, users.id[users.of_ticket[ticket]], _agent(draws, tickets)[ticket])
    status_text = pa.array(names).take(pa.array(step))
    previous = pa.array(["", *names[:-1]]).take(pa.array(np.where(came_back, 6, step)))
    child = pick(
        np.where(step == 0, 0, 1),
        join('[{"id": ', text(identity * 10 + 1), ', "event_type": "Create", "status": "new"}]'),
        join(
            '[{"id": ', text(identity * 10 + 1), ', "event_type": "Change", "status": "', status_text,
            '", "previous_value": "', previous, '"}]',
        ),
    )  # fmt: skip
    return pa.table(
        {
            "id": pa.array(identity),
            "ticket_id": pa.array(tickets.id[ticket]),
            "timestamp": pa.array(at // SECOND),
            "created_at": _seconds(at),
            "updater_id": pa.array(updater),
            "via": pick(np.where(by_requester, 0, 1), "Web form", "Web service"),
            "system": pa.repeat('{"client": "sandbox"}', len(ticket)),
            "event_type": pa.repeat("Audit", len(ticket)),
            "child_events": child,
        }
    )


def _agent(draws: Draws, tickets: Tickets) -> Ints:
    return USER_ID_BASE + draws.integers("agent", 0, AGENTS, tickets.person, tickets.key)


def _seconds(moments: Ints) -> pa.Array:
    """Zendesk keeps whole seconds."""
    return times(np.where(moments >= NEVER, NEVER, moments // SECOND * SECOND))
