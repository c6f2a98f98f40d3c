"""How old what is published of a dataset is, against the hours that it promises.

What belongs here: the judgement. What does not: who is told of it (orchestration).
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from governance.registry import Dataset
from lendloop.clock import Clock
from lendloop.passes import LastPass
from lendloop.publish import GroupState

Lateness = Literal["late", "stale"]


def made_as_of(group: GroupState, last: LastPass | None) -> datetime | None:
    """When the tables of a group were last made, or found by a whole pass to be what they would be; None before."""
    if group.state != "fresh" or group.published_as_of is None or last is None or last.failures:
        return group.published_as_of
    return max(group.published_as_of, last.as_of)


def lateness(dataset: Dataset, made: datetime, clock: Clock) -> Lateness | None:
    """Whether a dataset that was made then is past its hours of warning, or of failure; None while it is in time."""
    age, promised = clock.as_of - made, dataset.parameters.freshness
    return "stale" if age > promised.fail else "late" if age > promised.warn else None
