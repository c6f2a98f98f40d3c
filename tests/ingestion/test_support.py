from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

import ingestion.support
from ingestion.load import load_source
from lendloop.clock import Clock
from lendloop.errors import ConfigurationError
from lendloop.settings import Settings
from tests.ingestion.conftest import NOW, Vendors, Warehouse

MakeSettings = Callable[..., Settings]
YESTERDAY = NOW - timedelta(days=1)


@pytest.fixture
def settings(vendors: Vendors, make_settings: MakeSettings) -> Settings:
    return make_settings(**vendors.settings())


def ticket(identifier: int, moment: datetime = YESTERDAY, **values: Any) -> dict[str, Any]:
    return {
        "id": identifier,
        "requester_id": 900,
        "status": "open",
        "via": {"channel": "whatsapp"},
        "tags": [],
        "custom_fields": [{"id": 1, "value": "x"}],
        "created_at": moment,
        "updated_at": moment,
        "generated_timestamp": int(moment.timestamp()),
        **values,
    }


def user(identifier: int, moment: datetime = YESTERDAY, **values: Any) -> dict[str, Any]:
    return {"id": identifier, "name": "Ama", "active": True, "created_at": moment, "updated_at": moment, **values}


def event(identifier: int, moment: datetime = YESTERDAY, **values: Any) -> dict[str, Any]:
    return {"id": identifier, "ticket_id": 1, "event_type": "Audit", "created_at": moment, "child_events": [], **values}


def test_tickets_users_and_events_arrive_with_what_their_tags_mean(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    vendors.lender.rows |= {
        "support_tickets": [ticket(1, tags=["vip", "dispute"]), ticket(2, tags=["complaint", "hardship"]), ticket(3)],
        "support_users": [user(900, external_id="17"), user(901)],
        "support_ticket_events": [event(40, child_events=[{"id": 1, "status": "solved"}]), event(41)],
    }
    report = load_source("support", settings, clock)
    assert (report.new, report.quarantined) == (7, 0)
    assert warehouse.rows(
        "SELECT is_dispute, is_complaint, is_hardship, via_channel FROM raw_support.tickets ORDER BY id"
    ) == [
        (True, False, False, "whatsapp"),
        (False, True, True, "whatsapp"),
        (False, False, False, "whatsapp"),
    ]
    assert warehouse.one("SELECT tags FROM raw_support.tickets WHERE id = 1") == '["vip","dispute"]'
    assert warehouse.rows("SELECT external_id FROM raw_support.users ORDER BY id") == [("17",), (None,)]
    assert warehouse.one("SELECT count(*) FROM raw_support.ticket_events") == 2
    again = load_source("support", settings, clock)
    assert (again.changed, again.unchanged) == (False, 7)


def test_other_tags_are_a_setting(
    vendors: Vendors, make_settings: MakeSettings, clock: Clock, warehouse: Warehouse
) -> None:
    vendors.lender.rows["support_tickets"] = [ticket(1, tags=["streit"]), ticket(2, tags=["dispute"])]
    settings = make_settings(**vendors.settings(), support_dispute_tags=("streit",))
    load_source("support", settings, clock)
    assert warehouse.rows("SELECT is_dispute FROM raw_support.tickets ORDER BY id") == [(True,), (False,)]


def test_an_export_is_followed_to_the_end_of_its_stream(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion.support, "PAGE_ROWS", 10)
    moments = [YESTERDAY + timedelta(minutes=n // 3) for n in range(45)]
    vendors.lender.rows["support_tickets"] = [ticket(n + 1, moments[n]) for n in range(45)]
    vendors.lender.rows["support_ticket_events"] = [event(n + 1, moments[n]) for n in range(45)]
    report = load_source("support", settings, clock)
    assert (report.rows["tickets"], report.rows["ticket_events"]) == (45, 45)
    assert warehouse.one("SELECT count(DISTINCT id) FROM raw_support.ticket_events") == 45


def test_increments_bring_changes_and_deletions(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    tickets = vendors.lender.rows["support_tickets"] = [ticket(n) for n in range(1, 4)]
    users = vendors.lender.rows["support_users"] = [user(900), user(901)]
    load_source("support", settings, clock)
    later = NOW - timedelta(hours=1)
    tickets[0].update(status="solved", updated_at=later, generated_timestamp=int(later.timestamp()))
    tickets[1].update(status="deleted", updated_at=later, generated_timestamp=int(later.timestamp()))
    tickets.append(ticket(9, later))
    users[1].update(active=False, updated_at=later)
    vendors.lender.changed()
    report = load_source("support", settings, clock)
    assert (report.new, report.rows_changed, report.deleted) == (1, 1, 2)
    assert warehouse.rows("SELECT id FROM raw_support.tickets WHERE _deleted_at IS NOT NULL") == [(2,)]
    assert not load_source("support", settings, clock).changed


def test_the_last_minute_comes_with_the_next_read(
    vendors: Vendors, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    vendors.lender.rows["support_tickets"] = [ticket(1), ticket(2, NOW - timedelta(seconds=10))]
    assert load_source("support", settings, clock).rows["tickets"] == 1
    vendors.lender.as_of = NOW + timedelta(minutes=5)
    later = Clock(vendors.lender.as_of)
    assert load_source("support", settings, later).rows["tickets"] == 2


def test_refused_credentials_name_the_variables(vendors: Vendors, make_settings: MakeSettings, clock: Clock) -> None:
    settings = make_settings(**{**vendors.settings(), "support_token": "wrong"})
    with pytest.raises(ConfigurationError, match="LENDLOOP_SUPPORT_TOKEN"):
        load_source("support", settings, clock)


def test_missing_credentials_are_named_at_once(make_settings: MakeSettings, clock: Clock) -> None:
    with pytest.raises(ConfigurationError, match=r"LENDLOOP_SUPPORT_USER, LENDLOOP_SUPPORT_TOKEN"):
        load_source("support", make_settings(support_url="http://127.0.0.1:1"), clock)
