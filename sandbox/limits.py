"""How many calls the stand-ins take: the vendors' figures, or the same mechanism twenty times as generous.

The real figures (`--real-limits`) are the vendors' published ones: HubSpot search 5/s and 190 per
10 s for the rest, Zendesk's incremental exports 10/min, its export of a search 100/min and 700/min for the rest, Blueshift's bulk
upsert 5/s and 50/s for the rest (said of single customers; [check] for lists), Slack one message a
second for each channel and its tiers 2 (20/min) and 3 (50/min) for the rest.
Without it each is multiplied by `GENEROSITY`, so that a demo is not spent waiting while clients
still meet a limit when they run away. `GET /limits` shows the ones in force.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

GENEROSITY = 20


@dataclass(frozen=True)
class Limit:
    """At most `calls` in any `seconds`."""

    calls: int
    seconds: float


REAL: dict[str, Limit] = {
    "hubspot.search": Limit(5, 1.0),
    "hubspot.general": Limit(190, 10.0),
    "zendesk.incremental": Limit(10, 60.0),
    "zendesk.search_export": Limit(100, 60.0),
    "zendesk.general": Limit(700, 60.0),
    "blueshift.bulk": Limit(5, 1.0),
    "blueshift.general": Limit(50, 1.0),
    "slack.post": Limit(1, 1.0),
    "slack.tier2": Limit(20, 60.0),
    "slack.tier3": Limit(50, 60.0),
}


def limits_in_force(*, real: bool) -> dict[str, Limit]:
    """The limits by name."""
    return REAL if real else {name: Limit(one.calls * GENEROSITY, one.seconds) for name, one in REAL.items()}


class RateLimiter:
    """Sliding windows over real time, one for each limit and key. Refused calls are not counted."""

    def __init__(self, limits: dict[str, Limit], monotonic: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._now = monotonic
        self._taken: dict[tuple[str, str], deque[float]] = defaultdict(deque)

    def take(self, name: str, key: str = "") -> float | None:
        """Count one call. None when it is within the limit, else the seconds until one is free."""
        limit, taken, now = self.limits[name], self._taken[name, key], self._now()
        while taken and taken[0] <= now - limit.seconds:
            taken.popleft()
        if len(taken) >= limit.calls:
            return taken[0] + limit.seconds - now
        taken.append(now)
        return None

    def remaining(self, name: str, key: str = "") -> int:
        """Calls left in the window as of the last `take`."""
        return max(0, self.limits[name].calls - len(self._taken[name, key]))


def whole_seconds(wait_s: float) -> str:
    """A wait as Retry-After says it: whole seconds, at least one."""
    return str(max(1, math.ceil(wait_s)))
