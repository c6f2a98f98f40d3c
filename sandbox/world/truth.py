"""The world's truth, kept aside for tests: who is who, who may be contacted, who owes what.

What belongs here: the answer that a perfect hub would come to. Nothing of it is visible to the product.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sandbox.world import markets
from sandbox.world.clients import Clients
from sandbox.world.contacts import NO, YES, Contacts
from sandbox.world.draws import Bools, Ints
from sandbox.world.lives import Funnel
from sandbox.world.loan_book import LoanBook
from sandbox.world.people import People
from sandbox.world.repayments import local_day
from sandbox.world.support import SupportUsers
from sandbox.world.survey import Responses, response_ids
from sandbox.world.tickets import COMPLAINT, DISPUTE, HARDSHIP, Tickets
from sandbox.world.units import dates, decimals, pick, text, times

STATUS_NAMES = {
    100: "submitted",
    200: "approved",
    300: "active",
    400: "withdrawn",
    500: "rejected",
    600: "closed",
    601: "written_off",
    700: "overpaid",
}
_WHY_NOT = ("no_address", "no_consent", "opt_out", "fraud", "deceased", "dispute")


def people_table(people: People, contacts: Contacts, as_of: int) -> pa.Table:
    """`people`: one row a person. deceased and fraud are what really is, *_known what the CRM knows."""
    main = contacts.of_person
    died = people.died <= as_of
    return pa.table(
        {
            "person_id": pa.array(people.id),
            "market": pa.array(markets.MARKETS).take(pa.array(people.market)),
            "date_of_birth": dates(people.birth_day),
            "arrived_at": times(people.arrived),
            "deceased": pa.array(died),
            "deceased_known": pa.array(contacts.is_deceased[main]),
            "fraud": pa.array(people.is_fraudster),
            "fraud_known": pa.array(contacts.is_fraud[main]),
            "in_dispute": pa.array(contacts.in_dispute[main]),
            "twin_of": pa.array(people.twin_of, mask=people.twin_of < 0),
            "shares_phone_with": pa.array(people.shares_phone_with, mask=people.shares_phone_with < 0),
            "phone_recycled_from": pa.array(people.recycled_from, mask=people.recycled_from < 0),
        }
    )


def sources_table(
    clients: Clients, contacts: Contacts, users: SupportUsers, responses: Responses, as_of: int
) -> pa.Table:
    """`person_sources`: every record of a person; is_live is false for what was deleted or archived.

    In files there are people of whom `people` knows nothing yet.
    """
    persons = [contacts.person, clients.person, users.person, responses.person]
    ids = [text(contacts.id), text(clients.id), text(users.id), response_ids(responses)]
    live = [contacts.live(as_of), clients.live(as_of), np.ones(len(users.id) + len(responses.person), dtype=bool)]
    doubles = [
        contacts.is_duplicate,
        clients.is_duplicate,
        users.is_second,
        np.zeros(len(responses.person), dtype=bool),
    ]
    return pa.table(
        {
            "person_id": pa.array(np.concatenate(persons)),
            "source": pick(np.repeat(np.arange(4), [len(i) for i in ids]), "crm", "ledger", "support", "survey"),
            "source_id": pa.concat_arrays(ids),
            "is_live": pa.array(np.concatenate(live)),
            "is_duplicate": pa.array(np.concatenate(doubles)),
        }
    )


def _any_of(count: int, person: Ints, holds: Bools) -> Bools:
    found = np.zeros(count, dtype=bool)
    held = person[holds]
    found[held[held < count]] = True
    return found


def contactability_table(
    people: People, clients: Clients, contacts: Contacts, tickets: Tickets, responses: Responses, as_of: int
) -> pa.Table:
    """`contactability`: person by channel.

    `consent` is the person's own: somewhere yes, nowhere no. A suppression (opt-out, fraud, death,
    dispute; a no in a file) on a record reaches everyone with a record that has the same number or mailbox; a
    "no" to one channel is an opt-out of the number or mailbox it was said for. Archived contacts give no consent.
    `why_not` is the first reason; `has_open_ticket` (complaint, dispute, hardship) is told apart, it is not in may_contact.
    """
    count = len(people)
    live_contact, live_client = contacts.live(as_of), clients.live(as_of)
    concerned = np.isin(tickets.kind, (COMPLAINT, DISPUTE, HARDSHIP)) & tickets.is_open(as_of)
    has_ticket = _any_of(count, tickets.person, concerned)
    holders = [
        (contacts.person, contacts.phone_key, contacts.email_key),
        (clients.person, clients.phone_key, clients.email_key),
        (responses.person, responses.phone_key, responses.email_key),
    ]
    alive = [live_contact, live_client, np.ones(len(responses.person), dtype=bool)]

    numbers = 2 + max(int(column.max(initial=0)) for holder in holders for column in holder[1:])

    def reached(flagged: Bools, phone: bool = True, email: bool = True, of: int = 0) -> Bools:
        """Persons with a live record that shares a number or mailbox with a flagged record `of` a holder, and the flagged."""
        found = _any_of(count, holders[of][0], flagged)
        for wanted, place in ((phone, 1), (email, 2)):
            if wanted:
                is_flagged = np.zeros(numbers, dtype=bool)
                is_flagged[holders[of][place][flagged]] = True
                is_flagged[-1] = False  # of those without
                for holder, here in zip(holders, alive, strict=True):
                    found |= _any_of(count, holder[0], here & is_flagged[holder[place]])
        return found

    fraud, deceased = reached(contacts.is_fraud), reached(contacts.is_deceased)
    dispute = reached(contacts.in_dispute)
    stopped = reached(contacts.do_not_contact) | reached(responses.opted_out, of=2)
    tables = []
    for channel, consent, place in (("sms", contacts.sms, 1), ("email", contacts.email_consent, 2)):
        yes = _any_of(count, contacts.person, live_contact & (consent.state == YES))
        no = _any_of(count, contacts.person, consent.state == NO)
        own_stop = _any_of(count, contacts.person, contacts.do_not_contact)
        own_stop |= _any_of(count, responses.person, responses.opted_out)
        said_no = reached(consent.state == NO, phone=place == 1, email=place == 2)
        reachable = np.zeros(count, dtype=bool)
        for holder, here in zip(holders, alive, strict=True):
            reachable |= _any_of(count, holder[0], here & (holder[place] >= 0))
        given = yes & ~no
        reasons = [~reachable, ~given, stopped | said_no, fraud, deceased, dispute]
        first = np.select(reasons, list(range(len(reasons))), len(reasons))
        tables.append(
            pa.table(
                {
                    "person_id": pa.array(people.id),
                    "channel": pa.repeat(channel, count),
                    "may_contact": pa.array(first == len(reasons)),
                    "why_not": pick(first, *_WHY_NOT, None),
                    "consent": pa.array(given),
                    "reachable": pa.array(reachable),
                    "opted_out": pa.array(own_stop | no),
                    "opt_out_reaches": pa.array(stopped | said_no),
                    "has_open_ticket": pa.array(has_ticket),
                }
            )
        )
    return pa.concat_tables(tables).combine_chunks()


def loans_table(people: People, funnel: Funnel, book: LoanBook, as_of: int) -> pa.Table:
    """`loans`: every loan of the ledger as of the business date of its market."""
    person = funnel.applications.person[book.application]
    market = people.market[person]
    today = local_day(np.full(len(person), as_of, dtype=np.int64), market)
    codes = np.array(list(STATUS_NAMES), dtype=np.int64)
    return pa.table(
        {
            "loan_id": pa.array(book.loan_id[book.application]),
            "person_id": pa.array(person),
            "market": pa.array(markets.MARKETS).take(pa.array(market)),
            "currency": pa.array(markets.CURRENCIES).take(pa.array(market)),
            "status_id": pa.array(book.status),
            "status": pa.array(list(STATUS_NAMES.values())).take(pa.array(np.searchsorted(codes, book.status))),
            "principal_outstanding": decimals(book.outstanding),
            "days_past_due": pa.array(book.days_past_due),
            "oldest_unpaid_due_on": dates(book.oldest_unpaid_due),
            "as_of_date": dates(today),
        }
    )
