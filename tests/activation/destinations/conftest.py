"""Destinations against the sandbox's stand-ins, served for real; nobody waits for a back-off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from activation.audiences import Audience, SyncReport, load_audiences, sync_audience
from sandbox.serve import Options, Running, running
from tests.activation.audiences.conftest import DEFINITIONS
from tests.activation.audiences.lender import AS_OF, PublishedLender


class NoLender:
    """A lender without a single row: only the marketing tool is asked here."""

    version = 1
    ledger_url = "sqlite://"

    @property
    def as_of(self) -> datetime:
        return AS_OF

    def tick(self, days: int) -> dict[str, Any]:
        return {"days": days}

    def truth(self) -> Mapping[str, Any]:
        return {}

    def table(self, name: str) -> Any:
        raise KeyError(name)


class Marketing:
    """A lender with an audience, and the vendor's stand-in that it goes to."""

    def __init__(self, lender: PublishedLender, sandbox: Running, audience: Audience) -> None:
        self.lender = lender
        self.sandbox = sandbox
        self.audience = audience
        self.slept: list[float] = []
        lender.overrides |= {
            "blueshift_url": sandbox.settings["LENDLOOP_BLUESHIFT_URL"],
            "blueshift_key": sandbox.settings["LENDLOOP_BLUESHIFT_KEY"],
        }

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def people(self, *names: str) -> None:
        for name in names:
            self.lender.approved(self.lender.person(name))

    def crowd(self, size: int) -> None:
        self.people(*(f"p{number:04}" for number in range(size)))

    def sync(self) -> SyncReport:
        self.lender.publish()
        return sync_audience(
            self.audience,
            settings=self.lender.settings,
            clock=self.lender.clock,
            source_status=self.lender.status,
            sleep=self._sleep,
        )

    def calls(self) -> list[dict[str, Any]]:
        return list(self.sandbox.arrivals.everything()["blueshift"]["requests"])

    def lists(self) -> list[dict[str, Any]]:
        return self.sandbox.arrivals.lists()

    def members(self) -> list[str]:
        """Of the audience's list that is not deleted."""
        live = [one for one in self.lists() if not one["deleted_at"]]
        assert len(live) <= 1
        return list(live[0]["members"]) if live else []

    def profiles(self) -> dict[str, dict[str, Any]]:
        return {profile["customer_id"]: profile for profile in self.sandbox.arrivals.profiles()}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Running]:
    with running(Options(tmp_path / "sandbox"), NoLender()) as server:
        yield server


@pytest.fixture
def marketing(tmp_path: Path, sandbox: Running) -> Marketing:
    audiences = {audience.name: audience for audience in load_audiences(DEFINITIONS)}
    return Marketing(PublishedLender(tmp_path / "home"), sandbox, audiences["approved_not_accepted"])
