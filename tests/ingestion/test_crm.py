from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

import ingestion.crm
import ingestion.http
import sandbox.hubspot
from ingestion import quarantine
from ingestion.load import load_source
from lendloop.clock import Clock
from lendloop.errors import ConfigurationError, PermanentError, TransientError
from lendloop.settings import Settings
from tests.ingestion.conftest import NOW, Vendors, Warehouse

MakeSettings = Callable[..., Settings]
YESTERDAY = NOW - timedelta(days=1)


@pytest.fixture
def settings(vendors: Vendors, make_settings: MakeSettings) -> Settings:
    return make_settings(**vendors.settings())


def contact(identifier: int, **values: Any) -> dict[str, Any]:
    return {
        "id": str(identifier),
        "created_at": YESTERDAY,
        "updated_at": YESTERDAY,
        "archived": False,
        "firstname": "Ama",
        "country": "GH",
        **values,
    }


def test_contacts_and_deals_arrive_under_their_meaning(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    vendors.lender.rows["crm_contacts"] = [
        contact(1, sms_consent="true", email_consent="false", fraud_flag="", date_of_birth="1990-02-01", phone=""),
        contact(2, firstname="Zoë 🎉", sms_consent_at="2024-01-05T10:00:00Z", do_not_contact="true"),
    ]
    vendors.lender.rows["crm_deals"] = [contact(5, dealstage="approved", amount="100.50", dealname="Loan")]
    report = load_source("crm", settings, clock)
    assert (report.new, report.quarantined) == (3, 0)
    assert warehouse.rows(
        "SELECT sms_consent, email_consent, is_fraud, date_of_birth, phone, market, is_archived, updated_at "
        "FROM raw_crm.contacts WHERE id = '1'"
    ) == [(True, False, None, date(1990, 2, 1), None, "GH", False, YESTERDAY)]
    assert warehouse.one("SELECT first_name FROM raw_crm.contacts WHERE id = '2'") == "Zoë 🎉"
    assert str(warehouse.one("SELECT requested_amount FROM raw_crm.deals")) == "100.500000"
    again = load_source("crm", settings, clock)
    assert (again.changed, again.new, again.unchanged) == (False, 0, 3)


def test_an_increment_brings_what_changed_and_archived_rows_as_such(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    rows = vendors.lender.rows["crm_contacts"] = [contact(n) for n in range(1, 8)]
    rows[6].update(archived=True, archived_at=YESTERDAY)
    first = load_source("crm", settings, clock)
    assert (first.new, first.rows["contacts"]) == (7, 6)
    rows[0].update(firstname="Kofi", updated_at=NOW - timedelta(hours=1))
    rows[1].update(archived=True, archived_at=NOW)
    rows.append(contact(9, updated_at=NOW))
    vendors.lender.changed()
    report = load_source("crm", settings, clock)
    counts = report.tables["contacts"]
    assert (counts.new, counts.changed, counts.deleted, counts.rows) == (1, 1, 1, 6)
    assert warehouse.rows("SELECT id, is_archived FROM raw_crm.contacts WHERE _deleted_at IS NOT NULL ORDER BY id") == [
        ("2", True),
        ("7", True),
    ]
    assert not load_source("crm", settings, clock).changed


def test_a_contact_that_is_erased_or_restored_is_noticed(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    rows = vendors.lender.rows["crm_contacts"] = [
        contact(n, updated_at=YESTERDAY - timedelta(days=n)) for n in range(1, 6)
    ]
    rows[4].update(archived=True, archived_at=YESTERDAY)
    load_source("crm", settings, clock)
    del rows[3]
    vendors.lender.changed()
    assert load_source("crm", settings, clock).deleted == 1
    assert warehouse.rows("SELECT is_archived FROM raw_crm.contacts WHERE id = '4'") == [(False,)]
    rows[3].update(archived=False, archived_at=None)
    vendors.lender.changed()
    assert load_source("crm", settings, clock).rows["contacts"] == 4
    assert warehouse.one("SELECT _deleted_at FROM raw_crm.contacts WHERE id = '5'") is None
    assert not load_source("crm", settings, clock).changed


def test_a_property_that_appears_is_taken_and_reported_and_one_that_is_absent_is_null(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    vendors.lender.columns["crm_contacts"].remove("national_id")
    vendors.lender.rows["crm_contacts"] = [contact(1)]
    first = load_source("crm", settings, clock)
    assert any("national_id" in note for note in first.notes)
    vendors.lender.columns["crm_contacts"].append("risk_band")
    vendors.lender.rows["crm_contacts"][0].update(risk_band="B", updated_at=NOW)
    vendors.lender.changed()
    assert any("risk_band" in note for note in load_source("crm", settings, clock).notes)
    assert warehouse.rows("SELECT risk_band, national_id FROM raw_crm.contacts") == [("B", None)]


def test_another_property_name_is_a_setting(
    vendors: Vendors, make_settings: MakeSettings, clock: Clock, warehouse: Warehouse
) -> None:
    vendors.lender.columns["crm_contacts"].append("sms_ok")
    vendors.lender.rows["crm_contacts"] = [contact(1, sms_ok="true", sms_consent="false")]
    settings = make_settings(**vendors.settings(), crm_properties={"contacts.sms_consent": "sms_ok"})
    load_source("crm", settings, clock)
    assert warehouse.rows("SELECT sms_consent FROM raw_crm.contacts") == [(True,)]


def test_a_property_that_is_gone_with_its_values_is_refused_until_somebody_allows_it(
    vendors: Vendors, make_settings: Callable[..., Settings], clock: Clock, warehouse: Warehouse
) -> None:
    vendors.lender.rows["crm_contacts"] = [contact(1, do_not_contact="true"), contact(2)]
    settings = make_settings(**vendors.settings())
    load_source("crm", settings, clock)
    vendors.lender.columns["crm_contacts"].remove("do_not_contact")
    vendors.lender.changed()
    with pytest.raises(PermanentError, match=r"crm has no contacts\.do_not_contact any more"):
        load_source("crm", settings, clock)
    said = "SELECT do_not_contact FROM raw_crm.contacts ORDER BY id"
    assert warehouse.rows(said) == [(True,), (None,)]
    load_source("crm", make_settings(**vendors.settings(), shrink_limit=0), clock)
    assert warehouse.rows(said) == [(None,), (None,)]
    assert not load_source("crm", settings, clock).changed


def test_a_value_of_the_wrong_type_goes_to_quarantine(vendors: Vendors, settings: Settings, clock: Clock) -> None:
    vendors.lender.rows["crm_contacts"] = [contact(1), contact(2, sms_consent="perhaps")]
    assert load_source("crm", settings, clock).quarantined == 1
    [row] = quarantine.waiting(settings.home, "crm", "contacts").to_pylist()
    assert (row["key"], row["column"]) == ("2", "sms_consent")
    again = load_source("crm", settings, clock)
    assert (again.quarantined, again.changed) == (0, False)


@pytest.mark.parametrize("ties", [5, 30])
def test_increments_go_around_the_ceiling_of_a_search(
    ties: int,
    vendors: Vendors,
    settings: Settings,
    clock: Clock,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sandbox.hubspot, "SEARCH_CEILING", 20)
    monkeypatch.setattr(ingestion.crm, "SEARCH_CEILING", 20)
    monkeypatch.setattr(ingestion.crm, "SEARCH_LIMIT", 7)
    rows = vendors.lender.rows["crm_contacts"] = [contact(1, updated_at=YESTERDAY)]
    load_source("crm", settings, clock)
    rows += [contact(100 + n, updated_at=NOW - timedelta(minutes=90 - n // ties)) for n in range(75)]
    vendors.lender.changed()
    report = load_source("crm", settings, clock)
    assert report.new == 75
    assert report.tables["contacts"].rows == 76
    assert warehouse.one("SELECT count(DISTINCT id) FROM raw_crm.contacts") == 76


def test_a_refused_token_names_the_variable(vendors: Vendors, make_settings: MakeSettings, clock: Clock) -> None:
    settings = make_settings(**{**vendors.settings(), "crm_token": "wrong"})
    with pytest.raises(ConfigurationError, match="LENDLOOP_CRM_TOKEN"):
        load_source("crm", settings, clock)


def test_a_missing_token_is_named(make_settings: MakeSettings, clock: Clock) -> None:
    with pytest.raises(ConfigurationError, match="LENDLOOP_CRM_TOKEN"):
        load_source("crm", make_settings(crm_url="http://127.0.0.1:1"), clock)


def test_rate_limits_and_hiccups_are_waited_out(vendors: Vendors, settings: Settings, clock: Clock) -> None:
    vendors.lender.rows["crm_contacts"] = [contact(n) for n in range(5)]
    vendors.sandbox.add_fault(system="hubspot", kind="status", status=429, headers={"Retry-After": "1"}, count=1)
    vendors.sandbox.add_fault(system="hubspot", kind="reset", count=1)
    assert load_source("crm", settings, clock).new == 5


def test_a_vendor_that_stays_down_is_a_transient_error_and_raw_stays(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion.http, "ATTEMPTS", 2)
    vendors.lender.rows["crm_contacts"] = [contact(1)]
    load_source("crm", settings, clock)
    vendors.sandbox.add_fault(system="hubspot", kind="status", status=503, headers={"Retry-After": "1"})
    with pytest.raises(TransientError, match="503"):
        load_source("crm", settings, clock)
    assert warehouse.one("SELECT count(*) FROM raw_crm.contacts WHERE _deleted_at IS NULL") == 1
