"""A record of a person with a value that cannot be read: it is loaded without the value, and closed where that matters."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest

import ingestion.crm
import ingestion.support
from ingestion import contract, quarantine
from ingestion.load import load_source, replay_quarantine
from lendloop.clock import Clock
from lendloop.home import Home
from lendloop.settings import Settings
from tests.dbt_project.dbt_lab import Lab
from tests.ingestion.conftest import NOW, Vendors, Warehouse

YESTERDAY = NOW - timedelta(days=1)
WRONG_DATE = "31/02/1990"


@pytest.fixture
def settings(vendors: Vendors, make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(**vendors.settings())


def contact(identifier: int, **values: Any) -> dict[str, Any]:
    stamps = {"created_at": YESTERDAY, "updated_at": YESTERDAY, "archived": False}
    return {"id": str(identifier), "firstname": "Ama", "country": "GH", **stamps, **values}


def ticket(identifier: int, moment: datetime = YESTERDAY, **values: Any) -> dict[str, Any]:
    stamps = {"created_at": moment, "updated_at": moment, "generated_timestamp": int(moment.timestamp())}
    return {"id": identifier, "requester_id": 900, "status": "open", "tags": [], **stamps, **values}


def waiting(settings: Settings, source: str, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = quarantine.waiting(settings.home, source, table).to_pylist()
    return rows


def edit(settings: Settings, source: str, table: str, old: str, new: str) -> None:
    """What a person does who mends a refused value."""
    for path in quarantine.folder(settings.home, source, table).glob("*.parquet"):
        rows = pq.read_table(path)
        texts = [text.replace(old, new) for text in rows.column("raw_text").to_pylist()]
        pq.write_table(rows.set_column(rows.column_names.index("raw_text"), "raw_text", [texts]), path)


def test_what_excludes_a_person_arrives_beside_a_value_that_does_not(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    rows = vendors.lender.rows["crm_contacts"] = [contact(1, sms_consent="true", email_consent="true")]
    vendors.lender.rows["crm_deals"] = [contact(5, dealstage="withdrawn", amount="a lot", approved_amount="7")]
    first = load_source("crm", settings, clock)
    assert (first.new, first.quarantined) == (2, 1)
    assert warehouse.rows("SELECT stage, requested_amount, approved_amount::INT FROM raw_crm.deals") == [
        ("withdrawn", None, 7)
    ]
    rows[0].update(
        date_of_birth=WRONG_DATE, sms_consent="false", email_consent="perhaps", do_not_contact="true", updated_at=NOW
    )
    vendors.lender.changed()
    counts = load_source("crm", settings, clock).tables["contacts"]
    assert (counts.new, counts.changed, counts.quarantined, counts.unchanged, counts.rows) == (0, 1, 1, 0, 1)
    assert warehouse.rows(
        "SELECT date_of_birth, sms_consent, email_consent, do_not_contact, first_name FROM raw_crm.contacts"
    ) == [(None, False, False, True, "Ama")]
    [entry] = waiting(settings, "crm", "contacts")
    assert (entry["key"], entry["column"]) == ("1", "date_of_birth, email_consent")
    assert entry["reason"] == (
        "wrong type: date_of_birth does not hold a valid date; wrong type: email_consent does not hold a valid bool"
    )
    text = json.loads(entry["raw_text"])
    assert (text["date_of_birth"], text["email_consent"], text["first_name"]) == (WRONG_DATE, "perhaps", "Ama")


def test_an_exclusion_that_cannot_be_read_counts_as_said_and_a_consent_as_taken_back(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    unclear = dict.fromkeys(("do_not_contact", "fraud_flag", "deceased", "in_dispute", "sms_consent"), "unclear")
    vendors.lender.rows["crm_contacts"] = [contact(1, **unclear), contact(2), contact(3, fraud_flag="no")]
    report = load_source("crm", settings, clock)
    assert (report.new, report.quarantined) == (3, 1)
    assert warehouse.rows(
        "SELECT do_not_contact, is_fraud, is_deceased, has_dispute, sms_consent FROM raw_crm.contacts ORDER BY id"
    ) == [(True, True, True, True, False), (None,) * 5, (None, False, None, None, None)]


def test_a_ticket_whose_tags_cannot_be_read_is_a_dispute_a_complaint_and_a_hardship(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable: list[Any] = ["dispute", {"dispute": True}, ["vip", 5], '["vip"]', 7]
    page = [ticket(number, tags=tags) for number, tags in enumerate([[], None, *unreadable], start=1)]
    page[6] |= {"created_at": "yesterday", "satisfaction_rating": "good"}
    pages = {"tickets": [json.loads(json.dumps(page, default=str))]}
    monkeypatch.setattr(ingestion.support.SupportReader, "_by_cursor", lambda _, name, since: pages.get(name, []))
    report = load_source("support", settings, clock)
    assert (report.new, report.quarantined) == (7, 5)
    flags = "SELECT tags, is_dispute, is_complaint, is_hardship FROM raw_support.tickets"
    assert warehouse.rows(f"{flags} ORDER BY id") == [("[]", False, False, False)] * 2 + [(None, True, True, True)] * 5
    assert warehouse.rows("SELECT created_at, satisfaction_score FROM raw_support.tickets WHERE id = 7") == [
        (None, "good")
    ]
    entries = {entry["key"]: entry for entry in waiting(settings, "support", "tickets")}
    assert set(entries) == {"3", "4", "5", "6", "7"}
    assert set(entries["7"]["column"].split(", ")) == {"tags", "created_at"}
    assert json.loads(entries["3"]["raw_text"])["tags"] == '"dispute"'
    assert not load_source("support", settings, clock).changed
    edit(settings, "support", "tickets", '"tags":"7"', '"tags":["vip"]')
    assert not replay_quarantine("support", settings, clock).changed
    edit(settings, "support", "tickets", "yesterday", "2024-02-01T10:00:00Z")
    edit(settings, "support", "tickets", '"{\\"dispute\\":true}"', '["hardship"]')
    replayed = replay_quarantine("support", settings, clock)
    assert (replayed.rows_changed, replayed.quarantined) == (2, 3)
    assert warehouse.rows(f"{flags} WHERE id IN (4, 7) ORDER BY id") == [
        ('["hardship"]', False, False, True),
        ('["vip"]', False, False, False),
    ]


def test_users_and_events_are_loaded_without_a_bad_value_and_never_without_a_key(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [{"id": 900, "external_id": "17", "suspended": "who knows"}, {"id": "nine", "name": "Nobody"}]
    monkeypatch.setattr(
        ingestion.support.SupportReader, "_by_cursor", lambda _, name, since: [users] if name == "users" else []
    )
    events = [{"id": 1, "ticket_id": "x", "event_type": "Audit", "child_events": 3}, "no object"]
    monkeypatch.setattr(ingestion.support.SupportReader, "_by_time", lambda *_: [events])
    report = load_source("support", settings, clock)
    assert (report.new, report.quarantined) == (2, 4)
    assert warehouse.rows("SELECT id, external_id, suspended FROM raw_support.users") == [(900, "17", None)]
    assert warehouse.rows("SELECT id, ticket_id, event_type FROM raw_support.ticket_events") == [(1, None, "Audit")]
    assert {entry["raw_text"] for entry in waiting(settings, "support", "ticket_events")} >= {"no object"}
    again = load_source("support", settings, clock)
    assert (again.changed, again.quarantined) == (False, 0)


def test_a_row_without_key_or_body_stays_out_and_is_not_taken_for_deleted(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendors.lender.rows["crm_contacts"] = [contact(1, do_not_contact="true"), contact(2)]
    load_source("crm", settings, clock)
    listed: list[Any] = [{"id": "1", "properties": "garbled"}, {"id": "2", "properties": {"firstname": "Ama"}}]
    listed += [None, {"properties": {"firstname": "Kofi"}}]

    def pages(reader: object, name: str, *_: object, archived: bool = False) -> Any:
        return iter([listed] if name == "contacts" and not archived else [])

    monkeypatch.setattr(ingestion.crm.CrmReader, "_listed", pages)
    monkeypatch.setattr(ingestion.crm.CrmReader, "_searched", pages)
    counts = load_source("crm", settings, clock).tables["contacts"]
    assert (counts.new, counts.deleted, counts.quarantined, counts.rows) == (0, 0, 3, 2)
    assert warehouse.one("SELECT do_not_contact FROM raw_crm.contacts WHERE id = '1' AND _deleted_at IS NULL")
    assert {entry["reason"].split(":")[0] for entry in waiting(settings, "crm", "contacts")} == {"no body", "no key"}


def test_reading_the_row_again_writes_nothing_and_does_not_double_the_entry(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    vendors.lender.rows["crm_contacts"] = [
        contact(1, date_of_birth=WRONG_DATE),
        contact(2),
        contact(3, deceased="?", archived=True, archived_at=YESTERDAY),
    ]
    assert load_source("crm", settings, clock).quarantined == 2
    written = warehouse.path.read_bytes()
    for moment in (clock, Clock(NOW + timedelta(days=8))):
        again = load_source("crm", settings, moment)
        assert (again.changed, again.quarantined, again.unchanged) == (False, 0, 3)
    assert warehouse.path.read_bytes() == written
    assert len(waiting(settings, "crm", "contacts")) == 2


def test_a_mended_text_is_replayed_over_the_row_and_stays_until_the_source_changes_it(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    rows = vendors.lender.rows["crm_contacts"] = [contact(1, date_of_birth=WRONG_DATE, deceased="no?"), contact(2)]
    load_source("crm", settings, clock)
    edit(settings, "crm", "contacts", WRONG_DATE, "1990-02-28")
    half = replay_quarantine("crm", settings, clock)
    assert (half.changed, half.quarantined) == (False, 1)
    edit(settings, "crm", "contacts", "no?", "no")
    report = replay_quarantine("crm", settings, clock)
    assert (report.rows_changed, report.new, report.quarantined) == (1, 0, 0)
    held = "SELECT date_of_birth, is_deceased FROM raw_crm.contacts WHERE id = '1'"
    assert warehouse.rows(held) == [(date(1990, 2, 28), False)]
    assert not replay_quarantine("crm", settings, clock).changed
    for moment in (clock, Clock(NOW + timedelta(days=8))):
        again = load_source("crm", settings, moment)
        assert (again.unchanged, again.rows_changed, again.quarantined) == (2, 0, 0)
    rows[0].update(firstname="Kofi", updated_at=NOW)
    vendors.lender.changed()
    report = load_source("crm", settings, clock)
    assert (report.rows_changed, report.quarantined) == (1, 1)
    assert warehouse.rows(held) == [(None, True)]


def test_a_mended_contract_gives_the_whole_row_by_replay(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendors.lender.rows["crm_contacts"] = [contact(1, date_of_birth="1850-01-01", do_not_contact="true")]
    load_source("crm", settings, clock)
    monkeypatch.setattr(contract, "_DATE_RANGE", "BETWEEN DATE '1800-01-01' AND DATE '2199-12-31'")
    assert replay_quarantine("crm", settings, clock).rows_changed == 1
    assert warehouse.rows("SELECT date_of_birth, do_not_contact FROM raw_crm.contacts") == [(date(1850, 1, 1), True)]
    assert load_source("crm", settings, clock).rows_changed == 0


def test_a_corrected_version_or_an_erasure_is_not_undone_by_a_replay(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    rows = vendors.lender.rows["crm_contacts"] = [
        contact(1, date_of_birth=WRONG_DATE, sms_consent="true"),
        contact(2, date_of_birth=WRONG_DATE, sms_consent="true"),
        contact(3),
    ]
    load_source("crm", settings, clock)
    rows[0].update(date_of_birth="1990-02-28", sms_consent="false", updated_at=NOW)
    del rows[1]
    vendors.lender.changed()
    report = load_source("crm", settings, clock)
    assert (report.rows_changed, report.deleted) == (1, 1)
    assert [entry["key"] for entry in waiting(settings, "crm", "contacts")] == ["2"]
    edit(settings, "crm", "contacts", WRONG_DATE, "1980-01-01")
    assert not replay_quarantine("crm", settings, clock).changed
    assert waiting(settings, "crm", "contacts") == []
    assert warehouse.rows("SELECT id, sms_consent FROM raw_crm.contacts WHERE _deleted_at IS NULL ORDER BY id") == [
        ("1", False),
        ("3", None),
    ]
    rows[0].update(date_of_birth=WRONG_DATE, sms_consent="true", updated_at=YESTERDAY)
    vendors.lender.changed()
    for quarantined in (1, 0):
        assert load_source("crm", settings, Clock(NOW + timedelta(days=8))).quarantined == quarantined
        assert [entry["key"] for entry in waiting(settings, "crm", "contacts")] == ["1"]


@pytest.mark.slow
def test_nobody_with_a_bad_value_is_permitted_who_must_not_be(
    vendors: Vendors, settings: Settings, clock: Clock, parsed: Home
) -> None:
    lab = Lab.new(settings.home.prepare().root, parsed)
    permitted = {"sms_consent": "true", "phone": "+233201234500"}
    wrong = {"date_of_birth": WRONG_DATE}
    rows = vendors.lender.rows["crm_contacts"] = [
        contact(n, **{**permitted, "phone": f"+23320123450{n}"}) for n in range(1, 8)
    ]
    load_source("crm", settings, clock)
    changes: list[dict[str, Any]] = [{}, {"do_not_contact": "true", **wrong}, {"sms_consent": "false", **wrong}]
    changes += [{"sms_consent": "maybe"}, {"deceased": "maybe"}, {"fraud_flag": "true", **wrong}, {**wrong}]
    for row, change in zip(rows, changes, strict=True):
        row.update(**change, updated_at=NOW)
    vendors.lender.changed()
    assert load_source("crm", settings, clock).quarantined == 6
    lab.set_clock(NOW)
    selected = ("+dim_contact_permission", "+fct_suppression", "+map_customer_source")
    lab.build("--indirect-selection", "empty", "--select", *selected)
    reachable = lab.rows(
        "select m.source_id from trusted.dim_contact_permission p join trusted.map_customer_source m using (person_key) "
        "where p.channel = 'sms' and p.is_permitted and m.source = 'crm' and m.valid_to is null "
        "and p.person_key not in (select person_key from trusted.fct_suppression) order by 1"
    )
    assert reachable == [("1",), ("7",)]
