"""People can be told apart and put together, and the truth says who may be contacted."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

import pytest
from linking import Record, link
from world_lab import MakeWorld, Query

from sandbox.world import World


def _people_and_links(world: World) -> tuple[dict[Record, int], dict[Record, Record]]:
    """The systems' records; what files say of people is no system's."""
    sources = world.truth()["person_sources"].to_pylist()
    people = {
        (row["source"], row["source_id"]): row["person_id"]
        for row in sources
        if row["is_live"] and row["source"] != "survey"
    }
    return people, link(world)


@pytest.mark.slow
def test_careful_matching_finds_the_people_and_merges_nobody(make_world: MakeWorld) -> None:
    world = make_world(customers=4_000)
    person, linked = _people_and_links(world)
    assert set(person) == set(linked), "the truth names exactly the records that the systems show"
    clusters: dict[Record, set[int]] = defaultdict(set)
    for record, representative in linked.items():
        clusters[representative].add(person[record])
    assert [people for people in clusters.values() if len(people) > 1] == []
    records: dict[int, list[Record]] = defaultdict(list)
    for record, who in person.items():
        records[who].append(record)
    pairs = [pair for found in records.values() for pair in combinations(found, 2)]
    recall = sum(linked[a] == linked[b] for a, b in pairs) / len(pairs)
    assert recall >= 0.93


def test_every_person_has_a_contact_and_every_record_a_person(ask: Query) -> None:
    assert ask("""
        SELECT count(*) FROM truth_people p WHERE NOT EXISTS (
            FROM truth_person_sources s WHERE s.person_id = p.person_id AND source = 'crm')
    """) == [(0,)]
    assert ask("""
        SELECT count(*) FROM (SELECT 'crm' AS source, id AS source_id FROM crm_contacts
            UNION ALL SELECT 'ledger', id::VARCHAR FROM m_client
            UNION ALL SELECT 'support', id::VARCHAR FROM support_users WHERE role = 'end-user')
        ANTI JOIN truth_person_sources USING (source, source_id)
    """) == [(0,)]
    assert ask("SELECT count(*) = count(DISTINCT (source, source_id)) FROM truth_person_sources") == [(True,)]


def test_twins_share_a_birthday_and_some_a_phone_but_never_a_first_name(ask_large: Query) -> None:
    twins, same_birth, same_phone = ask_large("""
        SELECT count(*), count(*) FILTER (a.date_of_birth = b.date_of_birth), count(a.shares_phone_with)
        FROM truth_people a JOIN truth_people b ON b.person_id = a.twin_of
    """)[0]
    assert twins == same_birth > 10
    assert 0 < same_phone < twins


def test_a_recycled_number_is_held_by_people_of_different_age(ask_large: Query) -> None:
    recycled, same_birth = ask_large("""
        SELECT count(*), count(*) FILTER (a.date_of_birth = b.date_of_birth)
        FROM truth_people a JOIN truth_people b ON b.person_id = a.phone_recycled_from
    """)[0]
    assert recycled > 10
    assert same_birth == 0


def test_may_contact_needs_a_yes_and_no_no_anywhere(ask_large: Query) -> None:
    flags = """
        SELECT person_id, bool_or(do_not_contact = 'true' OR fraud_flag = 'true' OR deceased = 'true' OR in_dispute = 'true') AS stop,
            bool_or(sms_consent = 'true' AND NOT archived) AS sms_yes, bool_or(sms_consent = 'false') AS sms_no,
            bool_or(email_consent = 'true' AND NOT archived) AS email_yes, bool_or(email_consent = 'false') AS email_no
        FROM crm_contacts c JOIN truth_person_sources s ON source = 'crm' AND source_id = c.id GROUP BY person_id
    """
    wrong = ask_large(f"""
        SELECT count(*) FROM truth_contactability t JOIN ({flags}) f USING (person_id)
        WHERE (may_contact AND (stop OR CASE channel WHEN 'sms' THEN sms_no OR NOT sms_yes ELSE email_no OR NOT email_yes END))
            OR may_contact <> (why_not IS NULL) OR (may_contact AND NOT (consent AND reachable))
    """)
    assert wrong == [(0,)]


def test_an_opt_out_reaches_those_who_share_the_number(ask_large: Query) -> None:
    reached, others = ask_large("""
        SELECT count(*) FILTER (opt_out_reaches AND NOT opted_out), count(*) FILTER (opted_out AND may_contact)
        FROM truth_contactability
    """)[0]
    assert reached > 0
    assert others == 0


def test_every_reason_not_to_contact_occurs(ask_large: Query) -> None:
    reasons = {row[0] for row in ask_large("SELECT DISTINCT why_not FROM truth_contactability")}
    assert reasons == {None, "no_address", "no_consent", "opt_out", "fraud", "deceased", "dispute"}


REACHABLE = "SELECT person_id FROM truth_contactability WHERE channel = 'sms' AND may_contact"


def test_some_are_approved_and_have_not_accepted(ask: Query) -> None:
    found = ask(f"""
        SELECT count(DISTINCT person_id) FROM crm_deals JOIN truth_person_sources ON source = 'crm' AND source_id = contact_id
        WHERE dealstage = 'approved' AND accepted_at IS NULL AND person_id IN ({REACHABLE})
    """)
    assert found[0][0] >= 2


def test_some_closed_well_and_have_been_dormant_for_30_days(ask: Query) -> None:
    found = ask(f"""
        SELECT count(*) FROM (
            SELECT person_id, max(closedon_date) AS closed, bool_or(status_id IN (200, 300, 601)) AS busy
            FROM truth_loans t JOIN m_loan l ON l.id = t.loan_id GROUP BY person_id)
        WHERE closed <= DATE '2026-05-31' AND NOT busy AND person_id IN ({REACHABLE})
    """)
    assert found[0][0] >= 10


def test_some_owe_for_91_days_or_were_written_off(ask: Query) -> None:
    late, lost = ask(f"""
        SELECT count(DISTINCT person_id) FILTER (days_past_due >= 91), count(DISTINCT person_id) FILTER (status = 'written_off')
        FROM truth_loans WHERE person_id IN ({REACHABLE})
    """)[0]
    assert late >= 3
    assert lost >= 10
