"""The systems are as messy as real ones, and each kind of mess is really there."""

from __future__ import annotations

import json

import phonenumbers
import pytest
from world_lab import MakeWorld, Query

from ingestion.tables import SUPPORT
from sandbox.world import World

HUBSPOT_CONTACT = [
    "hs_object_id",
    "firstname",
    "lastname",
    "phone",
    "email",
    "country",
    "date_of_birth",
    "national_id",
    "ledger_client_id",
    "sms_consent",
    "sms_consent_at",
    "email_consent",
    "email_consent_at",
    "do_not_contact",
    "fraud_flag",
    "deceased",
    "in_dispute",
    "hs_language",
    "lifecyclestage",
    "eligible_at",
    "offered_at",
    "createdate",
    "lastmodifieddate",
]
HUBSPOT_DEAL = [
    "dealname",
    "contact_id",
    "ledger_loan_id",
    "loan_product",
    "country",
    "deal_currency_code",
    "dealstage",
    "amount",
    "approved_amount",
    "applied_at",
    "kyc_completed_at",
    "approved_at",
    "declined_at",
    "accepted_at",
    "disbursed_at",
    "createdate",
    "hs_lastmodifieddate",
]


def test_the_crm_has_every_property_as_text(world: World) -> None:
    for table, properties in (("crm_contacts", HUBSPOT_CONTACT), ("crm_deals", HUBSPOT_DEAL)):
        schema = world.table(table).schema
        assert {str(schema.field(name).type) for name in properties} == {"string"}
        assert {"id", "created_at", "updated_at", "archived", "archived_at"} <= set(schema.names)


def test_support_has_the_fields_of_the_contract(world: World) -> None:
    derived = {"is_dispute", "is_complaint", "is_hardship", "via_channel", "satisfaction_score", "status"}
    for declared in SUPPORT:
        assert set(declared.columns) - derived <= set(world.table(f"support_{declared.name}").column_names)


def test_nested_values_of_support_are_json(world: World) -> None:
    tickets = world.table("support_tickets").to_pylist()
    assert {tag for row in tickets for tag in json.loads(row["tags"])} >= {"dispute", "complaint", "hardship"}
    for column in ("via", "custom_fields", "satisfaction_rating"):
        assert all(json.loads(row[column]) is not None for row in tickets)
    events = world.table("support_ticket_events").to_pylist()
    assert {json.loads(row["child_events"])[0]["event_type"] for row in events} == {"Create", "Change"}


def test_the_history_of_a_ticket_ends_where_the_ticket_stands(ask_large: Query) -> None:
    wrong = ask_large("""
        WITH last AS (
            SELECT ticket_id, arg_max(child_events ->> '$[0].status', id) AS status, max(created_at) AS at
            FROM support_ticket_events GROUP BY ticket_id)
        SELECT count(*) FROM support_tickets t LEFT JOIN last ON ticket_id = t.id
        WHERE last.status IS DISTINCT FROM t.status OR last.at IS DISTINCT FROM t.updated_at
    """)
    assert wrong == [(0,)]
    statuses = {row[0] for row in ask_large("SELECT DISTINCT status FROM support_tickets")}
    assert statuses == {"new", "open", "pending", "solved", "closed"}


def test_phones_come_in_local_formats_and_some_are_wrong(world: World) -> None:
    formats = {"e164": 0, "other": 0, "wrong": 0, "none": 0}
    for row in world.table("crm_contacts").to_pylist():
        phone, country = row["phone"], row["country"]
        if phone is None:
            formats["none"] += 1
            continue
        try:
            valid = phonenumbers.is_valid_number(phonenumbers.parse(phone, country))
        except phonenumbers.NumberParseException:
            valid = False
        formats["wrong" if not valid else "e164" if phone[0] == "+" and phone[1:].isdigit() else "other"] += 1
    assert min(formats.values()) > 2
    assert formats["e164"] + formats["other"] > 0.9 * sum(formats.values())


