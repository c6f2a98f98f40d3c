"""Zendesk, the helpdesk: tickets, users and ticket events into Arrow, from the incremental exports.

Tickets and users come from the cursor export, followed until `end_of_stream`; ticket events from the
time-based one. Deletions are in the exports: a ticket of status `deleted`, a user who is not active.
Shapes from Zendesk's API reference. Which tag means what: README.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa

from ingestion.columns import apart, as_text, column_of
from ingestion.http import VendorApi
from ingestion.pipeline import dlt_for
from ingestion.tables import RawTable
from lendloop.clock import Clock
from lendloop.errors import PermanentError
from lendloop.settings import Settings

PAGE_ROWS = 1000
LEFT_OUT = timedelta(seconds=120)
"""Exports leave out the last minute, and refuse to start in it."""
COMPARE_EVERY_DAYS = 7
"""A full export is dear at ten calls a minute, and deletions show in the increments anyway."""

TICKET_COLUMNS = (
    "id",
    "external_id",
    "requester_id",
    "submitter_id",
    "assignee_id",
    "group_id",
    "organization_id",
    "status",
    "priority",
    "type",
    "subject",
    "description",
    "created_at",
    "updated_at",
    "generated_timestamp",
)

FLAGS = ("is_dispute", "is_complaint", "is_hardship")

Row = dict[str, Any]


class SupportReader:
    """The helpdesk's exports. Open it with `with SupportReader.open(settings, clock)`."""

    lists_keys = False

    def __init__(self, api: VendorApi, settings: Settings, clock: Clock) -> None:
        self.api = api
        self.notes: list[str] = []
        self._latest_start = int((clock.as_of - LEFT_OUT).timestamp())
        self._tags = meant_tags(settings)

    @classmethod
    @contextmanager
    def open(cls, settings: Settings, clock: Clock) -> Iterator[SupportReader]:
        """Raises ConfigurationError that names the variables that are not set."""
        settings.require("support_url", "support_user", "support_token")
        dlt_for(settings.home)
        from dlt.sources.helpers.rest_client.auth import HttpBasicAuth

        user = str(settings.support_user).removesuffix("/token")
        api = VendorApi(
            settings.home,
            str(settings.support_url),
            HttpBasicAuth(f"{user}/token", settings.secret("support_token")),
            vendor="Zendesk",
            settings_named="LENDLOOP_SUPPORT_USER, LENDLOOP_SUPPORT_TOKEN, LENDLOOP_SUPPORT_URL",
        )
        try:
            yield cls(api, settings, clock)
        finally:
            api.close()

    def has(self, table: RawTable) -> bool:
        return True

    def follows_cursor(self, table: RawTable) -> bool:
        return table.cursor is not None

    def compare_every_days(self, table: RawTable) -> int | None:
        """Events never go; tickets and users are exported whole once a week."""
        return None if table.name == "ticket_events" else COMPARE_EVERY_DAYS

    def weight(self, table: RawTable) -> int | None:
        """Zendesk counts approximately at best."""
        return None

    def keys(self, table: RawTable) -> Iterator[pa.Table]:
        """Not used: rows are exported whole."""
        return iter(())

    def by_key(self, table: RawTable, keys: pa.Table) -> Iterator[pa.Table]:
        """Not used: rows are exported whole."""
        return iter(())

    def read(self, table: RawTable, floor: datetime | int | None) -> Iterator[tuple[pa.Table, bool]]:
        """Batches from `floor` on, live and deleted rows apart."""
        since = int(floor.timestamp()) if isinstance(floor, datetime) else floor or 0
        since = max(0, min(since, self._latest_start))
        if table.name == "ticket_events":
            for page in self._by_time(since):
                rows, unreadable = apart(page)
                yield _event_table(rows), False
                yield unreadable, False
            return
        is_gone = _ticket_is_gone if table.name == "tickets" else _user_is_gone
        for page in self._by_cursor(table.name, since):
            rows, unreadable = apart(page)
            yield unreadable, False
            live = [row for row in rows if not is_gone(row)]
            gone = [row for row in rows if is_gone(row)]
            for some, deleted in ((live, False), (gone, True)):
                if some:
                    yield self._ticket_table(some) if table.name == "tickets" else _user_table(some), deleted

    def _by_cursor(self, name: str, since: int) -> Iterator[list[Row]]:
        place: dict[str, Any] = {"start_time": since}
        while True:
            answer = self.api.get(f"api/v2/incremental/{name}/cursor.json", per_page=PAGE_ROWS, **place)
            yield answer.get(name, [])
            if answer.get("end_of_stream", True):
                return
            if answer.get("after_cursor") in (None, place.get("cursor")):
                raise PermanentError(f"Zendesk's export of {name} stands still before end_of_stream: nothing was taken")
            place = {"cursor": answer["after_cursor"]}

    def _by_time(self, since: int) -> Iterator[list[Row]]:
        while True:
            answer = self.api.get(
                "api/v2/incremental/ticket_events.json", start_time=since, include="comment_events", per_page=PAGE_ROWS
            )
            yield answer.get("ticket_events", [])
            end = answer.get("end_time")
            if answer.get("end_of_stream", end is None) or end is None:
                return
            if int(end) <= since:
                raise PermanentError(
                    "Zendesk's export of ticket_events stands still before end_of_stream: nothing was taken"
                )
            since = int(end)

    def _ticket_table(self, rows: list[Row]) -> pa.Table:
        columns = _columns(rows, TICKET_COLUMNS)
        columns["via_channel"] = column_of([_channel(row.get("via")) for row in rows])
        columns["satisfaction_score"] = column_of([_part(row.get("satisfaction_rating"), "score") for row in rows])
        tags = [[] if row.get("tags") is None else row["tags"] for row in rows]
        columns["tags"] = _json(tags)
        columns["custom_fields"] = _json([row.get("custom_fields") or [] for row in rows])
        flags = [flags_of(one, self._tags) for one in tags]
        for column in FLAGS:
            columns[column] = pa.array([one[column] for one in flags], pa.bool_())
        return pa.table(columns)


