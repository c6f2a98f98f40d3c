"""The business clock: one instant, and the business date of each market that follows from it.

Everything that depends on time takes a `Clock` as an argument; nothing reads the wall clock.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from lendloop.errors import ConfigurationError, TransientError

CLOCK_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Clock:
    """The moment the business is at.

    `as_of` is an aware UTC instant. `day`, when set, is the business date of every market
    (a date was given, not an instant); otherwise each market's date follows from its time zone.
    """

    as_of: datetime
    day: date | None = None

    def business_date(self, time_zone: str = "UTC") -> date:
        """The business date in an IANA time zone."""
        return self.day or self.as_of.astimezone(ZoneInfo(time_zone)).date()


def parse_clock(text: str) -> Clock:
    """`1998-12-31` (the end of that day, everywhere) or an ISO 8601 instant (UTC unless it says).

    Raises ConfigurationError for anything else.
    """
    value = text.strip()
    try:
        if len(value) == len("1998-12-31"):
            day = date.fromisoformat(value)
            return Clock(datetime.combine(day, time(23, 59, 59), UTC), day)
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise ConfigurationError(
            f"LENDLOOP_AS_OF={text!r} is no time: give a date (1998-12-31), an ISO 8601 instant, or a URL that answers one"
        ) from None
    return Clock(instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC))


def parse_day(text: str) -> date:
    """A day as it is typed: `1998-12-31`. Raises ConfigurationError for anything else."""
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        raise ConfigurationError(f"{text!r} is no day: give one as 1998-12-31") from None


def resolve_clock(as_of: str | None) -> Clock:
    """The clock that a setting names: None is now, a URL is asked for `{"as_of": "..."}`, else `parse_clock`.

    Raises ConfigurationError for a value that is no time, TransientError when the URL does not answer.
    """
    if not as_of:
        return Clock(datetime.now(UTC))
    if as_of.startswith(("http://", "https://")):
        try:
            with urllib.request.urlopen(as_of, timeout=CLOCK_TIMEOUT_S) as answer:  # noqa: S310
                return parse_clock(str(json.load(answer)["as_of"]))
        except (urllib.error.URLError, TimeoutError, ValueError, KeyError) as error:
            raise TransientError(
                f"the clock at {as_of} did not answer a time ({error}): is the sandbox running?"
            ) from error
    return parse_clock(as_of)
