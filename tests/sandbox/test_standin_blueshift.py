"""Blueshift's stand-in: partial failures in a 200, lists and their limits, erasure, what is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from sandbox.serve import Running

BULK = "/api/v1/customers/bulk"
LISTS = "/api/v1/custom_user_lists"


def _upsert(client: httpx.Client, *customers: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(BULK, json={"customers": list(customers)})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _new_list(client: httpx.Client, name: str = "Dormant", source: str = "customer_id") -> int:
    answer = client.post(f"{LISTS}/create", json={"name": name, "description": "People", "source": source})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["id"])


def _change(
    client: httpx.Client, verb: str, list_id: int, values: list[str], key: str = "customer_id", *, wait: bool = True
) -> httpx.Response:
    path = f"{LISTS}/bulk_{verb}_users_{'to' if verb == 'add' else 'from'}_list/{list_id}"
    body = {"identifier_key": key, "identifier_values": values}
    return client.put(path, json=body, params={} if wait else {"async": "true"})


def _arrivals(sandbox: Running) -> dict[str, Any]:
    return dict(httpx.get(f"{sandbox.base_url}/arrivals.json").json()["blueshift"])


def test_a_bulk_call_keeps_the_good_and_gives_the_bad_back_in_a_200(blueshift: httpx.Client, sandbox: Running) -> None:
    bad = [{"firstname": "Nobody"}, {"customer_id": "c2", "email": "x" * 60 + "@b.co"}]
    answer = _upsert(blueshift, {"customer_id": "c1", "email": "a@b.co"}, *bad)
    assert answer["customers"] == bad
    assert answer["errors"][0] == {
        "status": 400,
        "error_data": {"user_identifier_missing": ["No valid identifier found"]},
    }
    assert [profile["customer_id"] for profile in _arrivals(sandbox)["profiles"]] == ["c1"]


def test_a_second_write_updates_the_profile_and_keeps_what_it_does_not_name(
    blueshift: httpx.Client, sandbox: Running
) -> None:
    _upsert(blueshift, {"customer_id": "c1", "email": "a@b.co", "market": "GH"})
    _upsert(blueshift, {"customer_id": "c1", "amount": 5})
    (profile,) = _arrivals(sandbox)["profiles"]
    assert {"email": "a@b.co", "market": "GH", "amount": 5}.items() <= profile.items()


def test_an_email_only_profile_gets_its_customer_id_and_another_id_is_another_person(
    blueshift: httpx.Client, sandbox: Running
) -> None:
    _upsert(blueshift, {"email": "Shared@b.co"}, {"email": "shared@b.co", "customer_id": "c1"})
    _upsert(blueshift, {"email": "shared@b.co", "customer_id": "c2"})
    assert [profile["customer_id"] for profile in _arrivals(sandbox)["profiles"]] == ["c1", "c2"]


def test_more_than_fifty_customers_are_too_many(blueshift: httpx.Client) -> None:
    assert _upsert(blueshift, *({"customer_id": f"c{n}"} for n in range(50)))["errors"] == []
    answer = blueshift.post(BULK, json={"customers": [{"customer_id": f"c{n}"} for n in range(51)]})
    assert answer.status_code == 413


def test_a_list_counts_its_members_and_names_those_it_does_not_know(blueshift: httpx.Client) -> None:
    _upsert(blueshift, {"customer_id": "c1"}, {"customer_id": "c2"})
    list_id = _new_list(blueshift)
    answer = _change(blueshift, "add", list_id, ["c1", "c2", "stranger"]).json()
    assert answer["status"] == "ok"
    assert [error["identifier_value"] for error in answer["errors"]] == ["stranger"]
    _change(blueshift, "add", list_id, ["c1"])
    assert blueshift.get(f"{LISTS}/id/{list_id}").json()["user_count"] == 2
    _change(blueshift, "remove", list_id, ["c1", "stranger"])
    assert blueshift.get(f"{LISTS}/id/{list_id}").json()["user_count"] == 1


@pytest.mark.parametrize(("wait", "limit"), [(True, 25), (False, 500)])
def test_list_calls_take_as_many_as_the_mode_allows(blueshift: httpx.Client, wait: bool, limit: int) -> None:
    list_id = _new_list(blueshift)
    values = [f"c{n}" for n in range(limit + 1)]
    assert _change(blueshift, "remove", list_id, values[:limit], wait=wait).status_code == 200
    refusal = _change(blueshift, "remove", list_id, values, wait=wait)
    assert refusal.status_code == 413
    assert str(limit) in refusal.json()["error"]


def test_an_asynchronous_call_says_nothing_of_strangers(blueshift: httpx.Client) -> None:
    _upsert(blueshift, {"customer_id": "c1"})
    list_id = _new_list(blueshift)
    assert _change(blueshift, "add", list_id, ["c1", "stranger"], wait=False).json() == {"status": "ok", "errors": []}
    assert blueshift.get(f"{LISTS}/id/{list_id}").json()["user_count"] == 1


def test_the_identifier_must_be_the_lists_own(blueshift: httpx.Client) -> None:
    list_id = _new_list(blueshift, source="email")
    assert _change(blueshift, "add", list_id, ["c1"]).status_code == 400


def test_list_names_are_unique_and_lists_can_be_found(blueshift: httpx.Client) -> None:
    list_id = _new_list(blueshift, "Dormant")
    again = blueshift.post(f"{LISTS}/create", json={"name": "Dormant", "description": "x"})
    assert again.status_code == 422
    assert [one["id"] for one in blueshift.get(LISTS).json()["custom_user_lists"]] == [list_id]


def test_a_deleted_list_is_a_404_to_everyone(blueshift: httpx.Client) -> None:
    list_id = _new_list(blueshift)
    blueshift.delete(f"{LISTS}/id/{list_id}")
    assert blueshift.get(f"{LISTS}/id/{list_id}").status_code == 404
    assert _change(blueshift, "add", list_id, ["c1"]).status_code == 404
    assert _new_list(blueshift) != list_id


@pytest.mark.parametrize("verb", ["delete", "forget"])
def test_erasure_takes_the_profile_and_its_memberships(blueshift: httpx.Client, sandbox: Running, verb: str) -> None:
    _upsert(blueshift, {"customer_id": "c1", "email": "a@b.co"})
    list_id = _new_list(blueshift)
    _change(blueshift, "add", list_id, ["c1"])
    assert blueshift.post(f"/api/v1/customers/{verb}", json={"email": "A@b.co"}).status_code == 200
    found = _arrivals(sandbox)
    assert found["profiles"] == []
    assert found["lists"][0]["members"] == []
    assert blueshift.get("/api/v1/customers/c1").status_code == 404


def test_every_request_is_kept_in_order_with_its_id_and_outcome(blueshift: httpx.Client, sandbox: Running) -> None:
    first = blueshift.post(BULK, json={"customers": [{"customer_id": "c1"}]})
    second = blueshift.post(BULK, content=b"{")
    kept = _arrivals(sandbox)["requests"]
    assert [one["request_id"] for one in kept] == [a.headers["x-request-id"] for a in (first, second)]
    assert [one["status"] for one in kept] == [200, 400]
    assert kept[0]["body"] == {"customers": [{"customer_id": "c1"}]}


def test_the_key_is_the_user_name(sandbox: Running) -> None:
    url = f"{sandbox.settings['LENDLOOP_BLUESHIFT_URL']}{LISTS}"
    assert httpx.get(url, auth=("", sandbox.settings["LENDLOOP_BLUESHIFT_KEY"])).status_code == 401


def test_the_sixth_bulk_call_in_a_second_is_refused_without_a_hint(
    strict_sandbox: Running, connect_blueshift: Callable[[Running], httpx.Client]
) -> None:
    client = connect_blueshift(strict_sandbox)
    answers = [client.post(BULK, json={"customers": []}) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert "retry-after" not in answers[-1].headers
    assert client.get(LISTS).status_code == 200
