"""Blueshift as the lender's marketing tool: customer profiles and custom user lists.

Wire format from Blueshift's API reference. A bulk upsert answers 200 with the objects that failed
and their errors; list calls take 25 identifiers, or 500 with `async=true`, where unknown ones are
dropped without a word, as nobody waits for the answer. Limits answer 429 without Retry-After.
[check] marks shapes the reference leaves open: the objects in a list call's `errors`, and the
listing of all lists.
"""

from __future__ import annotations

import random
import re
import uuid
from typing import Any

import orjson

from sandbox.arrivals import Arrivals, dump
from sandbox.limits import RateLimiter
from sandbox.wire import Call, RefusalError, Reply, StandIn, basic_credentials, request_id

BULK_LIMIT, LIST_LIMIT, ASYNC_LIST_LIMIT = 50, 25, 500
EMAIL_LENGTH = 64
IDENTIFIER_KEYS = ("email", "customer_id")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_LISTS = "/api/v1/custom_user_lists"


class Blueshift(StandIn):
    """The stand-in. `key` is the user API key, sent as the user name with an empty password."""

    name = "blueshift"

    def __init__(self, arrivals: Arrivals, limiter: RateLimiter, key: str, seed: int = 0) -> None:
        super().__init__()
        self._arrivals, self._limiter, self._key = arrivals, limiter, key
        self._random = random.Random(seed)
        self.route("POST", "/api/v1/customers/bulk", self._bulk)
        self.route("POST", "/api/v1/customers/delete", self._delete)
        self.route("POST", "/api/v1/customers/forget", self._delete)
        self.route("POST", "/api/v1/customers", self._upsert)
        self.route("GET", "/api/v1/customers", self._find)
        self.route("GET", "/api/v1/customers/{id}", self._show)
        self.route("POST", f"{_LISTS}/create", self._create_list)
        self.route("GET", f"{_LISTS}/id/{{id}}", self._show_list)
        self.route("GET", f"{_LISTS}/seed_lists", self._seed_lists)
        self.route("GET", _LISTS, self._all_lists)
        for verb in ("add", "remove"):
            where = "to" if verb == "add" else "from"
            self.route("PUT", f"{_LISTS}/bulk_{verb}_users_{where}_list/{{id}}", self._members)
            self.route("PUT", f"{_LISTS}/{verb}_user_{where}_list/{{id}}", self._member)
        self.route("PUT", f"{_LISTS}/overwrite_list/{{id}}", self._overwrite)
        self.route("DELETE", f"{_LISTS}/id/{{id}}", self._delete_list)

    def answer(self, call: Call) -> Reply:
        """The reply, with the request kept in order whatever came of it."""
        with self._lock:
            reply = super().answer(call)
            identifier = request_id()
            path = call.path + ("?async=true" if call.flag("async") else "")
            kept = {"method": call.method, "path": path, "status": reply.status, "request_id": identifier}
            if call.method != "GET":
                kept["body"] = _readable(call.body)
            self._arrivals.add_event("blueshift", f"{call.method} {call.path}", kept)
            return Reply(reply.body, reply.status, {**reply.headers, "x-request-id": identifier})

    def authorise(self, call: Call) -> None:
        if basic_credentials(call) != (self._key, ""):
            raise RefusalError(401, {"message": "Not authorized"})

    def count(self, call: Call) -> None:
        name = "blueshift.bulk" if call.path.startswith("/api/v1/customers/bulk") else "blueshift.general"
        if self._limiter.take(name) is not None:
            raise RefusalError(429, {"message": "Rate limit exceeded - Too many requests"})

    def unknown(self, call: Call) -> Reply:
        return Reply({"errors": [{"title": "error", "detail": "Error: Resource not found"}]}, 404)

    def malformed(self, why: str) -> Reply:
        return Reply({"error": "bad_request", "detail": why}, 400)

    def _bulk(self, call: Call) -> Reply:
        customers = call.json().get("customers")
        if not isinstance(customers, list):
            raise ValueError("customers must be an array")
        if len(customers) > BULK_LIMIT:
            raise RefusalError(413, {"error": f"You can upload maximum {BULK_LIMIT} users in one api call"})
        unlucky = self._unlucky(call, len(customers))
        failed, errors = [], []
        for number, customer in enumerate(customers):
            fault = {"internal": ["Could not process"]} if number in unlucky else _fault_of(customer)
            if fault:
                failed.append(customer)
                errors.append({"status": 400, "error_data": fault})
            else:
                self._keep(customer)
        return Reply({"customers": failed, "errors": errors})

    def _unlucky(self, call: Call, size: int) -> set[int]:
        """Row numbers that a fault makes fail: its share of the batch, at least one."""
        if call.failing_share is None or not size:
            return set()
        return set(self._random.sample(range(size), min(size, max(1, round(size * call.failing_share)))))

    def _upsert(self, call: Call) -> Reply:
        customer = call.json()
        if fault := _fault_of(customer):
            raise RefusalError(400, {"errors": [{"detail": next(iter(fault.values()))[0]}]})
        self._keep(customer)
        return Reply({"status": "ok"})

    def _keep(self, customer: dict[str, Any]) -> None:
        """Create or update: found by `customer_id`, else by `email` among those without another id."""
        customer_id, email = customer.get("customer_id"), customer.get("email")
        found = self._profile("customer_id", customer_id) if customer_id else None
        if found is None and email:
            other = self._profile("email", email)
            found = other if other and (not customer_id or not other.get("customer_id")) else None
        now = self._arrivals.now()
        profile = {"uuid": str(uuid.uuid4()), "created_at": now, **(found or {}), **customer, "updated_at": now}
        row = (profile["uuid"], _text(profile.get("customer_id")), _lower(profile.get("email")), dump(profile))
        upsert = (
            "insert into profile values (?, ?, ?, ?) on conflict (uuid) do update "
            "set customer_id = excluded.customer_id, email = excluded.email, body = excluded.body"
        )
        self._arrivals.write(upsert, [row])

    def _profile(self, key: str, value: object) -> dict[str, Any] | None:
        query = {
            "email": "select body from profile where email = ?",
            "customer_id": "select body from profile where customer_id = ?",
            "uuid": "select body from profile where uuid = ?",
        }[key]
        found = self._arrivals.read(query, _lower(value) if key == "email" else _text(value))
        return dict(orjson.loads(found[0][0])) if found else None

    def _find(self, call: Call) -> Reply:
        found = self._profile("email", call.one("email") or "")
        return Reply({"users": [found] if found else []})

    def _show(self, call: Call) -> Reply:
        """By uuid, as the vendor has it, or by customer id for convenience."""
        found = self._profile("uuid", call.params["id"]) or self._profile("customer_id", call.params["id"])
        if found is None:
            return self.unknown(call)
        return Reply({"customer": found})

    def _delete(self, call: Call) -> Reply:
        """Erase a profile and its memberships; one that is not there is no error."""
        asked = call.json()
        key = next((one for one in IDENTIFIER_KEYS if asked.get(one)), None)
        if key is None:
            raise ValueError("email or customer_id is needed")
        if found := self._profile(key, asked[key]):
            self._arrivals.write("delete from profile where uuid = ?", [(found["uuid"],)])
            values = [(value,) for value in (_text(found.get("customer_id")), _lower(found.get("email"))) if value]
            self._arrivals.write("delete from member where value = ?", values)
        return Reply({"status": "ok"})

    def _create_list(self, call: Call) -> Reply:
        asked = call.json()
        name, source = str(asked.get("name") or ""), str(asked.get("source") or "email")
        taken = self._arrivals.read("select id from user_list where name = ?", name)
        if not name or not asked.get("description") or source not in IDENTIFIER_KEYS or taken:
            reason = "Name has already been taken" if taken else "Validation failed"
            raise RefusalError(422, {"success": False, "error": reason})
        now = self._arrivals.now()
        body = {"description": asked["description"], "source": source, "status": "ready", "uuid": str(uuid.uuid4())}
        body |= {"created_at": now, "updated_at": now, "is_seed_list": str(asked.get("is_seed_list", 0)) == "1"}
        body |= {"deleted_at": None, "import_method": "api", "version": "v2"}
        self._arrivals.write("insert into user_list (name, body) values (?, ?)", [(name, dump(body))])
        list_id = self._arrivals.read("select id from user_list where name = ?", name)[0][0]
        return Reply(self._list_body(list_id))

    def _list_body(self, list_id: int) -> dict[str, Any]:
        """A list as the vendor shows it. Raises RefusalError when it is not there or was deleted."""
        found = self._arrivals.read("select name, body from user_list where id = ?", list_id)
        body = orjson.loads(found[0][1]) if found else {"deleted_at": True}
        if body["deleted_at"]:
            raise RefusalError(404, {"errors": [{"title": "error", "detail": "The list has been deleted"}]})
        members = self._arrivals.read("select count(*) from member where list_id = ?", list_id)[0][0]
        return {"id": list_id, "name": found[0][0], "filename": found[0][0], "user_count": members, **body}

    def _list_id(self, call: Call) -> int:
        return int(call.params["id"]) if call.params["id"].isdigit() else 0

    def _show_list(self, call: Call) -> Reply:
        return Reply(self._list_body(self._list_id(call)))

    def _listing(self) -> list[dict[str, Any]]:
        lists = self._arrivals.read("select id from user_list where body ->> 'deleted_at' is null order by id")
        return [self._list_body(list_id) for (list_id,) in lists]

    def _all_lists(self, call: Call) -> Reply:
        return Reply({"custom_user_lists": self._listing()})

    def _seed_lists(self, call: Call) -> Reply:
        return Reply([one for one in self._listing() if one["is_seed_list"]])

    def _delete_list(self, call: Call) -> Reply:
        list_id = self._list_id(call)
        self._list_body(list_id)
        stamp = (self._arrivals.now(), list_id)
        self._arrivals.write(
            "update user_list set body = json_set(body, '$.deleted_at', ?), name = name || ' (deleted ' || id || ')'"
            " where id = ?",
            [stamp],
        )
        self._arrivals.write("delete from member where list_id = ?", [(list_id,)])
        return Reply({"status": "ok"})

    def _members(self, call: Call) -> Reply:
        asked, is_async = call.json(), call.flag("async")
        values = asked.get("identifier_values")
        adding = "/bulk_add_" in call.path
        verb, limit = "add" if adding else "remove", ASYNC_LIST_LIMIT if is_async else LIST_LIMIT
        list_id = self._list_id(call)
        source = self._list_body(list_id)["source"]
        if asked.get("identifier_key") != source or not isinstance(values, list):
            raise RefusalError(400, {"errors": [{"detail": "Input params not valid"}]})
        if len(values) > limit:
            kind = "async api call" if is_async else "api call"
            raise RefusalError(413, {"error": f"You can {verb} maximum {limit} users in one {kind}"})
        unlucky = self._unlucky(call, len(values))
        errors = []
        rows = []
        for number, value in enumerate(values):
            known = not adding or self._profile(source, value) is not None
            if number in unlucky or not known:
                detail = "Could not process" if number in unlucky else "User not found"
                errors.append({"identifier_key": source, "identifier_value": value, "detail": detail})
            else:
                rows.append((list_id, _lower(value) if source == "email" else str(value)))
        statement = "insert or ignore into member values (?, ?)"
        self._arrivals.write(statement if adding else "delete from member where list_id = ? and value = ?", rows)
        return Reply({"status": "ok", "errors": [] if is_async else errors})

    def _member(self, call: Call) -> Reply:
        asked = call.json()
        several = {**asked, "identifier_values": [asked.get("identifier_value")]}
        path = call.path.replace("/add_user_to", "/bulk_add_users_to").replace("/remove_user_", "/bulk_remove_users_")
        return self._members(Call("PUT", path, {}, call.headers, orjson.dumps(several), call.base_url, call.params))

    def _overwrite(self, call: Call) -> Reply:
        """Accepted and kept in the log; the file on S3 is out of this sandbox's reach, so members stay."""
        self._list_body(self._list_id(call))
        if not call.json().get("s3_file_path"):
            raise ValueError("s3_file_path is needed")
        return Reply({"status": "ok"})


def _fault_of(customer: object) -> dict[str, list[str]] | None:
    """Why a customer object is refused, as the vendor's `error_data`."""
    if not isinstance(customer, dict) or not (customer.get("email") or customer.get("customer_id")):
        return {"user_identifier_missing": ["No valid identifier found"]}
    email = customer.get("email")
    if email is None:
        return None
    if not isinstance(email, str) or len(email) > EMAIL_LENGTH or not _EMAIL.fullmatch(email):
        return {"email": ["Email is not valid"]}
    return None


def _readable(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


def _text(value: object) -> str | None:
    return None if value in (None, "") else str(value)


def _lower(value: object) -> str | None:
    return None if value in (None, "") else str(value).lower()
