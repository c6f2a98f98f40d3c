"""Every declared fault at the CRM and the helpdesk, over real HTTP: the data is complete, or the error is named and
nothing was applied; afterwards raw is what it is where nothing ever failed. Outcomes: docs/faults.yaml."""

from __future__ import annotations

import runpy
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import duckdb
import pytest

import ingestion.crm
import ingestion.http
import ingestion.support
from ingestion.http import Request, VendorApi, retry_after_s
from ingestion.load import load_source
from ingestion.tables import TABLES
from lendloop import errors
from lendloop.clock import Clock
from lendloop.home import CHECKOUT
from lendloop.settings import Settings, SourceName, load_settings
from lendloop.source_status import read_status
from sandbox.serve import Options, running
from tests.faults import Case, declared
from tests.ingestion.conftest import NOW, Lender, Vendors, Warehouse, new_lender
from tests.ingestion.test_crm import contact
from tests.ingestion.test_support import event, ticket, user

YESTERDAY = NOW - timedelta(days=1)
SOURCES: dict[str, SourceName] = {"hubspot": "crm", "zendesk": "support"}
VENDORS = {"hubspot": "HubSpot", "zendesk": "Zendesk"}
ANSWER_S = 1.0


def busy_lender() -> Lender:
    """Some pages of everything."""
    lender = new_lender()
    moments = [YESTERDAY + timedelta(minutes=n // 3) for n in range(60)]
    lender.rows = {
        "crm_contacts": [contact(n, updated_at=moments[n], archived=n >= 30) for n in range(35)],
        "crm_deals": [contact(n, updated_at=moments[n], dealstage="approved", firstname=None) for n in range(12)],
        "support_tickets": [ticket(n + 1, moments[n], tags=["dispute"]) for n in range(25)],
        "support_users": [user(n + 900, moments[n]) for n in range(25)],
        "support_ticket_events": [event(n + 1, moments[n]) for n in range(45)],
    }
    return lender


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendors]:
    """The stand-ins of a lender that no test changes."""
    lender = busy_lender()
    with running(Options(tmp_path_factory.mktemp("sandbox")), lender) as sandbox:
        yield Vendors(lender, sandbox)


@pytest.fixture(scope="module")
def twins(shared: Vendors, tmp_path_factory: pytest.TempPathFactory) -> dict[SourceName, Any]:
    """What raw holds where nothing failed."""
    found = {}
    for source in SOURCES.values():
        home = tmp_path_factory.mktemp("twin")
        settings = load_settings(_env_file=None, LENDLOOP_HOME=home, **shared.settings())
        load_source(source, settings, Clock(NOW))
        found[source] = in_raw(settings, source)
    return found


def in_raw(settings: Settings, source: SourceName) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of a source, but for when and by which load it came."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    if not settings.home.warehouse.exists():
        return found
    with duckdb.connect(str(settings.home.warehouse)) as connection:
        connection.execute("SET timezone = 'UTC'")
        for table in TABLES[source]:
            found[table.name] = connection.execute(
                f"SELECT * EXCLUDE (_loaded_at, _dlt_load_id) FROM raw_{source}.{table.name} ORDER BY id"
            ).fetchall()
    return found


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pages, short waits."""
    monkeypatch.setattr(ingestion.http, "ATTEMPTS", 2)
    monkeypatch.setattr(ingestion.http, "ANSWER_S", ANSWER_S)
    monkeypatch.setattr(ingestion.http, "BACKOFF_S", 0.01)
    monkeypatch.setattr(ingestion.crm, "LIST_LIMIT", 10)
    monkeypatch.setattr(ingestion.crm, "SEARCH_LIMIT", 10)
    monkeypatch.setattr(ingestion.support, "PAGE_ROWS", 10)


def held(outcome: str, source: SourceName, system: str, settings: Settings, clock: Clock) -> bool:
    """Load, and hold the outcome against the declared one. Returns whether it is complete."""
    if outcome == "complete":
        load_source(source, settings, clock)
        return True
    with pytest.raises(errors.LendloopError, match=VENDORS[system]) as failure:
        load_source(source, settings, clock)
    assert type(failure.value).__name__ == outcome
    assert any(word in str(failure.value) for word in ("try again", "reads again", "check LENDLOOP_")), failure.value
    assert read_status(settings.home)[source].error == str(failure.value)
    assert not any(in_raw(settings, source).values()), "nothing was applied"
    return False


@pytest.mark.parametrize("case", declared("hubspot", "zendesk"), ids=str)
def test_a_fault_has_its_declared_outcome_and_leaves_no_trace(
    case: Case, shared: Vendors, twins: dict[SourceName, Any], make_settings: Callable[..., Settings], clock: Clock
) -> None:
    source, settings = SOURCES[case.system], make_settings(**shared.settings())
    try:
        shared.sandbox.add_fault(**case.fault)
        complete = held(case.lasting, source, case.system, settings, clock)
        assert shared.sandbox.faults.listing()[0]["met"], "the fault was never met"
        shared.sandbox.faults.clear()
        if not complete:
            shared.sandbox.add_fault(**case.fault, count=1)
            complete = held(case.passing, source, case.system, settings, clock)
    finally:
        shared.sandbox.faults.clear()
    if not complete:
        load_source(source, settings, clock)
    assert in_raw(settings, source) == twins[source]
    assert read_status(settings.home)[source].error is None


@pytest.mark.parametrize("system", SOURCES)
def test_a_token_that_expires_in_an_increment_leaves_raw_as_it_was(
    system: str, vendors: Vendors, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    source, settings = SOURCES[system], make_settings(**vendors.settings())
    vendors.lender.rows = busy_lender().rows
    load_source(source, settings, clock)
    for table in vendors.lender.rows:
        for row in vendors.lender.rows[table]:
            row.update(updated_at=NOW - timedelta(hours=1), created_at=NOW - timedelta(hours=1), firstname="Kofi")
            row.update(generated_timestamp=int((NOW - timedelta(hours=1)).timestamp()), name="Kofi", status="solved")
    vendors.lender.changed()
    before = in_raw(settings, source)
    path = "deals/search" if system == "hubspot" else "users/cursor"
    vendors.sandbox.add_fault(system=system, kind="expired", path=path, skip=1)
    with pytest.raises(errors.ConfigurationError, match="TOKEN"):
        load_source(source, settings, clock)
    assert in_raw(settings, source) == before
    vendors.sandbox.faults.clear()
    assert load_source(source, settings, clock).rows_changed >= 47


def test_a_page_that_a_search_passes_over_is_read_again(
    vendors: Vendors, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    settings = make_settings(**vendors.settings())
    rows = vendors.lender.rows["crm_contacts"] = [contact(n) for n in range(40)]
    load_source("crm", settings, clock)
    for row in rows:
        row.update(firstname="Kofi", updated_at=NOW - timedelta(hours=1))
    vendors.lender.changed()
    vendors.sandbox.add_fault(system="hubspot", kind="page_missing", path="contacts/search", skip=1, count=1)
    assert load_source("crm", settings, clock).rows_changed == 40


@pytest.mark.parametrize(("system", "table"), [("hubspot", "contacts"), ("zendesk", "tickets")])
def test_a_whole_listing_that_lacks_a_page_deletes_nobody(
    system: str, table: str, vendors: Vendors, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    source, settings = SOURCES[system], make_settings(**vendors.settings())
    vendors.lender.rows = busy_lender().rows
    first = load_source(source, settings, clock)
    vendors.lender.as_of = NOW + timedelta(days=8)
    later = Clock(vendors.lender.as_of)
    vendors.sandbox.add_fault(system=system, kind="page_missing", path=table)
    with pytest.raises(errors.TransientError, match="a page is missing"):
        load_source(source, settings, later)
    vendors.sandbox.faults.clear()
    again = load_source(source, settings, later)
    assert (again.deleted, again.rows) == (0, first.rows)


def test_an_archived_contact_on_a_page_that_is_passed_over_is_gone_all_the_same(
    vendors: Vendors, make_settings: Callable[..., Settings], clock: Clock, warehouse: Warehouse
) -> None:
    settings = make_settings(**vendors.settings())
    rows = vendors.lender.rows["crm_contacts"] = [contact(n) for n in range(35)]
    load_source("crm", settings, clock)
    for row in rows[5:]:
        row.update(archived=True, archived_at=NOW, updated_at=NOW - timedelta(hours=1))
    vendors.lender.changed()
    vendors.sandbox.add_fault(system="hubspot", kind="page_missing", path="contacts.*archived=true")
    load_source("crm", settings.model_copy(update={"shrink_limit": 0.0}), clock)
    assert warehouse.one("SELECT count(*) FROM raw_crm.contacts WHERE _deleted_at IS NULL") == 5


@pytest.mark.parametrize("system", SOURCES)
@pytest.mark.parametrize("hours", [3, -3])
def test_rows_stamped_by_a_clock_that_was_off_hide_none_that_come_later(
    system: str, hours: int, vendors: Vendors, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    source, settings = SOURCES[system], make_settings(**vendors.settings())
    lender = vendors.lender
    off = NOW + timedelta(hours=hours)
    lender.as_of = off
    stamped = off - timedelta(minutes=5)
    lender.rows = {"crm_contacts": [contact(n, updated_at=stamped) for n in range(12)]}
    lender.rows["support_tickets"] = [ticket(n + 1, stamped) for n in range(12)]
    lender.rows["support_users"] = [user(n + 900, stamped) for n in range(12)]
    load_source(source, settings, clock)
    lender.as_of = NOW + timedelta(minutes=30)
    changed = lender.as_of - timedelta(minutes=10)
    lender.rows["crm_contacts"][0].update(do_not_contact="true", updated_at=changed)
    moment = {"updated_at": changed, "generated_timestamp": int(changed.timestamp())}
    lender.rows["support_tickets"][0].update(tags=["dispute"], **moment)
    lender.changed()
    report = load_source(source, settings, Clock(lender.as_of))
    assert report.rows_changed == 1
    assert sum(report.rows.values()) == (12 if source == "crm" else 24)


def test_an_answer_that_trickles_in_is_bounded_as_a_whole(vendors: Vendors) -> None:
    vendors.sandbox.add_fault(system="hubspot", kind="slow_drip", delay_s=60)
    api = VendorApi(
        vendors.settings()["crm_url"],
        vendor="HubSpot",
        settings_named="LENDLOOP_CRM_URL",
        headers={"Authorization": f"Bearer {vendors.settings()['crm_token']}"},
    )
    began = time.monotonic()
    with pytest.raises(errors.TransientError, match="no whole answer in 1 s, 2 times"):
        api.call(Request("crm/v3/objects/contacts"))
    api.close()
    assert time.monotonic() - began < 10, "each part came well within what one part may take"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Fri, 01 Mar 2024 12:00:30 GMT", "Date": "Fri, 01 Mar 2024 12:00:00 GMT"}, 30.0),
        ({"Retry-After": "Fri, 01 Mar 2024 12:00:30 GMT", "Date": "Fri, 01 Mar 2024 13:00:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_a_wait_is_seconds_or_a_date_by_the_clock_of_who_says_it(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_s(headers) == seconds


def test_what_was_under_way_ends_with_the_reader(vendors: Vendors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion.http, "ANSWER_S", 60.0)
    vendors.sandbox.add_fault(system="hubspot", kind="silence", skip=1)
    vendors.lender.rows["crm_contacts"] = [contact(n) for n in range(30)]
    settings = vendors.settings()
    api = VendorApi(
        settings["crm_url"],
        vendor="HubSpot",
        settings_named="LENDLOOP_CRM_URL",
        headers={"Authorization": f"Bearer {settings['crm_token']}"},
    )
    pages = api.pages(
        Request("crm/v3/objects/contacts", {"limit": 10}),
        lambda page: Request("crm/v3/objects/contacts", {"limit": 10, "after": page["paging"]["next"]["after"]}),
    )
    assert len(next(pages)["results"]) == 10
    began = time.monotonic()
    pages.close()  # type: ignore[attr-defined]
    api.close()
    assert time.monotonic() - began < 30, "nobody waits for an answer that nobody wants"


def test_the_page_of_faults_says_what_is_declared() -> None:
    """After a change that is meant: `make docs`."""
    page = runpy.run_path(str(CHECKOUT / "docs" / "faults.py"))
    assert page["TARGET"].read_text() == page["render"]()
