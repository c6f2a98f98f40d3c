"""HubSpot's stand-in: its own client reads and writes it; paging, search, ceiling, limits, archived rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hubspot import HubSpot
from hubspot.crm.contacts import (
    BatchReadInputSimplePublicObjectId,
    Filter,
    FilterGroup,
    PublicObjectSearchRequest,
    SimplePublicObjectId,
    SimplePublicObjectInput,
    SimplePublicObjectInputForCreate,
)
from hubspot.crm.contacts.exceptions import ApiException
from sandbox_fake_world import START, FakeWorld

from sandbox.serve import Options, Running, running

CONTACTS = "/crm/v3/objects/contacts"


def _search(client: httpx.Client, *filters: dict[str, Any], **more: Any) -> dict[str, Any]:
    groups = [{"filters": list(filters)}] if filters else []
    answer = client.post(f"{CONTACTS}/search", json={"filterGroups": groups, "limit": 200, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _names(found: dict[str, Any]) -> list[str]:
    return [row["id"] for row in found["results"]]


def test_the_official_client_pages_through_every_live_contact(hubspot: HubSpot) -> None:
    contacts = hubspot.crm.contacts.get_all(properties=["firstname", "email"])
    assert [contact.id for contact in contacts] == [str(1000 + n) for n in range(300) if n % 10 != 9]
    assert contacts[0].properties["firstname"] == "Nome 0 🎉"


def test_the_official_client_lists_archived_contacts_apart(hubspot: HubSpot) -> None:
    archived = hubspot.crm.contacts.get_all(archived=True)
    assert [contact.id for contact in archived] == [str(1000 + n) for n in range(300) if n % 10 == 9]
    assert all(contact.archived and contact.archived_at for contact in archived)


def test_the_official_client_searches_with_filters_and_sorts(hubspot: HubSpot) -> None:
    request = PublicObjectSearchRequest(
        filter_groups=[FilterGroup(filters=[Filter(property_name="country", operator="EQ", value="ng")])],
        sorts=["-hs_object_id"],
        properties=["country"],
        limit=3,
    )
    found = hubspot.crm.contacts.search_api.do_search(public_object_search_request=request)
    assert found.total == len([n for n in range(300) if n % 10 != 9 and n % 4 == 0])
    assert [contact.id for contact in found.results] == ["1296", "1292", "1288"]
    assert found.paging.next.after == "3"


def test_what_the_official_client_writes_it_reads_back(hubspot: HubSpot, sandbox: Running) -> None:
    basic = hubspot.crm.contacts.basic_api
    created = basic.create(SimplePublicObjectInputForCreate(properties={"email": "new@mail.example", "country": "GH"}))
    basic.update(created.id, SimplePublicObjectInput(properties={"country": "BR", "firstname": "Zé"}))
    read = basic.get_by_id(created.id, properties=["country", "firstname", "email"])
    assert {"country": "BR", "firstname": "Zé", "email": "new@mail.example"}.items() <= read.properties.items()
    assert sandbox.lender.as_of == read.updated_at
    basic.archive(created.id)
    with pytest.raises(ApiException) as refusal:
        basic.get_by_id(created.id)
    assert refusal.value.status == 404


def test_the_official_client_reads_a_batch_and_learns_what_is_missing(hubspot: HubSpot) -> None:
    inputs = [SimplePublicObjectId(id="1000"), SimplePublicObjectId(id="77")]
    asked = BatchReadInputSimplePublicObjectId(inputs=inputs, properties=["phone"], properties_with_history=[])
    found = hubspot.crm.contacts.batch_api.read(asked)
    assert [one.id for one in found.results] == ["1000"]
    assert found.num_errors == 1


def test_a_second_contact_of_one_email_is_refused(crm: httpx.Client) -> None:
    answer = crm.post(CONTACTS, json={"properties": {"email": "P1@mail.example"}})
    assert answer.status_code == 409
    assert "Existing ID: 1001" in answer.json()["message"]


def test_without_the_token_nothing_is_told(sandbox: Running) -> None:
    answer = httpx.get(f"{sandbox.settings['LENDLOOP_CRM_URL']}{CONTACTS}")
    assert (answer.status_code, answer.json()["category"]) == (401, "INVALID_AUTHENTICATION")


def test_only_what_was_asked_for_comes_and_all_of_it_is_text(crm: httpx.Client) -> None:
    row = crm.get(f"{CONTACTS}/1001", params={"properties": "phone,nonsense"}).json()
    assert set(row["properties"]) == {"phone", "createdate", "lastmodifieddate", "hs_object_id"}
    assert all(isinstance(value, str) for value in row["properties"].values())


LIVE = [n for n in range(300) if n % 10 != 9]
FOURTH_MS = int(START.timestamp() * 1000) - 60 * 86_400_000 + 30 * 60_000


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        ({"operator": "EQ", "propertyName": "lastname", "value": "silva"}, LIVE),
        ({"operator": "NEQ", "propertyName": "country", "value": "NG"}, [n for n in LIVE if n % 4]),
        ({"operator": "IN", "propertyName": "country", "values": ["NG", "gh"]}, [n for n in LIVE if n % 4 < 2]),
        ({"operator": "HAS_PROPERTY", "propertyName": "email"}, [n for n in LIVE if n % 7]),
        ({"operator": "NOT_HAS_PROPERTY", "propertyName": "sms_consent"}, [n for n in LIVE if n % 3 == 2]),
        ({"operator": "GT", "propertyName": "hs_object_id", "value": "1295"}, [296, 297, 298]),
        ({"operator": "LT", "propertyName": "lastmodifieddate", "value": str(FOURTH_MS)}, [0, 1, 2, 3]),
        ({"operator": "LTE", "propertyName": "lastmodifieddate", "value": str(FOURTH_MS)}, list(range(8))),
        ({"operator": "LT", "propertyName": "lastmodifieddate", "value": "2025-12-31T08:30:00Z"}, [0, 1, 2, 3]),
        (
            {"operator": "BETWEEN", "propertyName": "hs_object_id", "value": "1001", "highValue": "1003"},
            [1, 2, 3],
        ),
        ({"operator": "CONTAINS_TOKEN", "propertyName": "firstname", "value": "29*"}, [29, *range(290, 299)]),
    ],
)
def test_each_operator_selects_what_it_says(crm: httpx.Client, one: dict[str, Any], expected: list[int]) -> None:
    found = _search(crm, one)
    live = [n for n in expected if n % 10 != 9]
    assert found["total"] == len(live)
    assert _names(found) == [str(1000 + n) for n in live][:200]


def test_a_number_that_is_none_matches_nothing_and_breaks_nothing(crm: httpx.Client) -> None:
    asked = {"filterGroups": [{"filters": [{"propertyName": "amount", "operator": "LTE", "value": "400"}]}]}
    found = crm.post("/crm/v3/objects/deals/search", json=asked).json()
    assert [row["id"] for row in found["results"]] == ["5000", "5001", "5002", "5004"]


def test_groups_are_joined_by_or(crm: httpx.Client) -> None:
    groups = [
        {"filters": [{"propertyName": "hs_object_id", "operator": "EQ", "value": value}]} for value in ("1001", "1005")
    ]
    assert _names(_search(crm, filterGroups=groups)) == ["1001", "1005"]


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": 201},
        {"filterGroups": [{"filters": [{"propertyName": "nonsense", "operator": "EQ", "value": "1"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "email", "operator": "LIKE", "value": "1"}]}]},
        {"filterGroups": [{"filters": []}] * 6},
        {"sorts": ["email", "phone"]},
    ],
)
def test_a_search_that_hubspot_refuses_is_a_400(crm: httpx.Client, asked: dict[str, Any]) -> None:
    answer = crm.post(f"{CONTACTS}/search", json=asked)
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_search_ends_at_ten_thousand_and_goes_on_from_the_last_cursor(
    tmp_path: Path, connect_crm: Callable[[Running], httpx.Client]
) -> None:
    with running(Options(tmp_path), FakeWorld(12_000)) as server:
        client = connect_crm(server)
        sorts = [{"propertyName": "lastmodifieddate", "direction": "ASCENDING"}]
        last = _search(client, sorts=sorts, after="9800")
        assert last["total"] == 10_800
        assert client.post(f"{CONTACTS}/search", json={"sorts": sorts, "after": "10000"}).status_code == 400
        seen = last["results"][-1]
        rest = {"propertyName": "lastmodifieddate", "operator": "GTE", "value": seen["properties"]["lastmodifieddate"]}
        more = _search(client, rest, sorts=sorts)
        assert seen["id"] in _names(more)
        assert 800 < more["total"] < 810


def test_a_property_that_appears_one_day_is_there_that_day(crm: httpx.Client, http: httpx.Client) -> None:
    def names() -> set[str]:
        return {one["name"] for one in crm.get("/crm/v3/properties/contacts").json()["results"]}

    assert "new_property" not in names()
    http.post("/tick", json={"days": 1})
    assert "new_property" in names()


def test_what_was_written_outlives_a_tick_and_a_restart(
    tmp_path: Path, connect_crm: Callable[[Running], httpx.Client]
) -> None:
    lender = FakeWorld(50)
    with running(Options(tmp_path), lender) as server:
        connect_crm(server).patch(f"{CONTACTS}/1001", json={"properties": {"phone": "+233200000000"}})
        lender.tick(1)
    with running(Options(tmp_path), lender) as server:
        row = connect_crm(server).get(f"{CONTACTS}/1001", params={"properties": "phone,new_property"}).json()
    assert row["properties"]["phone"] == "+233200000000"
    assert row["properties"]["new_property"] == "x"


def test_the_sixth_search_in_a_second_is_refused_and_the_list_is_not(
    strict_sandbox: Running, connect_crm: Callable[[Running], httpx.Client]
) -> None:
    client = connect_crm(strict_sandbox)
    answers = [client.post(f"{CONTACTS}/search", json={"limit": 1}) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    refusal = answers[-1].json()
    assert (refusal["errorType"], refusal["policyName"]) == ("RATE_LIMIT", "SECONDLY")
    assert client.get(CONTACTS).status_code == 200


def test_generous_limits_are_twenty_times_the_real_ones(http: httpx.Client) -> None:
    assert http.get("/limits").json()["hubspot.search"] == {"calls": 100, "seconds": 1.0}
