"""What we say to Zendesk and Slack, and what their stand-ins answer, as the vendors describe it: no violation.

Klaviyo and Fineract's API are described too, but nothing here speaks them; HubSpot and Blueshift are not described.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from ingestion import support
from ingestion.load import load_source
from ingestion.reconcile_vendor import reconcile_vendor
from lendloop.clock import Clock
from lendloop.settings import load_settings
from sandbox.serve import Options, Running, running
from tests.activation.alerts.conftest import TABLES, Lender
from tests.contracts.descriptions import FOLDER, described
from tests.contracts.prism import Proxy, prism_command, prism_proxy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the vendors' descriptions are not beside the checkout"),
]


@dataclass
class Vendors:
    """A pretend lender's Zendesk and Slack, each behind its description."""

    sandbox: Running
    zendesk: Proxy
    slack: Proxy

    def setting(self, name: str) -> str:
        return self.sandbox.settings[f"LENDLOOP_{name.upper()}"]


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendors]:
    folder = tmp_path_factory.mktemp("vendors")
    prism_command()
    (folder / "world").mkdir()
    with ExitStack() as stack:
        sandbox = stack.enter_context(running(Options(folder / "world", customers=300)))
        addresses = {"zendesk": f"{sandbox.base_url}/zendesk", "slack": f"{sandbox.base_url}/slack/api"}
        proxies = [prism_proxy(described(name), address, folder / name) for name, address in addresses.items()]
        with ThreadPoolExecutor() as pool:
            zendesk, slack = pool.map(stack.enter_context, proxies)
        yield Vendors(sandbox, zendesk, slack)


@pytest.fixture(autouse=True)
def clean(vendors: Vendors) -> None:
    """Each test counts its own violations."""
    for proxy in (vendors.zendesk, vendors.slack):
        proxy.new_calls()


def test_a_first_load_and_an_increment_of_support(
    vendors: Vendors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support, "PAGE_ROWS", 100)
    settings = load_settings(
        _env_file=None,
        LENDLOOP_HOME=tmp_path / "home",
        support_url=vendors.zendesk.base_url,
        support_user=vendors.setting("support_user"),
        support_token=vendors.setting("support_token"),
    )
    lender = vendors.sandbox.lender
    first = load_source("support", settings, Clock(lender.as_of))
    lender.tick(2)
    second = load_source("support", settings, Clock(lender.as_of))
    compared = reconcile_vendor("support", settings, Clock(lender.as_of), whole=True)
    assert [(one.not_compared, one.faults()) for one in compared] == [("", []), ("", [])]
    calls = vendors.zendesk.new_calls()
    assert [call for call in calls if call.violations] == []
    assert first.new > 300
    assert 0 < second.new < first.new
    assert {call.path for call in calls} >= {
        f"/api/v2/{one}.json"
        for one in (
            "search/export",
            *(f"incremental/{kind}" for kind in ("tickets/cursor", "users/cursor", "ticket_events")),
        )
    }
    with duckdb.connect(str(settings.home.warehouse), read_only=True) as connection:
        assert connection.execute("select count(*) from raw_support.tickets where subject is null").fetchone() == (0,)


@pytest.fixture
def lender(vendors: Vendors, tmp_path: Path) -> Lender:
    """A tiny lender whose alerts go to Slack, to a channel that is known by its name."""
    settings = load_settings(
        LENDLOOP_HOME=tmp_path / "home",
        slack_url=f"{vendors.slack.base_url}/",
        slack_token=vendors.setting("slack_token"),
        slack_channel="#lendloop-alerts",
    )
    settings.home.prepare()
    lender = Lender(settings)
    lender.sql(TABLES)
    lender.only("large_transaction", notify_backfill=True)
    return lender


def test_alerts_are_posted_edited_and_looked_up(vendors: Vendors, lender: Lender) -> None:
    before = len(vendors.sandbox.arrivals.messages())
    lender.transaction(1, "3000000")
    vendors.sandbox.add_fault(system="slack", path="chat.postMessage", kind="reset", after_effect=True, count=1)
    _, _, report = lender.run()
    assert report.recovered == 1
    lender.later(days=30)
    lender.sql("delete from trusted.fct_account_transaction")
    _, _, report = lender.run()
    assert (report.sent, report.updated) == (1, 1)
    calls = vendors.slack.new_calls()
    assert [call for call in calls if call.violations] == []
    assert {call.path for call in calls} == {
        "/chat.postMessage",
        "/chat.update",
        "/conversations.list",
        "/conversations.history",
    }
    texts = [message["text"] for message in vendors.sandbox.arrivals.messages()[before:]]
    assert ["Resolved" in text for text in texts] == [True, True]


def test_a_token_that_is_refused(vendors: Vendors, lender: Lender) -> None:
    lender.settings = lender.settings.model_copy(update={"slack_token": "xoxb-another"})
    lender.transaction(2, "3000000")
    _, _, report = lender.run()
    assert report.failed == 1
    assert "invalid_auth" in report.failures[0]
    (call,) = vendors.slack.new_calls()
    assert call.violations == []


@pytest.mark.parametrize(
    ("vendor", "request_", "said"),
    [
        ("zendesk", {"method": "GET", "url": "/api/v2/incremental/users/cursor.json?start_time=noon"}, "start_time"),
        ("zendesk", {"method": "GET", "url": "/api/v3/tickets"}, "not found"),
        ("slack", {"method": "POST", "url": "/chat.postMessage", "json": {"text": "to nobody"}}, "channel"),
        ("slack", {"method": "POST", "url": "/conversations.history", "data": {"limit": "many"}}, "limit"),
    ],
)
def test_a_request_against_the_description_is_found(
    vendors: Vendors, vendor: str, request_: dict[str, Any], said: str
) -> None:
    proxy: Proxy = getattr(vendors, vendor)
    request_ = request_ | {"url": proxy.base_url + request_["url"], "headers": {"Authorization": "Bearer x"}}
    httpx.request(**request_)
    (call,) = proxy.new_calls()
    assert said in str(call.violations)


def test_an_answer_against_the_description_is_found(vendors: Vendors) -> None:
    vendors.sandbox.add_fault(
        system="zendesk", kind="status", status=200, body={"tickets": [{"id": "1", "status": "bogus"}]}, count=1
    )
    user, token = vendors.setting("support_user"), vendors.setting("support_token")
    httpx.get(
        f"{vendors.zendesk.base_url}/api/v2/incremental/tickets/cursor.json?start_time=0", auth=(f"{user}/token", token)
    )
    (call,) = vendors.zendesk.new_calls()
    assert "tickets.0.id" in str(call.violations)
    assert "tickets.0.status" in str(call.violations)
