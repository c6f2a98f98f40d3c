"""The stand-ins over the real world: what the vendors' clients read is what the world holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.compute as pc
import pytest
import sqlalchemy

from sandbox.serve import Options, Running, running
from sandbox.world import World

Connect = Callable[[Running], httpx.Client]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, World]]:
    folder: Path = tmp_path_factory.mktemp("world")
    world = World.open(folder, customers=300, seed=11)
    with running(Options(folder, customers=300, seed=11), world) as server:
        yield server, world


def _listed(client: httpx.Client, name: str, **arguments: object) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    url = f"/crm/v3/objects/{name}"
    after: str | None = "0"
    while after is not None:
        page = client.get(url, params={"limit": 100, "after": after, **arguments}).raise_for_status().json()
        rows += page["results"]
        after = page.get("paging", {}).get("next", {}).get("after")
    return rows


@pytest.mark.parametrize("name", ["contacts", "deals"])
def test_the_crm_shows_each_row_live_or_archived(
    served: tuple[Running, World], connect_crm: Connect, name: str
) -> None:
    server, world = served
    table = world.table(f"crm_{name}")
    client = connect_crm(server)
    for archived in (False, True):
        expected = table.filter(pc.equal(table["archived"], archived))["id"].to_pylist()
        found = _listed(client, name, archived=str(archived).lower())
        assert sorted(row["id"] for row in found) == sorted(expected)


def test_values_arrive_as_the_world_holds_them(served: tuple[Running, World], connect_crm: Connect) -> None:
    server, world = served
    table = world.table("crm_contacts")
    names = ["firstname", "phone", "national_id", "sms_consent", "createdate", "lastmodifieddate"]
    expected = {row["id"]: {name: row[name] for name in names} for row in table.select(["id", *names]).to_pylist()}
    found = _listed(connect_crm(server), "contacts", properties=",".join(names))
    assert found
    for row in found:
        assert {name: row["properties"][name] for name in names} == expected[row["id"]]


@pytest.mark.parametrize(("kind", "table"), [("tickets", "support_tickets"), ("users", "support_users")])
def test_support_exports_all_but_the_last_minute(
    served: tuple[Running, World], connect_support: Connect, kind: str, table: str
) -> None:
    server, world = served
    client = connect_support(server)
    page = client.get(f"/api/v2/incremental/{kind}/cursor.json", params={"start_time": 0, "per_page": 17}).json()
    ids = [row["id"] for row in page[kind]]
    while not page["end_of_stream"]:
        page = client.get(page["after_url"]).raise_for_status().json()
        ids += [row["id"] for row in page[kind]]
    horizon = world.as_of.timestamp() - 60
    stamps = world.table(table).to_pylist()
    at = {row["id"]: row.get("generated_timestamp") or row["updated_at"].timestamp() for row in stamps}
    assert ids
    assert sorted(ids) == sorted(key for key, stamp in at.items() if int(stamp) <= horizon)


def test_a_tick_shows_in_every_system(served: tuple[Running, World], connect_crm: Connect) -> None:
    server, world = served
    client = connect_crm(server)
    since = {"propertyName": "lastmodifieddate", "operator": "GT", "value": str(int(world.as_of.timestamp() * 1000))}
    search = {"filterGroups": [{"filters": [since]}], "limit": 200}
    assert client.post("/crm/v3/objects/contacts/search", json=search).json()["total"] == 0
    httpx.post(f"{server.base_url}/tick", json={"days": 7}, timeout=60).raise_for_status()
    assert client.post("/crm/v3/objects/contacts/search", json=search).json()["total"] > 0


def test_the_ledger_and_the_truth_are_where_the_settings_say(served: tuple[Running, World]) -> None:
    server, _ = served
    engine = sqlalchemy.create_engine(server.settings["LENDLOOP_LEDGER_URL"])
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("select count(*) from m_client")).scalar_one() > 0
    engine.dispose()
    truth = httpx.get(f"{server.base_url}/truth.json", timeout=60).json()
    assert len(truth["people"]) >= 300
    assert {row["source"] for row in truth["person_sources"]} == {"crm", "ledger", "support", "survey"}
