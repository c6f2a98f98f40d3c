"""Zendesk Support as the lender's helpdesk: incremental exports, tickets, users, search.

Wire format and figures from Zendesk's API reference. Exports leave out the last minute before the
sandbox's clock; `after_url` stands on the last page too; a client stops on `end_of_stream`.
"""

from __future__ import annotations

import base64
import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from sandbox.arrivals import Arrivals, dump
from sandbox.lender import Columns, Lender, Rows, WrittenTable, iso_text, plain_values
from sandbox.limits import RateLimiter, whole_seconds
from sandbox.wire import Call, RefusalError, Reply, StandIn, basic_credentials
from sandbox.zendesk_search import SEARCH_CEILING, matching_rows

LEFT_OUT_S = 60
EXPORT_LIMIT, PAGE_LIMIT = 1000, 100
FIRST_WRITTEN_ID = 900_000_000_001
_JSON_COLUMNS = {"via", "tags", "custom_fields", "satisfaction_rating", "user_fields", "child_events", "system"}
_TABLES = {"tickets": "support_tickets", "users": "support_users", "ticket_events": "support_ticket_events"}
_WRITABLE = ("subject", "description", "status", "priority", "type", "external_id", "assignee_id", "group_id")


class Zendesk(StandIn):
    """The stand-in. The caller signs in as `user/token` with the API token."""

    name = "zendesk"

    def __init__(self, lender: Lender, arrivals: Arrivals, limiter: RateLimiter, user: str, token: str) -> None:
        super().__init__()
        self._lender, self._arrivals, self._limiter = lender, arrivals, limiter
        self._credentials = (f"{user}/token", token)
        self._tables = {name: WrittenTable(lender, table, arrivals.overlays(table)) for name, table in _TABLES.items()}
        self.route("GET", "/api/v2/incremental/{kind}/cursor", self._cursor_export)
        self.route("GET", "/api/v2/incremental/{kind}", self._time_export)
        self.route("GET", "/api/v2/search/count", self._search_count)
        self.route("GET", "/api/v2/search/export", self._search_export)
        self.route("GET", "/api/v2/search", self._search)
        self.route("POST", "/api/v2/tickets", self._create_ticket)
        self.route("GET", "/api/v2/{kind}", self._list)
        self.route("GET", "/api/v2/{kind}/{id}", self._show)
        self.route("PUT", "/api/v2/tickets/{id}", self._update_ticket)

    def authorise(self, call: Call) -> None:
        if basic_credentials(call) != self._credentials:
            raise RefusalError(401, {"error": "Couldn't authenticate you"})

    def count(self, call: Call) -> None:
        name = "zendesk.incremental" if "/incremental/" in call.path else "zendesk.general"
        if "/search/export" in call.path:
            name = "zendesk.search_export"
        wait_s = self._limiter.take(name)
        if wait_s is not None:
            body = {
                "error": "APIRateLimitExceeded",
                "description": f"Number of allowed API requests per minute exceeded ({self._limiter.limits[name].calls})",
            }
            raise RefusalError(429, body, {"Retry-After": whole_seconds(wait_s)})

    def unknown(self, call: Call) -> Reply:
        return Reply({"error": "InvalidEndpoint", "description": "Not found"}, 404)

    def malformed(self, why: str) -> Reply:
        return Reply({"error": "RecordInvalid", "description": why}, 400)

    def _cursor_export(self, call: Call) -> Reply:
        """Tickets by `generated_timestamp`, users by `updated_at`; ties by id. A cursor is the last row's place."""
        kind = call.params["kind"]
        if kind not in ("tickets", "users"):
            return self.unknown(call)
        columns = self._tables[kind].current()
        order, seconds = _by_time(columns, kind)
        size = _page_size(call, EXPORT_LIMIT)
        if cursor := call.one("cursor"):
            place = _read_cursor(cursor)
            start = _first_after(columns, order, seconds, place)
        else:
            since = self._start_time(call)
            place = (since - 1, 2**62)
            start = int(np.searchsorted(seconds, since, side="left"))
        end_of_data = int(np.searchsorted(seconds, self._horizon(), side="right"))
        page = order[start : min(start + size, end_of_data)]
        if len(page):
            place = (int(seconds[start + len(page) - 1]), int(columns.ids[page[-1]]))
        after = _write_cursor(place)
        url = f"{call.base_url}/api/v2/incremental/{kind}/cursor.json?" + urlencode({"cursor": after, "per_page": size})
        body: dict[str, Any] = {kind: self._render(call, kind, columns, page), "after_url": url, "after_cursor": after}
        body |= {"before_url": None, "before_cursor": None, "end_of_stream": start + size >= end_of_data}
        return Reply(body)

    def _time_export(self, call: Call) -> Reply:
        """Everything from `start_time` on; a page ends with a whole second, so `end_time` continues without a gap."""
        kind = call.params["kind"]
        if kind not in self._tables:
            return self.unknown(call)
        columns = self._tables[kind].current()
        order, seconds = _by_time(columns, kind)
        size = _page_size(call, EXPORT_LIMIT)
        start = int(np.searchsorted(seconds, self._start_time(call), side="left"))
        end_of_data = int(np.searchsorted(seconds, self._horizon(), side="right"))
        end = min(start + size, end_of_data)
        if end > start:
            end = min(int(np.searchsorted(seconds, seconds[end - 1], side="right")), end_of_data)
        page = order[start:end]
        body: dict[str, Any] = {kind: self._render(call, kind, columns, page), "count": len(page)}
        body |= {"next_page": None, "end_time": None, "end_of_stream": end >= end_of_data}
        if len(page):
            body["end_time"] = int(seconds[end - 1])
            arguments = {"start_time": body["end_time"], "per_page": size}
            if include := call.one("include"):
                arguments["include"] = include
            body["next_page"] = f"{call.base_url}/api/v2/incremental/{kind}.json?{urlencode(arguments)}"
        return Reply(body)

    def _horizon(self) -> int:
        return int(self._lender.as_of.timestamp()) - LEFT_OUT_S

    def _start_time(self, call: Call) -> int:
        text = call.one("start_time")
        if not text or not text.lstrip("-").isdigit():
            raise RefusalError(400, {"error": "InvalidParameter", "description": "start_time is required"})
        if int(text) > self._horizon():
            description = "Too recent start_time. Use a start_time older than 60 seconds"
            raise RefusalError(422, {"error": "StartTimeTooRecent", "description": description})
        return int(text)

    def _list(self, call: Call) -> Reply:
        """Cursor paging when `page[size]` or `page[after]` is there, else numbered pages; 100 a page at most."""
        kind = call.params["kind"]
        if kind not in ("tickets", "users"):
            return self.unknown(call)
        columns = self._tables[kind].current()
        rows = columns.by_id
        if external := call.one("external_id"):
            same = pc.fill_null(pc.equal(pc.utf8_lower(columns.table["external_id"]), external.lower()), False)
            rows = rows[same.to_numpy().astype(bool)[rows]]
        if call.one("page[size]") or call.one("page[after]"):
            size = min(call.integer("page[size]", PAGE_LIMIT), PAGE_LIMIT)
            last = _read_cursor(call.one("page[after]") or _write_cursor((0, -1)))[1]
            start = bisect_right(rows, last, key=lambda row: int(columns.ids[row]))
            page = rows[start : start + size]
            more = start + size < len(rows)
            after = _write_cursor((0, int(columns.ids[page[-1]]))) if len(page) else None
            link = f"{call.base_url}/api/v2/{kind}.json?" + urlencode({"page[size]": size, "page[after]": after})
            body: dict[str, Any] = {kind: self._render(call, kind, columns, page)}
            body["meta"] = {"has_more": more, "after_cursor": after, "before_cursor": None}
            body["links"] = {"next": link if more else None, "prev": None}
            return Reply(body)
        return Reply(self._numbered(call, kind, columns, rows, kind))

    def _numbered(self, call: Call, kind: str, columns: Columns, rows: Rows, key: str) -> dict[str, Any]:
        size, number = _page_size(call, PAGE_LIMIT), call.integer("page", 1)
        page = rows[(number - 1) * size : number * size]
        arguments = {name: values[-1] for name, values in call.query.items()} | {"page": number + 1, "per_page": size}
        link = f"{call.base_url}{call.path}?{urlencode(arguments)}"
        body: dict[str, Any] = {key: self._render(call, kind, columns, page), "count": len(rows)}
        return body | {"next_page": link if number * size < len(rows) else None, "previous_page": None}

    def _show(self, call: Call) -> Reply:
        kind = call.params["kind"]
        if kind not in ("tickets", "users"):
            return self.unknown(call)
        columns = self._tables[kind].current()
        return Reply({kind.removesuffix("s"): self._render(call, kind, columns, [self._row(call, columns)])[0]})

    def _row(self, call: Call, columns: Columns) -> int:
        row = columns.row_of(int(call.params["id"])) if call.params["id"].isdigit() else None
        if row is None:
            raise RefusalError(404, {"error": "RecordNotFound", "description": "Not found"})
        return row

    def _search(self, call: Call) -> Reply:
        kind, columns, rows = self._found(call)
        size, number = _page_size(call, PAGE_LIMIT), call.integer("page", 1)
        if size * number > SEARCH_CEILING:
            description = "Invalid search: Requested response size was greater than Search Response Limits"
            raise RefusalError(422, {"error": "invalid", "description": description})
        body = self._numbered(call, kind, columns, rows, "results")
        for one in body["results"]:
            one["result_type"] = kind.removesuffix("s")
        return Reply({**body, "facets": None})

    def _search_count(self, call: Call) -> Reply:
        return Reply({"count": len(self._found(call)[2])})

    def _search_export(self, call: Call) -> Reply:
        """What a search finds, all of it, page by page; the kind is a parameter."""
        asked = call.one("filter[type]")
        if asked not in ("ticket", "user"):
            description = "filter[type] must be one of ticket, user, organization, group"
            raise RefusalError(400, {"error": "InvalidParameter", "description": description})
        kind, columns, rows = self._found(call, f"{asked}s")
        rows = np.sort(rows)
        size = max(1, min(call.integer("page[size]", PAGE_LIMIT), EXPORT_LIMIT))
        last = _read_cursor(call.one("page[after]") or _write_cursor((0, -1)))[1]
        start = int(np.searchsorted(rows, last, side="right"))
        page, more = rows[start : start + size], start + size < len(rows)
        after = _write_cursor((0, int(page[-1]))) if len(page) else None
        arguments = {"query": call.one("query") or "", "filter[type]": asked, "page[size]": size, "page[after]": after}
        link = f"{call.base_url}/api/v2/search/export.json?{urlencode(arguments)}"
        results = self._render(call, kind, columns, page)
        for one in results:
            one["result_type"] = asked
        body: dict[str, Any] = {"results": results, "facets": None}
        body["meta"] = {"has_more": more, "after_cursor": after, "before_cursor": None}
        return Reply({**body, "links": {"next": link if more else None, "prev": None}})

    def _found(self, call: Call, kind: str | None = None) -> tuple[str, Columns, Rows]:
        query = call.one("query") or ""
        kind = kind or ("users" if "type:user" in query else "tickets")
        columns = self._tables[kind].current()
        rows: Rows = columns.lately(("search", kind, query), lambda: matching_rows(columns, kind, query))
        return kind, columns, rows

    def _create_ticket(self, call: Call) -> Reply:
        """A new ticket; the same `Idempotency-Key` gives the same ticket again, another body with it is refused."""
        key, digest = call.headers.get("idempotency-key"), hashlib.sha256(call.body).hexdigest()
        known = self._arrivals.read("select request, reply from idempotency where key = ?", key) if key else []
        if known:
            if known[0][0] != digest:
                body = {"error": "IdempotentRequestError", "description": "Idempotency key was used with another body"}
                raise RefusalError(400, body)
            return Reply(orjson.loads(known[0][1]), 201, {"X-Idempotency-Lookup": "hit"})
        asked = call.json().get("ticket") or {}
        comment = asked.get("comment") or {}
        text = comment.get("body") or comment.get("html_body") or asked.get("description")
        if not text:
            details = {"base": [{"description": "Description: cannot be blank", "error": "BlankValue"}]}
            raise RefusalError(422, {"error": "RecordInvalid", "description": "Validation errors", "details": details})
        columns = self._tables["tickets"].current()
        identifier = max(FIRST_WRITTEN_ID, columns.newest_id() + 1)
        created = {"created_at": self._lender.as_of.isoformat(), "status": "new", "description": text}
        created |= {"requester_id": asked.get("requester_id"), "submitter_id": asked.get("submitter_id")}
        self._write_ticket(identifier, {**created, **_writable(asked)}, asked, "Create")
        reply = self._ticket_reply(call, identifier)
        if key:
            row = (key, digest, dump(reply.body))
            self._arrivals.write("insert or replace into idempotency values (?, ?, ?)", [row])
            return Reply(reply.body, 201, {"X-Idempotency-Lookup": "miss"})
        return Reply(reply.body, 201)

    def _update_ticket(self, call: Call) -> Reply:
        self._row(call, self._tables["tickets"].current())
        asked = call.json().get("ticket") or {}
        self._write_ticket(int(call.params["id"]), _writable(asked), asked, "Change")
        return self._ticket_reply(call, int(call.params["id"]))

    def _write_ticket(self, identifier: int, values: dict[str, Any], asked: dict[str, Any], event: str) -> None:
        """Lay values over a ticket, now, and leave the event that the export of events will show."""
        now = self._lender.as_of
        for name in ("tags", "custom_fields"):
            if name in asked:
                values[name] = dump(asked[name])
        values |= {"updated_at": now.isoformat(), "generated_timestamp": int(now.timestamp())}
        self._keep("tickets", identifier, values)
        events = self._tables["ticket_events"].current()
        child = {"id": identifier, "event_type": event, "via": "api", **_writable(asked)}
        row = {"ticket_id": identifier, "event_type": event, "created_at": now.isoformat(), "via": "Web service"}
        row |= {"timestamp": int(now.timestamp()), "child_events": dump([child])}
        row |= {"status": values.get("status"), "updater_id": asked.get("submitter_id")}
        self._keep("ticket_events", max(FIRST_WRITTEN_ID, events.newest_id() + 1), row)
        self._arrivals.add_event("zendesk", f"{event.lower()} ticket", {"id": identifier, "ticket": asked})

    def _keep(self, name: str, identifier: int, values: dict[str, Any]) -> None:
        table = self._tables[name]
        table.write(str(identifier), values)
        self._arrivals.keep_overlay(table.name, str(identifier), table.overlays[str(identifier)])

    def _ticket_reply(self, call: Call, identifier: int) -> Reply:
        columns = self._tables["tickets"].current()
        row = columns.row_of(identifier)
        ticket = self._render(call, "tickets", columns, [row] if row is not None else [])[0]
        audit = {"id": identifier, "ticket_id": identifier, "created_at": ticket["updated_at"], "events": []}
        return Reply({"ticket": ticket, "audit": audit})

    def _render(self, call: Call, kind: str, columns: Columns, rows: Rows | Sequence[int]) -> list[dict[str, Any]]:
        part = columns.part(rows, columns.names)
        wide: dict[str, list[Any]] = {}
        for name, column in part.items():
            values = plain_values(iso_text(column, "s") if pa.types.is_timestamp(column.type) else column)
            if name in _JSON_COLUMNS:
                values = [_from_json(value) if isinstance(value, str) else value for value in values]
            wide[name] = values
        results = [dict(zip(wide, values, strict=True)) for values in zip(*wide.values(), strict=True)]
        with_comments = "comment_events" in (call.one("include") or "")
        for one in results:
            if kind == "ticket_events":
                if not with_comments:
                    one["child_events"] = [_without_comment(child) for child in one.get("child_events") or []]
            else:
                one["url"] = f"{call.base_url}/api/v2/{kind}/{one['id']}.json"
        return results


