"""A dataset that is older than it promises: its owner is warned, told again once it is stale, and told when it is fresh."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from activation.alerts import advance_alerts, alert_status, load_routes
from activation.ops import open_ops
from activation.ops.tables import outbox
from governance.manifest import read_manifest
from governance.registry import Dataset, read_registry
from lendloop.clock import Clock
from lendloop.home import Home
from lendloop.passes import record_pass
from lendloop.publish import Catalog, GroupState, PublishedTable, write_catalog
from lendloop.settings import Settings, load_settings
from orchestration.freshness import report_late

KEY = "trusted.fct_loan"
MADE = datetime(2026, 6, 30, 12, tzinfo=UTC)


@pytest.fixture
def datasets(parsed: Home) -> dict[str, Dataset]:
    """fct_loan, which warns after 20 hours and is stale after 26."""
    return {KEY: read_registry(read_manifest(parsed))[KEY]}


@pytest.fixture
def settings(clean_environment: pytest.MonkeyPatch) -> Settings:
    settings = load_settings()
    publish(settings, MADE)
    return settings


def publish(settings: Settings, at: datetime, state: str = "fresh") -> None:
    table = PublishedTable(group="portfolio", contact_data=False, rows=1, files=[], published_as_of=MADE, version=1)
    group = GroupState(state=state, version=1, published_as_of=at)
    write_catalog(settings.home.prepare(), Catalog(version=1, groups={"portfolio": group}, tables={KEY: table}))


def told(settings: Settings, datasets: dict[str, Dataset], hours: float) -> tuple[str, str] | None:
    """Severity and state of the alert so many hours after the dataset was made."""
    clock = Clock(MADE + timedelta(hours=hours))
    report_late(settings, clock, datasets)
    advance_alerts(settings, [], load_routes(settings.definitions), clock)
    found = {alert["entity"]: (alert["severity"], alert["state"]) for alert in alert_status(settings)}
    assert found.keys() <= {"check:trusted/fct_loan:made_in_time"}
    return next(iter(found.values()), None)


def messages(settings: Settings) -> list[str]:
    with open_ops(settings).connect() as connection:
        found = connection.execute(select(outbox.c.payload).where(outbox.c.kind == "alert").order_by(outbox.c.id))
        return [payload["body"] for payload in found.scalars()]


def test_the_owner_is_warned_then_told_that_it_is_stale_and_that_it_is_over(
    settings: Settings, datasets: dict[str, Dataset]
) -> None:
    assert told(settings, datasets, 20) is None
    assert told(settings, datasets, 21) == ("warning", "open")
    assert told(settings, datasets, 22) == ("warning", "open")
    [warned] = messages(settings)
    assert "trusted.fct_loan (for risk) was last made 2026-06-30 12:00 UTC, not within 20 hours" in warned
    assert "Urgency: today" in warned
    assert "Entity: trusted.fct_loan" in warned
    assert told(settings, datasets, 27) == ("critical", "open")
    _, *critical = messages(settings)
    assert len(critical) == 2, "to Slack and by mail"
    assert all("not within 26 hours" in said and "Urgency: now" in said for said in critical)
    publish(settings, MADE + timedelta(hours=27))
    assert told(settings, datasets, 28) == ("critical", "resolved")


def test_a_pass_that_found_nothing_new_keeps_it_in_time_and_one_that_failed_does_not(
    settings: Settings, datasets: dict[str, Dataset]
) -> None:
    record_pass(settings.home, MADE + timedelta(hours=20), failures=0)
    assert told(settings, datasets, 21) is None
    record_pass(settings.home, MADE + timedelta(hours=20), failures=1)
    assert told(settings, datasets, 21) == ("warning", "open")


def test_a_group_that_could_not_be_renewed_gets_late_whatever_passes_do(
    settings: Settings, datasets: dict[str, Dataset]
) -> None:
    publish(settings, MADE, state="stale")
    record_pass(settings.home, MADE + timedelta(hours=20), failures=0)
    assert told(settings, datasets, 21) == ("warning", "open")
