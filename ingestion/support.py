"""Zendesk, the helpdesk: tickets, users and ticket events into Arrow, from the incremental exports.

Tickets and users come from the cursor export, followed until `end_of_stream`; ticket events from the
time-based one. Deletions are in the exports: a ticket of status `deleted`, a user who is not active.
An export has no total: what search counts in its span is held against it; the time-based one is followed by its rows'
own times. Shapes from Zendesk's API reference. Which tag means what: README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from ingestion.answers import as_json
from ingestion.columns import UNREADABLE, Ids, apart, as_text, column_of, id_of
from ingestion.http import Body, RefusedError, Request, VendorApi
from ingestion.tables import RawTable
from lendloop.clock import Clock
from lendloop.errors import TransientError
from lendloop.settings import Settings

PAGE_ROWS = 1000
SEARCH_ROWS = 100
LEFT_OUT = timedelta(seconds=120)
"""Exports leave out the last minute, and refuse to start in it."""
COMPARE_EVERY_DAYS = 7
"""A full export is dear at ten calls a minute, and deletions show in the increments anyway."""
TOLERATED = 0.1
"""Of a page: rows that search counts and an export lacks, as they changed in the minute that exports leave out."""
EARLIER_S = 86_400
"""So much further back an export begins when the vendor's clock says that it began too late."""
BLOCK_ROWS = 20_000

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

_EVENTS = {"include": "comment_events"}
_SECOND = "%Y-%m-%dT%H:%M:%SZ"
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
        self._may_shrink = settings.shrink_limit == 0

    @classmethod
    @contextmanager
    def open(cls, settings: Settings, clock: Clock) -> Iterator[SupportReader]:
        """Raises ConfigurationError that names the variables that are not set."""
        settings.require("support_url", "support_user", "support_token")
        user = str(settings.support_user).removesuffix("/token")
        api = VendorApi(
            str(settings.support_url),
            auth=(f"{user}/token", settings.secret("support_token")),
            vendor="Zendesk",
            settings_named="LENDLOOP_SUPPORT_USER, LENDLOOP_SUPPORT_TOKEN, LENDLOOP_SUPPORT_URL",
        )
        try:
            yield cls(api, settings, clock)
        finally:
            api.close()

    def has(self, table: RawTable) -> bool:
        return True

    def lacks(self, table: RawTable) -> list[str]:
        """Zendesk's own fields are in every export."""
        return []

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
        """Batches from `floor` on, live and deleted rows apart.

        Raises TransientError when an export stands still, or lacks a page by what search counts.
        """
        since = int(floor.timestamp()) if isinstance(floor, datetime) else floor or 0
        since = max(0, min(since, self._latest_start))
        if table.name == "ticket_events":
            yield from _batches(self._by_time(since), _event_table, lambda _: False)
            return
        yield from _batches(self._counted(table.name, since), *self._made_of(table.name))

    def _counted(self, name: str, since: int) -> Iterator[list[Row]]:
        """The pages of an export, held against the lower of the counts before and after it."""
        before, seen = self._count(name, since), Ids()
        for page in self._by_cursor(name, since):
            seen.add(page)
            yield page
        total, found = min(before, self._count(name, since)), seen.count()
        if total - found > TOLERATED * PAGE_ROWS and not self._may_shrink:
            raise TransientError(
                f"Zendesk counts {total} {name} and exports {found}: a page is missing, nothing was taken; the next pass "
                f"reads again. If its count is wrong, allow it once with LENDLOOP_SHRINK_LIMIT=0"
            )

    def _count(self, name: str, since: int) -> int:
        """How many rows were last updated from then until the exports end, as search counts them."""
        first, last = (datetime.fromtimestamp(moment, UTC) for moment in (since, self._latest_start))
        return self._found(name, f"updated>={first:{_SECOND}} updated<={last:{_SECOND}}") or 0

    def _found(self, name: str, query: str) -> int | None:
        query = f"type:{name.removesuffix('s')} {query}".strip()
        count = self.api.call(Request("api/v2/search/count.json", {"query": query})).get("count")
        return None if count is None else int(count)

    def count(self, table: RawTable, first: datetime | None, end: datetime | None) -> int:
        """How many live tickets or users were created from `first` until before `end`, in one call of search.

        Raises TransientError when Zendesk does not say it.
        """
        count = self._found(table.name, _created(first, end))
        if count is None:
            raise TransientError(f"Zendesk does not say how many {table.name} it finds")
        return count

    def listed(
        self, table: RawTable, first: datetime | None, end: datetime | None, columns: tuple[str, ...]
    ) -> Iterator[pa.Table]:
        """These columns of the live tickets or users created from `first` until before `end`, page by page.

        Search's own export has no ceiling, and is not counted among the ten calls a minute of the incremental exports.
        Raises TransientError when it lacks rows by what search counts.
        """
        total, found = self.count(table, first, end), 0
        path, kind = "api/v2/search/export.json", table.name.removesuffix("s")
        # the query is a required parameter, which an empty one is not
        query = f"type:{kind} {_created(first, end)}".strip()
        asked: dict[str, Any] = {"query": query, "filter[type]": kind, "page[size]": SEARCH_ROWS}

        def following(answer: Body) -> Request | None:
            meta = answer.get("meta") or {}
            after = {"page[after]": meta.get("after_cursor")}
            return Request(path, {**asked, **after}, rows="results") if meta.get("has_more") else None

        make, is_gone = self._made_of(table.name)
        for answer in self.api.pages(Request(path, asked, rows="results"), following):
            for batch, deleted in _batches(iter([_rows(answer, "results")]), make, is_gone):
                found += batch.num_rows
                if not deleted:
                    yield batch if UNREADABLE in batch.column_names else batch.select([*table.key, *columns])
        if total - found > TOLERATED * SEARCH_ROWS:
            raise TransientError(f"Zendesk counts {total} {table.name} and shows {found}: a page is missing")

    def _made_of(self, name: str) -> tuple[Callable[[list[Row]], pa.Table], Callable[[Row], bool]]:
        return (self._ticket_table, _ticket_is_gone) if name == "tickets" else (_user_table, _user_is_gone)

    def _by_cursor(self, name: str, since: int) -> Iterator[list[Row]]:
        path = f"api/v2/incremental/{name}/cursor.json"

        def following(answer: Body) -> Request | None:
            if answer.get("end_of_stream", True):
                return None
            if answer.get("after_cursor") is None:
                raise TransientError(f"Zendesk's export of {name} ends before end_of_stream: nothing was taken")
            return Request(path, {"per_page": PAGE_ROWS, "cursor": answer["after_cursor"]}, rows=name)

        for answer in self._exported(path, name, since, following):
            yield _rows(answer, name)

    def _by_time(self, since: int) -> Iterator[list[Row]]:
        """Goes on from the last time that a page's rows have, whatever its own end_time says."""
        name, path = "ticket_events", "api/v2/incremental/ticket_events.json"
        asked = since

        def following(answer: Body) -> Request | None:
            nonlocal asked
            end, last = answer.get("end_time"), _latest(_rows(answer, name))
            if answer.get("end_of_stream", end is None) and (last is None or end is None or int(end) <= last):
                return None
            place = last if last is not None else int(end or asked)
            if place <= asked:
                raise TransientError(f"Zendesk's export of {name} stands still before end_of_stream: nothing was taken")
            asked = place
            return Request(path, {**_EVENTS, "start_time": place, "per_page": PAGE_ROWS}, rows=name)

        for answer in self._exported(path, name, since, following, **_EVENTS):
            yield _rows(answer, name)

    def _exported(
        self, path: str, name: str, since: int, following: Callable[[Body], Request | None], **more: str
    ) -> Iterator[Body]:
        """An export's pages; where the vendor's clock is behind ours so far that it refuses the start, from earlier."""
        first = {**more, "start_time": since, "per_page": PAGE_ROWS}
        try:
            yield from self.api.pages(Request(path, first, rows=name), following)
        except RefusedError as error:
            if error.status != 422 or "StartTimeTooRecent" not in error.text or not since:
                raise
            first["start_time"] = max(0, since - EARLIER_S)
            yield from self.api.pages(Request(path, first, rows=name), following)

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


