"""The last pass that came to its end: a pass that is killed leaves nothing, and so its absence is what tells.

Times are the wall clock's: a business clock may stand still while passes are due.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from lendloop.formats import read_json, write_json
from lendloop.home import Home
from lendloop.settings import Settings


class LastPass(BaseModel):
    """When a pass last ended, and what of it had not been done; `as_of` is its business clock."""

    format: int = 1
    finished_at: datetime
    as_of: datetime
    failures: int = 0


def read_last_pass(home: Home) -> LastPass | None:
    """None before the first. Raises ConfigurationError for a newer file."""
    path = home.root / "last_pass.json"
    return read_json(path, LastPass) if path.exists() else None


def record_pass(home: Home, as_of: datetime, failures: int, finished_at: datetime | None = None) -> None:
    """Say that a pass ended, whatever came of it. Replaces the file atomically."""
    path = home.root / "last_pass.json"
    record = LastPass(finished_at=finished_at or datetime.now(UTC), as_of=as_of, failures=failures)
    write_json(path, record)


def overdue(settings: Settings, wall: datetime) -> str | None:
    """What is wrong, in words, when the last pass that ended is older than `pass_overdue_hours`; None when all is well.

    An installation that never had one is not overdue: nothing was promised yet.
    """
    last = read_last_pass(settings.home)
    if last is None or wall - last.finished_at <= timedelta(hours=settings.pass_overdue_hours):
        return None
    hours = (wall - last.finished_at).total_seconds() / 3600
    return (
        f"no pass has come to its end for {hours:.0f} hours, since {last.finished_at:%Y-%m-%d %H:%M} UTC:"
        " they are killed, hang, or nobody starts them"
    )
