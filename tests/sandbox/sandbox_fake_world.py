"""A tiny lender with the real one's interface, to test the stand-ins without drawing a world."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
STAMP = pa.timestamp("us", "UTC")


class FakeWorld:
    """`contacts` contacts, every tenth archived, half as many deals, a fifth as many tickets and users."""

    ledger_url = "sqlite:///nowhere.sqlite"

    def __init__(self, contacts: int = 300) -> None:
        self.as_of = START
        self.version = 1
        self._count = contacts

    def tick(self, days: int) -> dict[str, Any]:
        self.as_of += timedelta(days=days)
        self.version += 1
        return {"days": days}

    def truth(self) -> dict[str, pa.Table]:
        return {"people": pa.table({"person": list(range(self._count)), "name": ["Ana"] * self._count})}

    def table(self, name: str) -> pa.Table:
        return {
            "crm_contacts": self._contacts,
            "crm_deals": self._deals,
            "support_tickets": self._tickets,
            "support_users": self._users,
            "support_ticket_events": self._events,
        }[name]()

    def _times(self, number: int) -> list[datetime]:
        """Spread over the past 60 days; every four rows share one instant; the last one is as of now."""
        times = [START - timedelta(days=60) + timedelta(minutes=30 * (n // 4)) for n in range(number)]
        times[-1] = self.as_of
        return times

    def _contacts(self) -> pa.Table:
        numbers = range(self._count)
        times = self._times(self._count)
        archived = [n % 10 == 9 for n in numbers]
        columns: dict[str, Any] = {
            "id": pa.array([str(1000 + n) for n in numbers]),
            "created_at": pa.array(times, STAMP),
            "updated_at": pa.array(times, STAMP),
            "archived": archived,
            "archived_at": pa.array([times[n] if archived[n] else None for n in numbers], STAMP),
            "firstname": [f"Nome {n} 🎉" if n == 0 else f"Nome {n}" for n in numbers],
            "lastname": ["Silva" if n % 2 else "SILVA" for n in numbers],
            "email": [None if n % 7 == 0 else f"p{n}@mail.example" for n in numbers],
            "phone": [f"0803 000 {n:04d}" for n in numbers],
            "country": [("NG", "GH", "BR", "CI")[n % 4] for n in numbers],
            "sms_consent": [("true", "false", "")[n % 3] for n in numbers],
            "date_of_birth": [f"{1960 + n % 40}-05-{1 + n % 28:02d}" for n in numbers],
        }
        if self.version > 1:
            columns["new_property"] = ["x"] * self._count
        return pa.table(columns)

    def _deals(self) -> pa.Table:
        number = self._count // 2
        times = self._times(number)
        return pa.table(
            {
                "id": pa.array([str(5000 + n) for n in range(number)]),
                "created_at": pa.array(times, STAMP),
                "updated_at": pa.array(times, STAMP),
                "archived": [False] * number,
                "archived_at": pa.array([None] * number, STAMP),
                "dealname": [f"Loan {n}" for n in range(number)],
                "dealstage": [("applied", "approved", "accepted")[n % 3] for n in range(number)],
                "amount": ["not a number" if n == 3 else str(100 * n) for n in range(number)],
                "applied_at": [time.isoformat() for time in times],
            }
        )

    def _tickets(self) -> pa.Table:
        number = self._count // 5
        times = self._times(number)
        return pa.table(
            {
                "id": pa.array([70 + n for n in range(number)], pa.int64()),
                "external_id": pa.array([None] * number, pa.string()),
                "requester_id": pa.array([900 + n for n in range(number)], pa.int64()),
                "submitter_id": pa.array([900 + n for n in range(number)], pa.int64()),
                "assignee_id": pa.array([None] * number, pa.int64()),
                "group_id": pa.array([None] * number, pa.int64()),
                "organization_id": pa.array([None] * number, pa.int64()),
                "status": [("open", "pending", "solved")[n % 3] for n in range(number)],
                "priority": ["normal"] * number,
                "type": ["question"] * number,
                "subject": [f"Where is my money {n}" for n in range(number)],
                "description": ["Please help"] * number,
                "via": [json.dumps({"channel": "email"})] * number,
                "tags": [json.dumps(["dispute"] if n % 4 == 0 else []) for n in range(number)],
                "custom_fields": ["[]"] * number,
                "satisfaction_rating": pa.array([None] * number, pa.string()),
                "created_at": pa.array(times, STAMP),
                "updated_at": pa.array(times, STAMP),
                "generated_timestamp": pa.array([int(time.timestamp()) for time in times], pa.int64()),
            }
        )

    def _users(self) -> pa.Table:
        number = self._count // 5
        times = self._times(number)
        return pa.table(
            {
                "id": pa.array([900 + n for n in range(number)], pa.int64()),
                "external_id": [str(n) if n % 2 else None for n in range(number)],
                "name": [f"User {n}" for n in range(number)],
                "email": [f"u{n}@mail.example" for n in range(number)],
                "phone": pa.array([None] * number, pa.string()),
                "role": ["end-user"] * number,
                "active": [True] * number,
                "suspended": [False] * number,
                "tags": ["[]"] * number,
                "user_fields": ["{}"] * number,
                "created_at": pa.array(times, STAMP),
                "updated_at": pa.array(times, STAMP),
            }
        )

    def _events(self) -> pa.Table:
        number = self._count // 2
        times = self._times(number)
        child = [{"id": 1, "event_type": "Comment", "body": "secret words", "public": True}]
        return pa.table(
            {
                "id": pa.array([40_000 + n for n in range(number)], pa.int64()),
                "ticket_id": pa.array([70 + n % max(1, self._count // 5) for n in range(number)], pa.int64()),
                "event_type": ["Create"] * number,
                "updater_id": pa.array([900] * number, pa.int64()),
                "via": ["Web form"] * number,
                "status": ["open"] * number,
                "created_at": pa.array(times, STAMP),
                "timestamp": pa.array([int(time.timestamp()) for time in times], pa.int64()),
                "child_events": [json.dumps(child)] * number,
            }
        )
