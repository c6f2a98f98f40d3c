"""The CRM as HubSpot keeps it: contacts and deals with properties that are all text."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sandbox.world import markets, spelling
from sandbox.world.clients import Clients
from sandbox.world.contacts import NO, PREFERRED_CHANNEL_APPEARS, YES, Consent, Contacts
from sandbox.world.draws import Bools, Draws, Ints
from sandbox.world.lives import Funnel
from sandbox.world.loan_book import application_ids
from sandbox.world.people import People
from sandbox.world.units import DAY, NEVER, UNIT, dates, iso, join, keep, pick, text, times

WRONG_BIRTH_DATE = "31/02/1990"
WRONG_AMOUNT = "abc"
_CHANNELS = ("sms", "email", "whatsapp", "call")


def _flag(values: Bools) -> pa.Array:
    return pc.if_else(pa.array(values), "true", "false")


def _consent_text(consent: Consent) -> pa.Array:
    return pick(np.select([consent.state == YES, consent.state == NO], [0, 1], 2), "true", "false", "")


def _birth_dates(draws: Draws, people: People, funnel: Funnel, contacts: Contacts, keys: tuple[Ints, Ints]) -> pa.Array:
    """ISO dates; missing for some, with day and month changed for a few, and of no sense for leads nobody followed."""
    person = contacts.person
    right = pc.cast(dates(people.birth_day[person]), pa.string())
    day, month = pc.utf8_slice_codeunits(right, 8, 10), pc.utf8_slice_codeunits(right, 5, 7)
    swapped = join(pc.utf8_slice_codeunits(right, 0, 5), day, "-", month)
    can_swap = np.asarray(pc.cast(day, pa.int64())) <= 12
    kind = draws.choice("contact birth", (95.8, 3.5, 0.7), *keys)
    kind = np.where((kind == 2) & ~can_swap, 0, kind)
    senseless = (funnel.offered[person] >= NEVER) & draws.chance("birth senseless", 0.06, *keys)
    return pick(np.where(senseless, 3, kind), right, None, swapped, WRONG_BIRTH_DATE)


def _ledger_client_ids(draws: Draws, clients: Clients, contacts: Contacts, keys: tuple[Ints, Ints]) -> pa.Array:
    """The client's id as text; a mistyped one may well be somebody else's."""
    right = clients.id[np.maximum(contacts.client, 0)]
    wrong = np.where(right > 12, right - 11, right + 11)
    wrong = np.where(draws.chance("ledger link too long", 0.3, *keys), right * 10 + 3, wrong)
    return keep(text(np.where(contacts.client_link_wrong, wrong, right)), contacts.client >= 0)


def contact_table(
    draws: Draws, people: People, funnel: Funnel, clients: Clients, contacts: Contacts, as_of: int
) -> pa.Table:
    """`crm_contacts`: id, created_at, updated_at, archived, archived_at and one text column a property."""
    person = contacts.person
    keys = (person, contacts.is_duplicate.astype(np.int64))
    market = people.market[person]
    main = ~contacts.is_duplicate
    odd = np.where(contacts.is_duplicate, 0.5, 0.08)
    style = np.where(
        draws.uniform("contact name odd", *keys) < odd, spelling.name_styles(draws, "contact name", 1.0, *keys), 0
    )
    surname_style = spelling.name_styles(draws, "contact surname", 0.06, *keys)
    national_kind = draws.choice("national id", (64, 35, 1), *keys)
    number = text((person * 7_919_317 + 104_729) % 10**9, 9)
    national = join(pa.array(markets.MARKETS).take(pa.array(market)), number)

    offered = np.where(main & (funnel.offered[person] <= as_of), funnel.offered[person], NEVER)
    stage = np.zeros(len(people), dtype=np.int64)
    stage[funnel.applications.person[funnel.applications.applied <= as_of]] = 1
    stage[funnel.loans.person[funnel.loans.disbursed <= as_of]] = 2
    archived = contacts.archived < NEVER
    missing_market = draws.chance("market missing", 0.03, *keys) & contacts.is_duplicate
    columns = {
        "id": text(contacts.id),
        "created_at": _ms(contacts.created),
        "updated_at": _ms(contacts.modified),
        "archived": pa.array(archived),
        "archived_at": _ms(contacts.archived),
        "hs_object_id": text(contacts.id),
        "firstname": spelling.first_names(people, person, style),
        "lastname": spelling.last_names(people, person, surname_style),
        "phone": spelling.phones(people, person, contacts.phone, contacts.phone_style),
        "email": spelling.emails(people, person, contacts.email_style),
        "country": pick(np.where(missing_market, 4, market), *markets.MARKETS, None),
        "date_of_birth": _birth_dates(draws, people, funnel, contacts, keys),
        "national_id": pick(national_kind, national, None, join(national, "0")),
        "ledger_client_id": _ledger_client_ids(draws, clients, contacts, keys),
        "sms_consent": _consent_text(contacts.sms),
        "sms_consent_at": iso(contacts.sms.since),
        "email_consent": _consent_text(contacts.email_consent),
        "email_consent_at": iso(contacts.email_consent.since),
        "do_not_contact": _flag(contacts.do_not_contact),
        "fraud_flag": _flag(contacts.is_fraud),
        "deceased": _flag(contacts.is_deceased),
        "in_dispute": _flag(contacts.in_dispute),
        "hs_language": pick(np.where(draws.chance("language known", 0.95, *keys), market, 4), *markets.LANGUAGES, None),
        "lifecyclestage": pick(np.where(main, stage[person], 0), "lead", "opportunity", "customer"),
        "eligible_at": iso(np.where(main, contacts.created, NEVER)),
        "offered_at": iso(offered),
        "createdate": iso(contacts.created),
        "lastmodifieddate": iso(contacts.modified),
    }
    if as_of >= PREFERRED_CHANNEL_APPEARS:
        kind = draws.integers("preferred channel", 0, len(_CHANNELS), *keys)
        columns["preferred_channel"] = keep(
            pa.array(_CHANNELS).take(pa.array(kind)), contacts.modified >= PREFERRED_CHANNEL_APPEARS
        )
    return pa.table(columns)


def deal_table(draws: Draws, people: People, funnel: Funnel, contacts: Contacts, loan_id: Ints, as_of: int) -> pa.Table:
    """`crm_deals`: one deal an application; some that came to nothing are archived. `loan_id` is the ledger's loan by application, -1 without."""
    made = funnel.applications
    rows = np.argsort(application_ids(made))
    person = made.person[rows]
    market = people.market[person]
    keys = (person, made.cycle[rows])
    modified = made.applied[rows].copy()

    def seen(moments: Ints) -> Ints:
        past = np.where(moments[rows] <= as_of, moments[rows], NEVER)
        np.copyto(modified, np.maximum(modified, past), where=past < NEVER)
        return past

    incomplete_at = np.where(made.kyc > made.applied + DAY, made.applied + DAY, NEVER)
    incomplete, kyc, approved = seen(incomplete_at), seen(made.kyc), seen(made.approved)
    declined, accepted, disbursed = seen(made.declined), seen(made.accepted), seen(made.disbursed)
    withdrawn, expired = seen(made.withdrawn), seen(made.expired)
    given_up = np.minimum(made.withdrawn, made.expired)
    tidied = np.where(draws.chance("deal tidied up", 0.03, made.person, made.cycle), given_up + 20 * DAY, NEVER)
    archived = seen(np.minimum(tidied, NEVER))
    reached = [
        withdrawn < NEVER, expired < NEVER, disbursed < NEVER, accepted < NEVER, declined < NEVER,
        approved < NEVER, (incomplete < NEVER) & (kyc >= NEVER),
    ]  # fmt: skip
    stage = np.select(reached, list(range(len(reached))), len(reached))
    nonsense = (stage <= 1) & (approved < NEVER) & draws.chance("amount nonsense", 0.03, *keys)
    amount = np.where(nonsense, 2, np.where(approved < NEVER, 0, 1))
    product = pa.array([p.short_name for p in markets.PRODUCTS]).take(pa.array(made.product[rows]))
    link = (loan_id[rows] >= 0) & (draws.chance("loan link", 0.98, *keys) | (disbursed < NEVER))
    title = join(product, " ", pa.array(markets.MARKETS).take(pa.array(market)), " ", text(made.cycle[rows] + 1))
    identity = text(application_ids(made)[rows])
    return pa.table(
        {
            "id": identity,
            "created_at": _ms(made.applied[rows]),
            "updated_at": _ms(modified),
            "archived": pa.array(archived < NEVER),
            "archived_at": _ms(archived),
            "hs_object_id": identity,
            "dealname": title,
            "contact_id": text(contacts.id[contacts.of_person[person]]),
            "ledger_loan_id": keep(text(loan_id[rows]), link),
            "loan_product": product,
            "country": pa.array(markets.MARKETS).take(pa.array(market)),
            "deal_currency_code": pa.array(markets.CURRENCIES).take(pa.array(market)),
            "dealstage": pick(
                stage,
                "withdrawn",
                "expired",
                "disbursed",
                "accepted",
                "declined",
                "approved",
                "kyc_incomplete",
                "applied",
            ),
            "amount": text(made.requested[rows] // UNIT),
            "approved_amount": pick(amount, join(text(made.approved_amount[rows] // UNIT), ".00"), None, WRONG_AMOUNT),
            "applied_at": iso(made.applied[rows]),
            "kyc_completed_at": iso(kyc),
            "approved_at": iso(approved),
            "declined_at": iso(declined),
            "accepted_at": iso(accepted),
            "disbursed_at": iso(disbursed),
            "createdate": iso(made.applied[rows]),
            "hs_lastmodifieddate": iso(modified),
        }
    )


def _ms(moments: Ints) -> pa.Array:
    """HubSpot keeps milliseconds."""
    return times(np.where(moments >= NEVER, NEVER, moments // 1000 * 1000))
