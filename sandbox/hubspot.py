"""HubSpot's CRM v3 objects as the lender's CRM: contacts and deals, read and written.

Wire format, error bodies and figures from HubSpot's API reference. A search returns live rows only
and ends at 10,000 results; archived rows come from the list with `archived=true`. Values are text;
a property that was not asked for is absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pyarrow.compute as pc

from sandbox.arrivals import Arrivals
from sandbox.hubspot_search import SYSTEM_COLUMNS, property_type, search_rows
from sandbox.lender import Columns, Lender, Rows, WrittenTable, iso_text, plain_values
from sandbox.limits import RateLimiter
from sandbox.wire import Call, RefusalError, Reply, StandIn, bearer_token, request_id

SEARCH_CEILING = 10_000
LIST_LIMIT, SEARCH_LIMIT, BATCH_LIMIT = 100, 200, 100
FIRST_WRITTEN_ID = 900_000_000_001
_VENDOR_PROPERTIES = {
    *("hs_object_id", "createdate", "lastmodifieddate", "hs_lastmodifieddate", "hs_language", "lifecyclestage"),
    *("firstname", "lastname", "phone", "email", "country", "date_of_birth"),
    *("dealname", "dealstage", "amount", "deal_currency_code"),
}
"""Properties that every portal has; the rest are the lender's own."""
_META = ("id", "created_at", "updated_at", "archived", "archived_at")


@dataclass(frozen=True)
class ObjectType:
    """One CRM object: the lender's table behind it, its modified property, what comes when nothing is asked for."""

    table: str
    modified: str
    defaults: tuple[str, ...]


OBJECTS = {
    "contacts": ObjectType("crm_contacts", "lastmodifieddate", ("email", "firstname", "lastname")),
    "deals": ObjectType("crm_deals", "hs_lastmodifieddate", ("amount", "dealname", "dealstage")),
}


