"""Passes that are killed each time: the alerts say so, and say when it is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from activation.alerts import advance_alerts, alert_status, load_routes
from lendloop.passes import record_pass
from lendloop.settings import Settings, load_settings
from orchestration.activation import report_overdue


@pytest.fixture
def settings(clean_environment: pytest.MonkeyPatch) -> Settings:
    settings = load_settings()
    settings.home.prepare()
    return settings


def states(settings: Settings) -> list[tuple[str, str]]:
    advance_alerts(settings, [], load_routes(settings.definitions), settings.clock())
    return [(alert["rule"], alert["state"]) for alert in alert_status(settings)]


def test_an_overdue_pass_is_an_alert_until_one_comes_to_its_end(settings: Settings) -> None:
    now = datetime.now(UTC)
    record_pass(settings.home, now, 0, finished_at=now - timedelta(hours=25))
    assert not report_overdue(settings, settings.clock())
    assert states(settings) == []
    record_pass(settings.home, now, 0, finished_at=now - timedelta(hours=27))
    assert report_overdue(settings, settings.clock())
    assert states(settings) == [("pipeline", "open")]
    record_pass(settings.home, now, 0)
    assert not report_overdue(settings, settings.clock())
    assert states(settings) == [("pipeline", "resolved")]