def meant_tags(settings: Settings) -> dict[str, frozenset[str]]:
    """The tags that each flag of a ticket stands for."""
    tags = (settings.support_dispute_tags, settings.support_complaint_tags, settings.support_hardship_tags)
    return {name: frozenset(some) for name, some in zip(FLAGS, tags, strict=True)}


def flags_of(tags: object, meant: dict[str, frozenset[str]]) -> dict[str, bool | None]:
    """A ticket's flags; None where its tags are no list of texts, which the contract refuses."""
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return dict.fromkeys(meant)
    return {name: not wanted.isdisjoint(tags) for name, wanted in meant.items()}


def _ticket_is_gone(row: Row) -> bool:
    return row.get("status") == "deleted"


def _user_is_gone(row: Row) -> bool:
    return row.get("active") is False


def _user_table(rows: list[Row]) -> pa.Table:
    names = ("id", "external_id", "name", "email", "phone", "role", "active", "suspended", "created_at", "updated_at")
    columns = _columns(rows, names)
    columns["tags"] = _json([row.get("tags") or [] for row in rows])
    columns["user_fields"] = _json([row.get("user_fields") or {} for row in rows])
    return pa.table(columns)


def _event_table(rows: list[Row]) -> pa.Table:
    if not rows:
        return pa.table({})
    columns = _columns(rows, ("id", "ticket_id", "event_type", "updater_id", "created_at"))
    columns["via"] = column_of([_channel(row.get("via")) for row in rows])
    columns["status"] = column_of([_status(row) for row in rows])
    columns["child_events"] = _json([row.get("child_events") or [] for row in rows])
    return pa.table(columns)


def _status(row: Row) -> str | None:
    """The status that an event set, from its changes; None where it left it."""
    if row.get("status"):
        return str(row["status"])
    children = row.get("child_events")
    changes = (
        [child.get("status") for child in children if isinstance(child, dict)] if isinstance(children, list) else []
    )
    return next((str(status) for status in reversed(changes) if status), None)


def _channel(via: object) -> str | None:
    return _part(via, "channel")


def _part(value: object, name: str) -> str | None:
    """A named part of a nested value as text; a value that is not nested stands for it itself."""
    return as_text(value.get(name) if isinstance(value, dict) else value)


def _columns(rows: list[Row], names: tuple[str, ...]) -> dict[str, pa.Array]:
    return {name: column_of([row.get(name) for row in rows]) for name in names}


def _json(values: list[Any]) -> pa.Array:
    return pa.array([orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode() for value in values], pa.string())