@pytest.mark.parametrize(
    "case",
    [
        "FROM crm_contacts WHERE date_of_birth = '31/02/1990'",
        "FROM crm_contacts WHERE date_of_birth IS NULL",
        "FROM crm_contacts WHERE email NOT LIKE '%@%'",
        "FROM crm_contacts WHERE archived AND archived_at IS NOT NULL",
        "FROM crm_contacts WHERE firstname LIKE '%🌟%'",
        "FROM crm_contacts WHERE sms_consent = '' AND sms_consent_at IS NULL",
        "FROM crm_contacts WHERE sms_consent = 'false' AND sms_consent_at > createdate",
        "FROM crm_contacts WHERE do_not_contact = 'true'",
        "FROM crm_contacts WHERE fraud_flag = 'true'",
        "FROM crm_contacts WHERE deceased = 'true'",
        "FROM crm_contacts WHERE in_dispute = 'true'",
        "FROM crm_contacts WHERE country IS NULL",
        "FROM crm_deals WHERE approved_amount = 'abc'",
        "FROM crm_deals WHERE dealstage = 'kyc_incomplete'",
        "FROM crm_deals WHERE archived AND archived_at = updated_at AND disbursed_at IS NULL",
        "FROM crm_contacts WHERE sms_consent = 'true' AND sms_consent_at > createdate",
        "FROM support_users WHERE updated_at > created_at AND external_id IS NOT NULL",
        "FROM crm_deals WHERE dealstage = 'accepted' AND disbursed_at IS NULL",
        "FROM m_client WHERE office_id = -1",
        "FROM m_client WHERE date_of_birth IS NULL",
        "FROM m_client WHERE lastname LIKE '%''%'",
        "FROM m_client WHERE occupation IS NOT NULL",
        "FROM m_client WHERE occupation IS NULL",
        "FROM crm_contacts WHERE preferred_channel IS NOT NULL",
        "FROM support_tickets WHERE subject LIKE '%🙏%'",
        "FROM support_tickets WHERE subject LIKE '%\"%'",
        "FROM support_users WHERE external_id IS NULL AND role = 'end-user'",
        "FROM truth_person_sources WHERE source = 'ledger' AND is_duplicate AND NOT is_live",
        "FROM truth_person_sources WHERE source = 'crm' AND is_duplicate AND is_live",
        "FROM truth_people WHERE shares_phone_with IS NOT NULL AND twin_of IS NULL",
        "FROM truth_people WHERE deceased AND NOT deceased_known",
    ],
)
def test_a_kind_of_mess_is_there(ask_large: Query, case: str) -> None:
    assert ask_large(f"SELECT count(*) {case}")[0][0] > 0


def test_some_people_are_spelt_differently_in_two_systems(ask_large: Query) -> None:
    linked, different = ask_large("""
        SELECT count(*), count(*) FILTER (c.firstname <> m.firstname)
        FROM truth_person_sources a JOIN truth_person_sources b USING (person_id)
        JOIN crm_contacts c ON c.id = a.source_id JOIN m_client m ON m.id::VARCHAR = b.source_id
        WHERE a.source = 'crm' AND b.source = 'ledger'
    """)[0]
    assert 0.05 < different / linked < 0.4


def test_some_links_to_the_ledger_are_missing_and_some_point_to_somebody_else(ask_large: Query) -> None:
    missing, wrong, right = ask_large("""
        SELECT count(*) FILTER (c.ledger_client_id IS NULL), count(*) FILTER (c.ledger_client_id <> b.source_id),
            count(*) FILTER (c.ledger_client_id = b.source_id)
        FROM truth_person_sources a JOIN truth_person_sources b USING (person_id) JOIN crm_contacts c ON c.id = a.source_id
        WHERE a.source = 'crm' AND b.source = 'ledger' AND NOT a.is_duplicate AND NOT b.is_duplicate
    """)[0]
    assert right > 0.85 * (missing + wrong + right)
    assert missing > 50
    assert wrong > 10


def test_columns_appear_one_day(make_world: MakeWorld) -> None:
    world = make_world()
    assert "occupation" not in world.table("m_client").column_names
    assert "preferred_channel" not in world.table("crm_contacts").column_names
    world.tick(2)
    assert "occupation" in world.table("m_client").column_names
    assert "preferred_channel" not in world.table("crm_contacts").column_names
    world.tick(1)
    assert "preferred_channel" in world.table("crm_contacts").column_names


def test_rows_of_the_ledger_are_deleted_without_a_trace(make_world: MakeWorld) -> None:
    world = make_world(customers=2_000)
    before = {name: set(world.table(name).column("id").to_pylist()) for name in ("m_client", "m_loan_transaction")}
    changes = world.tick(30)["changes"]
    for name, ids in before.items():
        gone = ids - set(world.table(name).column("id").to_pylist())
        assert gone, name
        assert changes[name]["deleted"] == len(gone)


def test_an_outage_piles_up_complaints_in_one_market(ask_large: Query) -> None:
    a_day = ask_large("SELECT created_at::DATE, count(*) FROM support_tickets GROUP BY 1 ORDER BY 2 DESC")
    assert str(a_day[0][0]) == "2026-07-02"
    assert a_day[0][1] > 2 * a_day[2][1]
