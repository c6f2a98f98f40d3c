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
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from json.encoder import encode_basestring
from operator import not_
from pathlib import Path

import orjson

from activation.destinations.contract import Contract, RemoteListGoneError, RowResult, Rows, State
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
"""A wave is about so many seconds of calls. A crash leaves three in flight at most, which are sent again."""


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


_Work = Callable[[Rows], Awaitable[list[RowResult]]]
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
        answer = await self._client.call("lists", "POST", f"{_LISTS}/create", orjson.dumps(body))
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

    async def upsert(self, remote_id: str, rows: Rows) -> list[RowResult]:
        """Profiles first, then membership of those that were taken and are not surely members, batch by batch."""
        return await self._each(partial(self._upsert_batch, remote_id), rows.parts(self.contract.batch_rows))

    async def _upsert_batch(self, remote_id: str, rows: Rows) -> list[RowResult]:
        results = []
        for result in await self._profiles(rows):
            if result.state != "accepted":
                results.append(result)
                continue
            taken = rows.of(result.person_keys)
            joining = taken.where(taken.membership_unsure)
            for part in joining.parts(LIST_ROWS):
                results += await self._membership("add", remote_id, part)
            if len(joining) < len(taken):
                results += _all(taken.where(map(not_, taken.membership_unsure)), "accepted")
        return results

    async def remove(self, remote_id: str, rows: Rows) -> list[RowResult]:
        """Out of the list; the profile stays, as other audiences may use it."""
        return await self._each(partial(self._membership, "remove", remote_id), rows.parts(LIST_ROWS))

    async def count(self, remote_id: str) -> int | None:
        answer = await self._client.call("lists", "GET", f"{_LISTS}/id/{remote_id}")
        if answer.status == 404:
            raise RemoteListGoneError(f"list {remote_id} is gone")
        count = answer.body.get("user_count") if isinstance(answer.body, dict) else None
        return int(count) if count is not None else None

    async def close(self) -> None:
        await self._client.close()

    async def _halves(self, work: _Work, rows: Rows) -> list[RowResult]:
        half = len(rows) // 2
        return await work(rows.cut(0, half)) + await work(rows.cut(half, len(rows)))

    async def _each(self, work: _Work, batches: Iterable[Rows]) -> list[RowResult]:
        """The work for each batch, as many at once as the contract allows.

        After a failure no batch is begun, each that was begun comes to its end, and the failure is raised.
        """
        waiting = (batch for batch in batches)
        results: list[RowResult] = []

        async def worker() -> None:
            try:
                for batch in waiting:
                    results.extend(await work(batch))
            except BaseException:
                waiting.close()
                raise

        workers = [worker() for _ in range(self.contract.concurrency)]
        for ended in await asyncio.gather(*workers, return_exceptions=True):
            if isinstance(ended, BaseException):
                raise ended
        return results

    async def _profiles(self, rows: Rows) -> list[RowResult]:
        body = f'{{"customers":[{",".join(_profiles_text(rows))}]}}'.encode()
        if len(body) > (self.contract.batch_bytes or 2**62) and len(rows) > 1:
            return await self._halves(self._profiles, rows)
        try:
            answer = await self._client.call("customers", "POST", "/api/v1/customers/bulk", body)
        except UnansweredError as error:
            return _all(rows, "planned" if error.taken is False else "unknown", str(error))
        if answer.status in (400, 413, 422):
            if len(rows) == 1:
                return _all(rows, "rejected", self._reason(answer))
            return await self._halves(self._profiles, rows)
        if answer.status >= 300:
            raise self._refusal(answer, "profiles")
        if not isinstance(answer.body, dict) or not {"customers", "errors"} & answer.body.keys():
            return _all(rows, "unknown", "an answer of another shape")
        return self._partial(rows, answer)

    def _partial(self, rows: Rows, answer: Answer) -> list[RowResult]:
        """Row by row out of a 200: named rows failed; when a failure names no row, the others are unknown."""
        failed, errors = answer.body.get("customers") or [], answer.body.get("errors") or []
        reasons: dict[str, str] = {}
        for number, customer in enumerate(failed):
            identifier = customer.get("customer_id") if isinstance(customer, dict) else None
            if identifier is not None:
                detail = errors[number] if number < len(errors) else {}
                reasons[str(identifier)] = _fault_names(detail)
        return _by_name(rows, reasons, max(len(failed), len(errors)))

    async def _membership(self, verb: str, remote_id: str, rows: Rows) -> list[RowResult]:
        path = (
            f"{_LISTS}/bulk_add_users_to_list/{remote_id}"
            if verb == "add"
            else f"{_LISTS}/bulk_remove_users_from_list/{remote_id}"
        )
        body = {"identifier_key": "customer_id", "identifier_values": rows.identifiers}
        try:
            answer = await self._client.call("lists", "PUT", path, orjson.dumps(body))
        except UnansweredError as error:
            # the profile is there already, so an addition that was refused is not "nothing happened"
            return _all(rows, "planned" if error.taken is False and verb == "remove" else "unknown", str(error))
        if answer.status == 404:
            # who stands on a list that is taken for gone is forgotten: its own page must say so too
            await self.count(remote_id)
            return _all(rows, "unknown", "404 from a list that is there")
        if answer.status in (400, 413, 422) and len(rows) > 1:
            return await self._halves(partial(self._membership, verb, remote_id), rows)
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
        return _by_name(rows, reasons, len(errors))

    def _reason(self, answer: Answer) -> str:
        return f"{answer.status} {self.contract.error_map.get(answer.status, 'refused')}"

    def _refusal(self, answer: Answer, what: str) -> PermanentError:
        hint = "; check LENDLOOP_BLUESHIFT_KEY" if answer.status in (401, 403) else ""
        return PermanentError(f"blueshift: {what}: {self._reason(answer)} (request id {answer.request_id}){hint}")


def _profiles_text(rows: Rows) -> list[str]:
    """Each payload with the person's id as its last member; it is JSON already, and is not read again."""
    return [
        f'{payload[:-1]}{"," if len(payload) > 2 else ""}"customer_id":{encode_basestring(identifier)}}}'
        for identifier, payload in zip(rows.identifiers, rows.payloads, strict=True)
    ]


def _all(rows: Rows, state: State, error: str | None = None) -> list[RowResult]:
    return [RowResult(rows.person_keys, state, error)] if rows else []


def _by_name(rows: Rows, reasons: dict[str, str], failures: int) -> list[RowResult]:
    """Row by row: named rows failed; when a failure names no row, the others are unknown."""
    if not failures:
        return _all(rows, "accepted")
    named = [row for row in rows if row.identifier in reasons]
    others = rows.where(identifier not in reasons for identifier in rows.identifiers)
    rejected = [RowResult([row.person_key], "rejected", reasons[row.identifier]) for row in named]
    if failures > len({row.identifier for row in named}):
        return rejected + _all(others, "unknown", "a failure in this call names no row")
    return rejected + _all(others, "accepted")


def _fault_names(error: object) -> str:
    """The names of a row's faults, without the values that may carry personal data."""
    data = error.get("error_data") if isinstance(error, dict) else None
    return json.dumps(data)[:200] if isinstance(data, dict) else "refused"
