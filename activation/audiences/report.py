"""What a sync says of itself: counts, outcomes, and errors as one line each. No personal data."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

Outcome = Literal["done", "unchanged", "partial", "blocked", "failed", "skipped", "not_configured"]
"""`blocked`: a guard rail stopped the plan; `partial`: some rows did not arrive; `skipped`: no source of facts.

Members who said no are removed in a pass that is blocked or skipped, too.
"""


class DestinationReport(BaseModel):
    """One destination's part. Counts are people; `members` are those it has, or may have, now.

    `unsent` rows surely did not arrive and go with the next pass; `kept` stay while an exclusion
    can't be checked; `remote_count` is what the destination itself counts.
    """

    outcome: Outcome = "unchanged"
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    kept: int = 0
    refused: int = 0
    accepted: int = 0
    confirmed: int = 0
    rejected: int = 0
    unknown: int = 0
    unsent: int = 0
    members: int = 0
    remote_count: int | None = None
    requests: int = 0
    events: list[str] = Field(default_factory=list)
    errors: list[str] = Field(default_factory=list)


class SyncReport(BaseModel):
    """One pass of an audience.

    `candidates` = `desired` + everyone in `held_back`, which counts people by the first of their
    reasons. `added`, `changed` and `removed` are people: the most of any destination. `accepted`,
    `confirmed`, `rejected`, `unknown` and `requests` are summed over destinations.
    """

    audience: str
    title: str
    version: int
    as_of: datetime
    snapshot: str | None = None
    outcome: Outcome = "unchanged"
    candidates: int = 0
    desired: int = 0
    held_back: dict[str, int] = Field(default_factory=dict)
    added: int = 0
    changed: int = 0
    removed: int = 0
    accepted: int = 0
    confirmed: int = 0
    rejected: int = 0
    unknown: int = 0
    requests: int = 0
    destinations: dict[str, DestinationReport] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    errors: list[str] = Field(default_factory=list)

    def close(self) -> SyncReport:
        """Fill the totals and the outcome from the destinations."""
        parts = [part for part in self.destinations.values() if part.outcome != "not_configured"]
        for name in ("added", "changed", "removed"):
            setattr(self, name, max((getattr(part, name) for part in parts), default=0))
        for name in ("accepted", "confirmed", "rejected", "unknown", "requests"):
            setattr(self, name, sum(getattr(part, name) for part in parts))
        self.errors += [f"{name}: {error}" for name, part in self.destinations.items() for error in part.errors]
        outcomes = {part.outcome for part in parts}
        if self.outcome == "unchanged":
            order: tuple[Outcome, ...] = ("failed", "blocked", "partial", "done", "skipped")
            self.outcome = next((name for name in order if name in outcomes), "unchanged")
        return self
