"""The whole world on one day: every system's tables and the truth, from (customers, seed, day) alone."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from sandbox.world import crm, markets, support, truth
from sandbox.world.clients import client_table, make_clients
from sandbox.world.contacts import make_contacts
from sandbox.world.draws import Draws
from sandbox.world.lives import make_funnel
from sandbox.world.loan_book import make_loan_book
from sandbox.world.people import make_people
from sandbox.world.savings import make_savings
from sandbox.world.tickets import make_tickets


@dataclass(frozen=True)
class View:
    """Tables by name: the ledger's, the other systems', the truth's."""

    ledger: dict[str, pa.Table]
    systems: dict[str, pa.Table]
    truth: dict[str, pa.Table]


def view_world(customers: int, seed: int, as_of: int) -> View:
    """What all systems hold at `as_of` (microseconds since 1970)."""
    draws = Draws(seed)
    people = make_people(draws, customers, as_of)
    funnel = make_funnel(draws, people, as_of)
    clients = make_clients(draws, people, funnel, as_of)
    book = make_loan_book(draws, people, funnel, clients, as_of)
    savings = make_savings(draws, people, funnel, clients, as_of)
    tickets = make_tickets(draws, people, funnel, as_of)
    contacts = make_contacts(draws, people, funnel, clients, tickets, as_of)
    users = support.make_users(draws, tickets)
    return View(
        ledger={
            "m_office": _offices(),
            "m_product_loan": _products(),
            "m_client": client_table(draws, people, clients, as_of),
            "m_loan": book.loans,
            "m_loan_transaction": book.transactions,
            "m_loan_repayment_schedule": book.schedule,
            "m_loan_arrears_aging": book.arrears,
            "m_savings_account": savings.accounts,
            "m_savings_account_transaction": savings.transactions,
        },
        systems={
            "crm_contacts": crm.contact_table(draws, people, funnel, clients, contacts, as_of),
            "crm_deals": crm.deal_table(draws, people, funnel, contacts, book.loan_id, as_of),
            "support_tickets": support.ticket_table(draws, tickets, users, as_of),
            "support_users": support.user_table(draws, people, clients, users, as_of),
            "support_ticket_events": support.event_table(draws, tickets, users, as_of),
        },
        truth={
            "people": truth.people_table(people, contacts, as_of),
            "person_sources": truth.sources_table(clients, contacts, users, as_of),
            "contactability": truth.contactability_table(people, clients, contacts, tickets, as_of),
            "loans": truth.loans_table(people, funnel, book, as_of),
        },
    )


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