def _created(first: datetime | None, end: datetime | None) -> str:
    bounds = ((">=", first), ("<", end))
    return " ".join(f"created{sign}{moment.astimezone(UTC):{_SECOND}}" for sign, moment in bounds if moment is not None)


def _rows(answer: Body, name: str) -> list[Row]:
    rows = answer.get(name, [])
    if not isinstance(rows, list):
        raise TransientError(f"Zendesk answered a page whose {name} are no list: nothing was taken")
    return rows


def _latest(rows: list[Row]) -> int | None:
    """The last second in which an event of a page was created; None where none can be read."""
    moments = []
    for row in rows:
        try:
            moments.append(int(datetime.fromisoformat(str(row["created_at"])).timestamp()))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
    return max(moments, default=None)


def _batches(
    pages: Iterator[list[Row]], make: Callable[[list[Row]], pa.Table], is_gone: Callable[[Row], bool]
) -> Iterator[tuple[pa.Table, bool]]:
    """Pages as columns, put together where they have the same types; rows that are no objects apart.

    The last row of a key counts: a row that came back after it was gone stays behind it.
    """
    waiting: dict[bool, list[pa.Table]] = {False: [], True: []}
    gone_ids: set[str | None] = set()
    refused: list[pa.Table] = []
    for page in pages:
        rows, unreadable = apart(page)
        if unreadable.num_rows:
            refused.append(unreadable)
        live, gone = [row for row in rows if not is_gone(row)], [row for row in rows if is_gone(row)]
        came_back = bool(gone_ids) and not gone_ids.isdisjoint(id_of(row) for row in live)
        gone_ids.update(id_of(row) for row in gone)
        for some, deleted in ((live, False), (gone, True)):
            if not some:
                continue
            table, tables = make(some), waiting[deleted]
            if came_back and waiting[True]:
                yield from _emptied(waiting)
            if tables and (
                sum(one.num_rows for one in tables) >= BLOCK_ROWS or not _fits(tables[-1].schema, table.schema)
            ):
                yield _together(tables), deleted
                tables.clear()
            tables.append(table)
    yield from _emptied(waiting)
    if refused:
        yield pa.concat_tables(refused), False


def _emptied(waiting: dict[bool, list[pa.Table]]) -> Iterator[tuple[pa.Table, bool]]:
    for deleted, tables in waiting.items():
        if tables:
            yield _together(tables), deleted
            tables.clear()


def _fits(one: pa.Schema, other: pa.Schema) -> bool:
    """Whether columns have the same types, or one of them none."""
    return all(
        a.type == b.type or pa.types.is_null(a.type) or pa.types.is_null(b.type)
        for a, b in zip(one, other, strict=True)
    )


def _together(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="default")


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
    return pa.array([as_json(value) for value in values], pa.string())
