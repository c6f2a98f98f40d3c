"""Blueshift: a profile for each person, and membership of a custom user list.

Source: the vendor's API reference. Profiles go by `customers/bulk`, whose 200 can be partial.
Membership goes by the synchronous list calls of 25: the asynchronous ones take 500 but answer
before they work and drop unknown identifiers without a word, so no row of theirs is accounted for;
since profiles are held to 5 calls of 50 a second anyway, calls of 25 cost no time.
A list's members cannot be read back, only counted: rows are accepted, never confirmed.
[check] marks what the reference leaves open and settings can change: the rate of the list calls,
the objects in their `errors`, the listing of all lists.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from activation.destinations.contract import Contract, RemoteListGoneError, Row, RowResult, State
from activation.destinations.http import Answer, UnansweredError, VendorClient
from activation.destinations.rates import RateBudget, Sleep
from lendloop.errors import PermanentError

CONTRACT = Contract(
    name="blueshift",
    wave_rows=500,
    batch_rows=50,
    batch_bytes=1_000_000,
    confirmation="count",
    idempotent=True,
    can_remove=True,
    concurrency=4,
    calls_per_s={"customers": 5.0, "lists": 10.0},
    backoff_s=(1.0, 2.0, 4.0, 8.0),
    retry_statuses=frozenset({409, 429, 500, 502, 503, 504}),
    error_map={
        401: "the key was refused",
        403: "the key may not do this",
        404: "not there",
        409: "conflict",
        413: "too many rows in a call",
        429: "rate limit",
        503: "unavailable",
    },
)
LIST_ROWS = 25
_WAVE_S = 2.0
"""A wave is about so many seconds of calls: what a crash leaves in flight, and sends again."""


def contract_at(calls_per_s: float | None) -> Contract:
    """The contract at the pace that the vendor grants an account; without one, at the documented pace.

    List calls may come twice as often as profile calls, as they take half as many rows.
    """
    if calls_per_s is None:
        return CONTRACT
    wave_rows = int(_WAVE_S * calls_per_s) * CONTRACT.batch_rows
    return replace(
        CONTRACT,
        calls_per_s={"customers": calls_per_s, "lists": 2 * calls_per_s},
        wave_rows=min(max(CONTRACT.wave_rows, wave_rows), 20_000),
        concurrency=min(max(CONTRACT.concurrency, int(calls_per_s / 10)), 16),
    )


_LISTS = "/api/v1/custom_user_lists"


class Blueshift:
    """One account. `key` is the user API key, sent as user name with an empty password."""

    contract = CONTRACT

    def __init__(
        self, base_url: str, key: str, rates: Path, *, sleep: Sleep = asyncio.sleep, contract: Contract = CONTRACT
    ) -> None:
        self.contract = contract
        budget = RateBudget(rates, "blueshift", f"{base_url}:{key}", sleep=sleep)
        self._client = VendorClient(contract, base_url, budget, auth=(key, ""), sleep=sleep)

    @property
    def requests(self) -> int:
        return self._client.requests

    async def find_or_create(self, name: str) -> str:
        """The list's id. Looked for first: an earlier pass may have been cut off after making it."""
        if found := await self._find(name):
            return found
        body = {"name": name, "description": f"Audience {name}", "source": "customer_id", "is_seed_list": 0}
        answer = await self._client.call("lists", "POST", f"{_LISTS}/create", body)
        if answer.status < 300 and isinstance(answer.body, dict) and answer.body.get("id") is not None:
            return str(answer.body["id"])
        if found := await self._find(name):
            return found
        raise self._refusal(answer, f"list {name} could not be made")

    async def _find(self, name: str) -> str | None:
        answer = await self._client.call("lists", "GET", _LISTS)
        if answer.status == 404:
            return None
        if answer.status >= 300:
            raise self._refusal(answer, "the lists could not be read")
        lists = answer.body.get("custom_user_lists", []) if isinstance(answer.body, dict) else answer.body
        ids = [
            str(one["id"]) for one in lists or [] if isinstance(one, dict) and one.get("name") == name and "id" in one
        ]
        return ids[0] if ids else None

    async def upsert(self, remote_id: str, rows: list[Row]) -> list[RowResult]:
        """Profiles first, then membership of those that were taken and are not surely members, batch by batch."""
        return await self._gather([self._upsert_batch(remote_id, batch) for batch in self._batches(rows)])

    async def _upsert_batch(self, remote_id: str, rows: list[Row]) -> list[RowResult]:
        results = await self._profiles(rows)
        taken = {result.person_key for result in results if result.state == "accepted"}
        joining = [row for row in rows if row.person_key in taken and row.membership_unsure]
        joined = await self._gather([self._membership("add", remote_id, part) for part in _chunks(joining, LIST_ROWS)])
        changed = {result.person_key: result for result in joined}
        return [changed.get(result.person_key, result) for result in results]

    async def remove(self, remote_id: str, rows: list[Row]) -> list[RowResult]:
        """Out of the list; the profile stays, as other audiences may use it."""
        return await self._gather([self._membership("remove", remote_id, part) for part in _chunks(rows, LIST_ROWS)])

    async def count(self, remote_id: str) -> int | None:
        answer = await self._client.call("lists", "GET", f"{_LISTS}/id/{remote_id}")
        if answer.status == 404:
            raise RemoteListGoneError(f"list {remote_id} is gone")
        count = answer.body.get("user_count") if isinstance(answer.body, dict) else None
        return int(count) if count is not None else None

    async def close(self) -> None:
        await self._client.close()

    async def _gather(self, calls: list[Any]) -> list[RowResult]:
        """All to their end, so that no request is left in the air; then the first failure, if any, is raised."""
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [result for answer in answers if not isinstance(answer, BaseException) for result in answer]

    def _batches(self, rows: list[Row]) -> list[list[Row]]:
        """Within rows and bytes of one call."""
        batches: list[list[Row]] = []
        size = 0
        for row in rows:
            length = len(row.payload.encode()) + len(row.identifier) + 32
            full = batches and (
                len(batches[-1]) >= self.contract.batch_rows or size + length > (self.contract.batch_bytes or 2**62)
            )
            if not batches or full:
                batches.append([])
                size = 0
            batches[-1].append(row)
            size += length
        return batches

    async def _profiles(self, rows: list[Row]) -> list[RowResult]:
        customers = [{**orjson.loads(row.payload), "customer_id": row.identifier} for row in rows]
        try:
            answer = await self._client.call("customers", "POST", "/api/v1/customers/bulk", {"customers": customers})
        except UnansweredError as error:
            return _all(rows, "planned" if error.taken is False else "unknown", str(error))
        if answer.status in (400, 413, 422):
            if len(rows) == 1:
                return _all(rows, "rejected", self._reason(answer))
            half = len(rows) // 2
            return await self._profiles(rows[:half]) + await self._profiles(rows[half:])
        if answer.status >= 300:
            raise self._refusal(answer, "profiles")
        if not isinstance(answer.body, dict) or not {"customers", "errors"} & answer.body.keys():
            return _all(rows, "unknown", "an answer of another shape")
        return self._partial(rows, answer)

    def _partial(self, rows: list[Row], answer: Answer) -> list[RowResult]:
        """Row by row out of a 200: named rows failed; when a failure names no row, the others are unknown."""
        failed, errors = answer.body.get("customers") or [], answer.body.get("errors") or []
        reasons: dict[str, str] = {}
        for number, customer in enumerate(failed):
            identifier = customer.get("customer_id") if isinstance(customer, dict) else None
            if identifier is not None:
                detail = errors[number] if number < len(errors) else {}
                reasons[str(identifier)] = _fault_names(detail)
        known = {row.identifier for row in rows}
        unmapped = max(len(failed), len(errors)) > len(reasons.keys() & known)
        return [
            RowResult(row.person_key, "rejected", reasons[row.identifier])
            if row.identifier in reasons
            else RowResult(row.person_key, "unknown", "a failure in this call names no row")
            if unmapped
            else RowResult(row.person_key, "accepted")
            for row in rows
        ]

    async def _membership(self, verb: str, remote_id: str, rows: list[Row]) -> list[RowResult]:
        path = (
            f"{_LISTS}/bulk_add_users_to_list/{remote_id}"
            if verb == "add"
            else f"{_LISTS}/bulk_remove_users_from_list/{remote_id}"
        )
        body = {"identifier_key": "customer_id", "identifier_values": [row.identifier for row in rows]}
        try:
            answer = await self._client.call("lists", "PUT", path, body)
        except UnansweredError as error:
            # the profile is there already, so an addition that was refused is not "nothing happened"
            return _all(rows, "planned" if error.taken is False and verb == "remove" else "unknown", str(error))
        if answer.status == 404:
            raise RemoteListGoneError(f"list {remote_id} is gone")
        if answer.status in (400, 413, 422) and len(rows) > 1:
            half = len(rows) // 2
            return await self._membership(verb, remote_id, rows[:half]) + await self._membership(
                verb, remote_id, rows[half:]
            )
        if answer.status in (400, 413, 422):
            return _all(rows, "rejected", self._reason(answer))
        if answer.status >= 300:
            raise self._refusal(answer, f"membership of list {remote_id}")
        if not isinstance(answer.body, dict) or answer.body.get("status") != "ok":
            return _all(rows, "unknown", "an answer that is not ok")
        errors = answer.body.get("errors") or []
        reasons = {
            str(error["identifier_value"]): str(error.get("detail") or "refused")
            for error in errors
            if isinstance(error, dict) and "identifier_value" in error
        }
        unmapped = len(errors) > len(reasons.keys() & {row.identifier for row in rows})
        state: State = "unknown" if unmapped else "accepted"
        return [
            RowResult(row.person_key, "rejected", reasons[row.identifier])
            if row.identifier in reasons
            else RowResult(row.person_key, state, "a failure in this call names no row" if unmapped else None)
            for row in rows
        ]

    def _reason(self, answer: Answer) -> str:
        return f"{answer.status} {self.contract.error_map.get(answer.status, 'refused')}"

    def _refusal(self, answer: Answer, what: str) -> PermanentError:
        hint = "; check LENDLOOP_BLUESHIFT_KEY" if answer.status in (401, 403) else ""
        return PermanentError(f"blueshift: {what}: {self._reason(answer)} (request id {answer.request_id}){hint}")


def _chunks(rows: list[Row], size: int) -> list[list[Row]]:
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def _all(rows: list[Row], state: State, error: str) -> list[RowResult]:
    return [RowResult(row.person_key, state, error) for row in rows]


def _fault_names(error: object) -> str:
    """The names of a row's faults, without the values that may carry personal data."""
    data = error.get("error_data") if isinstance(error, dict) else None
    return json.dumps(data)[:200] if isinstance(data, dict) else "refused"