def _by_time(columns: Columns, kind: str) -> tuple[Rows, Rows]:
    """Row numbers in the order of the export, and the second of each."""

    def make() -> tuple[Rows, Rows]:
        name = {"tickets": "generated_timestamp", "users": "updated_at"}.get(kind, "created_at")
        column = columns.table[name]
        if pa.types.is_timestamp(column.type):
            column = pc.divide(pc.cast(pc.cast(column, pa.timestamp("us", "UTC")), pa.int64()), 1_000_000)
        seconds = pc.fill_null(column, 0).to_numpy().astype("int64")[columns.by_id]
        places = np.argsort(seconds, kind="stable")
        return columns.by_id[places], seconds[places]

    made: tuple[Rows, Rows] = columns.once(("time", kind), make)
    return made


def _first_after(columns: Columns, order: Rows, seconds: Rows, place: tuple[int, int]) -> int:
    """Where the rows behind a (second, id) begin."""
    start = int(np.searchsorted(seconds, place[0], side="left"))
    end = int(np.searchsorted(seconds, place[0], side="right"))
    return start + int(np.searchsorted(columns.ids[order[start:end]], place[1], side="right"))


def _write_cursor(place: tuple[int, int]) -> str:
    return base64.b64encode(f"{place[0]}.0||{place[1]}|".encode()).decode()


def _read_cursor(text: str) -> tuple[int, int]:
    try:
        second, _, rest = base64.b64decode(text, validate=True).decode().partition("||")
        return int(float(second)), int(rest.rstrip("|"))
    except ValueError:
        raise RefusalError(400, {"error": "InvalidPaginationParameter", "description": "Invalid cursor"}) from None


def _page_size(call: Call, ceiling: int) -> int:
    return max(1, min(call.integer("per_page", ceiling), ceiling))


def _writable(asked: dict[str, Any]) -> dict[str, Any]:
    return {name: asked[name] for name in _WRITABLE if name in asked}


def _from_json(text: str) -> Any:
    """Nested values are kept as JSON text; what is none is sent as it is, as a plain word is (`Web form`)."""
    try:
        return orjson.loads(text)
    except ValueError:
        return text


def _without_comment(child: dict[str, Any]) -> dict[str, Any]:
    """A comment is only hinted at unless it was asked for with `include=comment_events`."""
    if child.get("event_type", child.get("type")) != "Comment":
        return child
    shown = {key: value for key, value in child.items() if key not in ("body", "html_body", "plain_body")}
    return {**shown, "comment_present": True, "comment_public": bool(child.get("public", True))}
