"""The whole world on one day: every system's tables and the truth, from what it was drawn from and the day alone.

Tables are handed out one after the other, and are not kept: a large world fits into memory by table, not whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from sandbox.world import crm, markets, support, survey, truth
from sandbox.world.clients import client_table, make_clients
from sandbox.world.contacts import make_contacts
from sandbox.world.draws import Draws
from sandbox.world.lives import make_funnel
from sandbox.world.loan_book import make_loan_book
from sandbox.world.people import make_people
from sandbox.world.savings import make_savings
from sandbox.world.tickets import make_tickets


def view_world(customers: int, seed: int, as_of: int, years: int = 1) -> Iterator[tuple[str, pa.Table]]:
    """What all systems hold at `as_of` (microseconds since 1970), table by table; the truth's are called truth_*.

    `years` of history lie before the world's first day.
    """
    draws = Draws(seed)
    everyone = make_people(draws, customers, years, as_of + survey.KNOWN_BEFORE)
    people = survey.people_of(everyone, int((everyone.arrived <= as_of).sum()))
    funnel = make_funnel(draws, people, years, as_of)
    clients = make_clients(draws, people, funnel, as_of)
    yield "m_office", _offices()
    yield "m_product_loan", _products()
    yield "m_client", client_table(draws, people, clients, as_of)
    book, loan_tables = make_loan_book(draws, people, funnel, clients, as_of)
    yield from loan_tables
    yield "truth_loans", truth.loans_table(people, funnel, book, as_of)
    tables = make_savings(draws, people, funnel, clients, as_of)
    for name in list(tables):
        yield name, tables.pop(name)
    tickets = make_tickets(draws, people, funnel, as_of)
    contacts = make_contacts(draws, people, funnel, clients, tickets, as_of)
    yield "crm_contacts", crm.contact_table(draws, people, funnel, clients, contacts, as_of)
    yield "crm_deals", crm.deal_table(draws, people, funnel, contacts, book.loan_id, as_of)
    users = support.make_users(draws, tickets)
    yield "support_users", support.user_table(draws, people, clients, users, years, as_of)
    yield "support_tickets", support.ticket_table(draws, tickets, users, as_of)
    yield "support_ticket_events", support.event_table(draws, tickets, users, as_of)
    responses = survey.make_responses(draws, everyone, clients, as_of)
    yield "survey_responses", survey.response_table(draws, everyone, responses)
    yield "truth_people", truth.people_table(people, contacts, as_of)
    yield "truth_person_sources", truth.sources_table(clients, contacts, users, responses, as_of)
    yield "truth_contactability", truth.contactability_table(people, clients, contacts, tickets, responses, as_of)


def _offices() -> pa.Table:
    return pa.table(
        {
            "id": pa.array(range(1, len(markets.MARKETS) + 1), pa.int64()),
            "name": pa.array(markets.MARKET_NAMES),
            "external_id": pa.array(markets.MARKETS),
        }
    )


def _products() -> pa.Table:
    rows = [(m, p) for m in range(len(markets.MARKETS)) for p in markets.PRODUCTS]
    count = len(rows)
    return pa.table(
        {
            "id": pa.array(range(1, count + 1), pa.int64()),
            "name": pa.array([f"{p.name} {markets.MARKETS[m]}" for m, p in rows]),
            "short_name": pa.array([f"{p.short_name}{markets.MARKETS[m]}"[:4] for m, p in rows]),
            "currency_code": pa.array([markets.CURRENCIES[m] for m, _ in rows]),
            "number_of_repayments": pa.array([p.instalments for _, p in rows], pa.int64()),
            "repay_every": pa.array([p.days_each for _, p in rows], pa.int64()),
            "repayment_period_frequency_enum": pa.array([0] * count, pa.int64()),
        }
    )