class HubSpot(StandIn):
    """The stand-in. `token` is the private app's access token."""

    name = "hubspot"

    def __init__(self, lender: Lender, arrivals: Arrivals, limiter: RateLimiter, token: str) -> None:
        super().__init__()
        self._lender, self._arrivals, self._limiter, self._token = lender, arrivals, limiter, token
        self._tables = {
            name: WrittenTable(lender, kind.table, arrivals.overlays(kind.table)) for name, kind in OBJECTS.items()
        }
        objects = "/crm/v3/objects/{object}"
        self.route("GET", objects, self._list)
        self.route("POST", objects, self._create)
        self.route("POST", f"{objects}/search", self._search)
        self.route("POST", f"{objects}/batch/read", self._batch_read)
        self.route("POST", f"{objects}/batch/update", self._batch_update)
        self.route("GET", f"{objects}/{{id}}", self._get)
        self.route("PATCH", f"{objects}/{{id}}", self._update)
        self.route("DELETE", f"{objects}/{{id}}", self._archive)
        self.route("GET", "/crm/v3/properties/{object}", self._properties)

    def authorise(self, call: Call) -> None:
        if bearer_token(call) != self._token:
            message = "Authentication credentials not found. This API supports OAuth 2.0 authentication."
            raise RefusalError(401, _error(message, "INVALID_AUTHENTICATION"))

    def count(self, call: Call) -> None:
        is_search = call.path.rstrip("/").endswith("/search")
        policy, name = ("SECONDLY", "hubspot.search") if is_search else ("TEN_SECONDLY_ROLLING", "hubspot.general")
        if self._limiter.take(name) is not None:
            which = "secondly" if is_search else "ten_secondly_rolling"
            body = _error(f"You have reached your {which} limit.", "RATE_LIMITS")
            raise RefusalError(429, {**body, "errorType": "RATE_LIMIT", "policyName": policy})

    def unknown(self, call: Call) -> Reply:
        return Reply(_error(f"No such endpoint: {call.method} {call.path}", "OBJECT_NOT_FOUND"), 404)

    def malformed(self, why: str) -> Reply:
        return Reply(_error(f"There was a problem with the request: {why}", "VALIDATION_ERROR"), 400)

    def _list(self, call: Call) -> Reply:
        """Rows by id; `after` is the last id of the page before."""
        kind, columns = self._of(call)
        limit = _bounded(call.integer("limit", 10), LIST_LIMIT)
        rows, ids = _by_state(columns, archived=call.flag("archived"))
        start = int(np.searchsorted(ids, int(call.one("after") or -1), side="right"))
        page = rows[start : start + limit]
        body: dict[str, Any] = {"results": self._render(kind, columns, page, _names(call.query.get("properties")))}
        if start + limit < len(rows):
            after = str(columns.ids[page[-1]])
            link = f"{call.base_url}{call.path}?limit={limit}&after={after}"
            body["paging"] = {"next": {"after": after, "link": link}}
        return Reply(body)

    def _search(self, call: Call) -> Reply:
        kind, columns = self._of(call)
        query = call.json()
        limit, start = _bounded(int(query.get("limit") or 10), SEARCH_LIMIT), int(query.get("after") or 0)
        if start >= SEARCH_CEILING:
            raise ValueError(f"paging beyond {SEARCH_CEILING} results is not supported")
        asked = (query.get("filterGroups") or [], query.get("sorts") or [], str(query.get("query") or "").lower())

        def find() -> Rows:
            rows = search_rows(columns, _live(columns), asked[0], asked[1])
            return _containing(columns, rows, asked[2]) if asked[2] else rows

        rows: Rows = columns.lately(("search", orjson.dumps(asked)), find)
        end = min(start + limit, SEARCH_CEILING)
        results = self._render(kind, columns, rows[start:end], list(query.get("properties") or []))
        body: dict[str, Any] = {"total": len(rows), "results": results}
        if end < len(rows):
            body["paging"] = {"next": {"after": str(end)}}
        return Reply(body)

    def _get(self, call: Call) -> Reply:
        kind, columns = self._of(call)
        row = self._row(columns, call.params["id"], archived=call.flag("archived"))
        return Reply(self._render(kind, columns, [row], _names(call.query.get("properties")))[0])

    def _batch_read(self, call: Call) -> Reply:
        kind, columns = self._of(call)
        asked = call.json()
        if asked.get("idProperty"):
            raise ValueError("idProperty is not supported here")
        found, missing = [], []
        for one in _inputs(asked):
            row = columns.row_of(int(one["id"]))
            live = row is not None and not columns.table["archived"][row].as_py()
            found.append(row) if live else missing.append(str(one["id"]))
        return self._batch(self._render(kind, columns, np.array(found, np.int64), asked.get("properties")), missing)

    def _batch_update(self, call: Call) -> Reply:
        kind, columns = self._of(call)
        done, missing = [], []
        for one in _inputs(call.json()):
            try:
                self._row(columns, str(one["id"]))
            except RefusalError:
                missing.append(str(one["id"]))
            else:
                done.append(self._write(call.params["object"], str(one["id"]), one.get("properties") or {}))
        columns = self._tables[call.params["object"]].current()
        rows = [row for identifier in done if (row := columns.row_of(int(identifier))) is not None]
        return self._batch(self._render(kind, columns, rows, list(columns.names)), missing)

    def _batch(self, results: list[dict[str, Any]], missing: list[str]) -> Reply:
        now = _stamp(self._lender.as_of)
        body: dict[str, Any] = {"status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now}
        if not missing:
            return Reply(body)
        message = "Could not get some objects, they may be deleted or not exist. Check that ids are valid."
        error = {"status": "error", "category": "OBJECT_NOT_FOUND", "message": message, "context": {"ids": missing}}
        return Reply({**body, "numErrors": 1, "errors": [error]}, 207)

    def _create(self, call: Call) -> Reply:
        kind, columns = self._of(call)
        name = call.params["object"]
        properties = call.json().get("properties") or {}
        if name == "contacts" and (taken := self._with_email(columns, properties.get("email"))):
            raise RefusalError(409, _error(f"Contact already exists. Existing ID: {taken}", "CONFLICT"))
        identifier = str(max(FIRST_WRITTEN_ID, columns.newest_id() + 1))
        now = self._lender.as_of.isoformat()
        self._write(name, identifier, properties, {"created_at": now, "archived": False})
        columns = self._tables[name].current()
        row = self._row(columns, identifier)
        return Reply(self._render(kind, columns, [row], list(properties))[0], 201)

    def _update(self, call: Call) -> Reply:
        kind, columns = self._of(call)
        self._row(columns, call.params["id"])
        properties = call.json().get("properties") or {}
        self._write(call.params["object"], call.params["id"], properties)
        columns = self._tables[call.params["object"]].current()
        return Reply(self._render(kind, columns, [self._row(columns, call.params["id"])], list(properties))[0])

    def _archive(self, call: Call) -> Reply:
        _, columns = self._of(call)
        row = columns.row_of(int(call.params["id"]))
        if row is not None and not columns.table["archived"][row].as_py():
            now = self._lender.as_of.isoformat()
            self._write(call.params["object"], call.params["id"], {}, {"archived": True, "archived_at": now})
        return Reply(None, 204)

    def _properties(self, call: Call) -> Reply:
        kind, columns = self._of(call)
        names = sorted({*columns.names, "createdate", "hs_object_id", kind.modified} - set(_META))
        return Reply({"results": [_describe(name) for name in names]})

    def _of(self, call: Call) -> tuple[ObjectType, Columns]:
        name = call.params["object"]
        if name not in OBJECTS:
            raise RefusalError(400, _error(f"Unable to infer object type from: {name}", "VALIDATION_ERROR"))
        return OBJECTS[name], self._tables[name].current()

    def _row(self, columns: Columns, identifier: str, *, archived: bool = False) -> int:
        row = columns.row_of(int(identifier)) if identifier.isdigit() else None
        if row is None or bool(columns.table["archived"][row].as_py()) != archived:
            raise RefusalError(404, _error("resource not found", "OBJECT_NOT_FOUND"))
        return row

    def _with_email(self, columns: Columns, email: object) -> int | None:
        if not email:
            return None
        same = [{"filters": [{"propertyName": "email", "operator": "EQ", "value": email}]}]
        rows = search_rows(columns, _live(columns), same, [])
        return int(columns.ids[rows[0]]) if len(rows) else None

    def _write(
        self, name: str, identifier: str, properties: Mapping[str, Any], meta: Mapping[str, Any] | None = None
    ) -> str:
        """Lay properties over a row, now. Raises RefusalError for properties the portal does not have."""
        table, kind = self._tables[name], OBJECTS[name]
        own = {"hs_object_id", "createdate", kind.modified}
        for one in properties:
            if one not in table.current().names or one in _META:
                raise RefusalError(400, _error(f'Property values were not valid: "{one}" does not exist', _INVALID))
        values = {key: None if value is None else str(value) for key, value in properties.items() if key not in own}
        table.write(identifier, {**values, **(meta or {}), "updated_at": self._lender.as_of.isoformat()})
        self._arrivals.keep_overlay(kind.table, identifier, table.overlays[identifier])
        self._arrivals.add_event("hubspot", f"write {name}", {"id": identifier, "properties": dict(properties)})
        return identifier

    def _render(
        self, kind: ObjectType, columns: Columns, rows: Rows | Sequence[int], wanted: Sequence[str] | None
    ) -> list[dict[str, Any]]:
        names = [
            name
            for name in dict.fromkeys(wanted or kind.defaults)
            if name in columns.names and name not in _META and name not in SYSTEM_COLUMNS and name != "hs_object_id"
        ]
        part = columns.part(rows, [*_META, *names])
        identifiers, archived = plain_values(part["id"]), plain_values(part["archived"])
        created, updated, archived_at = (
            plain_values(iso_text(part[name], "ms")) for name in ("created_at", "updated_at", "archived_at")
        )
        own = {"createdate": created, "hs_object_id": identifiers, kind.modified: updated}
        wide = {name: plain_values(part[name]) for name in names if name not in own} | own
        every = (dict(zip(wide, values, strict=True)) for values in zip(*wide.values(), strict=True))
        results = [
            {"id": one, "properties": properties, "createdAt": made, "updatedAt": changed, "archived": bool(gone)}
            for one, properties, made, changed, gone in zip(identifiers, every, created, updated, archived, strict=True)
        ]
        for one, when in zip(results, archived_at, strict=True):
            if one["archived"]:
                one["archivedAt"] = when or one["updatedAt"]
        return results


_INVALID = "VALIDATION_ERROR"


def _inputs(asked: dict[str, Any]) -> list[dict[str, Any]]:
    inputs = list(asked.get("inputs") or [])
    if len(inputs) > BATCH_LIMIT:
        raise ValueError(f"at most {BATCH_LIMIT} inputs in a batch")
    return inputs


def _live(columns: Columns) -> Rows:
    return _by_state(columns, archived=False)[0]


def _by_state(columns: Columns, *, archived: bool) -> tuple[Rows, Rows]:
    """Row numbers of one state in the order of their ids, and these ids."""

    def make() -> tuple[Rows, Rows]:
        is_archived = columns.table["archived"].to_numpy().astype(bool)
        chosen: Rows = columns.by_id[is_archived[columns.by_id] == archived]
        return chosen, columns.ids[chosen]

    rows: tuple[Rows, Rows] = columns.once(("state", archived), make)
    return rows


def _containing(columns: Columns, rows: Rows, words: str) -> Rows:
    names = [name for name in ("firstname", "lastname", "email", "phone", "dealname") if name in columns.names]
    found = np.zeros(len(columns), bool)
    for name in names:
        held = pc.match_substring(columns.table[name], words, ignore_case=True)
        found |= pc.fill_null(held, False).to_numpy().astype(bool)
    return rows[found[rows]]


def _bounded(limit: int, ceiling: int) -> int:
    if not 0 < limit <= ceiling:
        raise ValueError(f"limit must be between 1 and {ceiling}")
    return limit


def _names(values: Sequence[str] | None) -> list[str]:
    """Property names, repeated or joined by commas."""
    return [name for value in values or () for name in value.split(",") if name]


def _stamp(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _describe(name: str) -> dict[str, Any]:
    kind = property_type(name)
    field_type = {"datetime": "date", "date": "date", "number": "number", "bool": "booleancheckbox"}.get(kind, "text")
    return {
        "name": name,
        "label": name.replace("_", " ").capitalize(),
        "type": kind,
        "fieldType": field_type,
        "description": "",
        "groupName": "contactinformation",
        "options": [],
        "displayOrder": -1,
        "hidden": False,
        "formField": False,
        "hasUniqueValue": name == "hs_object_id",
        "hubspotDefined": name in _VENDOR_PROPERTIES,
    }


def _error(message: str, category: str) -> dict[str, Any]:
    return {"status": "error", "message": message, "correlationId": request_id(), "category": category}
