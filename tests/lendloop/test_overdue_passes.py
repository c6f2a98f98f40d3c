from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from lendloop.passes import overdue, read_last_pass, record_pass
from lendloop.settings import Settings, load_settings

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)


def settings_in(tmp_path: Path) -> Settings:
    settings = load_settings(_env_file=None, LENDLOOP_HOME=tmp_path, pass_overdue_hours=26)
    settings.home.prepare()
    return settings


def test_a_last_pass_that_is_too_long_ago_is_said_with_its_time(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    record_pass(settings.home, NOW, 0, finished_at=NOW)
    assert overdue(settings, NOW + timedelta(hours=26)) is None
    fault = overdue(settings, NOW + timedelta(hours=50))
    assert fault is not None
    assert "50 hours" in fault
    assert "2026-06-30 12:00" in fault


def test_a_pass_that_ended_badly_came_to_its_end_too(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    assert read_last_pass(settings.home) is None
    assert overdue(settings, NOW) is None
    record_pass(settings.home, NOW, 3, finished_at=NOW)
    last = read_last_pass(settings.home)
    assert last is not None
    assert last.failures == 3
    assert overdue(settings, NOW) is None
