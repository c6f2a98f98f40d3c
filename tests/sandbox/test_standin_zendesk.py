"""Zendesk's stand-in: zenpy reads and writes it; exports, the minute left out, limits, search."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from sandbox_fake_world import START, FakeWorld
from zenpy import Zenpy
from zenpy.lib.api_objects import Comment, Ticket

from sandbox.serve import Running

TICKETS = "/api/v2/incremental/tickets/cursor.json"
EVENTS = "/api/v2/incremental/ticket_events.json"


def _export(client: httpx.Client, per_page: int, **arguments: object) -> tuple[list[int], str]:
    """Ticket ids until the end of the stream, and the cursor behind them."""
    ids: list[int] = []
    page = client.get(TICKETS, params={"per_page": per_page, **arguments}).raise_for_status().json()
    while True:
        ids += [ticket["id"] for ticket in page["tickets"]]
        assert page["after_url"]
        if page["end_of_stream"]:
            return ids, page["after_cursor"]
        page = client.get(page["after_url"]).raise_for_status().json()


def test_zenpy_exports_every_ticket_but_those_of_the_last_minute(zenpy: Zenpy) -> None:
    tickets = list(zenpy.tickets.incremental(start_time=1, per_page=7))
    assert [ticket.id for ticket in tickets] == list(range(70, 129))
    assert tickets[0].tags == ["dispute"]
    assert tickets[0].via.channel == "email"


def test_zenpy_exports_users_and_events(zenpy: Zenpy) -> None:
    assert len(list(zenpy.users.incremental(start_time=1, per_page=10))) == 59
    events = {event.id for event in zenpy.tickets.events(start_time=1)}
    assert events == set(range(40_000, 40_149))


def test_zenpy_creates_and_updates_a_ticket(zenpy: Zenpy) -> None:
    audit = zenpy.tickets.create(Ticket(subject="Repaid twice", comment=Comment(body="Help"), tags=["complaint"]))
    ticket = zenpy.tickets(id=audit.ticket.id)
    assert (ticket.subject, ticket.status, ticket.tags) == ("Repaid twice", "new", ["complaint"])
    ticket.status = "solved"
    zenpy.tickets.update(ticket)
    assert zenpy.tickets(id=audit.ticket.id).status == "solved"


def test_zenpy_searches_tickets_and_lists_users(zenpy: Zenpy) -> None:
    found = list(zenpy.search("type:ticket status<solved tags:dispute -status:open"))
    assert {ticket.id for ticket in found} == {70 + n for n in range(60) if n % 4 == 0 and n % 3 == 1}
    exported = zenpy.search_export("status<solved tags:dispute -status:open", type="ticket")
    assert {ticket.id for ticket in exported} == {ticket.id for ticket in found}
    assert len(list(zenpy.users())) == 60
    assert zenpy.users(id=901).external_id == "1"


@pytest.mark.parametrize("size", [1, 3, 4, 59, 1000])
def test_pages_of_any_size_give_each_ticket_once_although_many_share_an_instant(
    support: httpx.Client, size: int
) -> None:
    assert _export(support, size, start_time=0)[0] == list(range(70, 129))


def test_a_kept_cursor_goes_on_where_it_stopped(support: httpx.Client, lender: FakeWorld) -> None:
    _, cursor = _export(support, 10, start_time=0)
    assert _export(support, 10, cursor=cursor)[0] == []
    lender.tick(1)
    page = support.get(TICKETS, params={"cursor": cursor}).json()
    assert (page["tickets"], page["end_of_stream"]) == ([], True)
    created = support.post("/api/v2/tickets.json", json={"ticket": {"subject": "s", "comment": {"body": "b"}}})
    assert _export(support, 10, cursor=cursor)[0] == []
    lender.tick(1)
    assert created.json()["ticket"]["id"] in _export(support, 10, cursor=cursor)[0]


def test_a_start_within_the_last_minute_is_refused(support: httpx.Client) -> None:
    now = int(START.timestamp())
    answer = support.get(TICKETS, params={"start_time": now - 30})
    assert (answer.status_code, answer.json()["error"]) == (422, "StartTimeTooRecent")
    assert support.get(TICKETS, params={"start_time": now - 60}).status_code == 200


def test_a_page_of_events_ends_with_a_whole_second(support: httpx.Client) -> None:
    page = support.get(EVENTS, params={"start_time": 0, "per_page": 2}).json()
    assert page["count"] == 4
    following = support.get(page["next_page"]).json()
    assert following["ticket_events"][0]["id"] == 40_000
    assert following["end_time"] == page["end_time"] or following["count"] >= 4


def test_comments_come_only_when_asked_for(support: httpx.Client) -> None:
    silent = support.get(EVENTS, params={"start_time": 0}).json()["ticket_events"][0]["child_events"][0]
    full = support.get(EVENTS, params={"start_time": 0, "include": "comment_events"}).json()
    assert "body" not in silent
    assert full["ticket_events"][0]["child_events"][0]["body"] == "secret words"


def test_an_idempotency_key_gives_one_ticket_however_often_it_is_sent(support: httpx.Client) -> None:
    asked = {"ticket": {"subject": "s", "comment": {"body": "b"}}}
    answers = [
        support.post("/api/v2/tickets.json", json=asked, headers={"Idempotency-Key": "alert-1"}) for _ in range(2)
    ]
    assert len({answer.json()["ticket"]["id"] for answer in answers}) == 1
    assert answers[1].headers["x-idempotency-lookup"] == "hit"
    asked["ticket"]["subject"] = "other"
    assert support.post("/api/v2/tickets.json", json=asked, headers={"Idempotency-Key": "alert-1"}).status_code == 400


def test_numbered_and_cursor_pages_of_tickets_are_complete(support: httpx.Client) -> None:
    numbered = []
    url = "/api/v2/tickets.json?per_page=25"
    while url:
        page = support.get(url).json()
        numbered += [ticket["id"] for ticket in page["tickets"]]
        url = page["next_page"]
    assert numbered == list(range(70, 130))
    first = support.get("/api/v2/tickets.json", params={"page[size]": 50}).json()
    second = support.get(first["links"]["next"]).json()
    assert len(first["tickets"]) + len(second["tickets"]) == 60
    assert not second["meta"]["has_more"]


def test_an_export_of_a_search_gives_all_that_it_finds_page_by_page(support: httpx.Client) -> None:
    asked = {"query": "status<solved", "filter[type]": "ticket", "page[size]": "7"}
    page = support.get("/api/v2/search/export.json", params=asked).json()
    ids = [one["id"] for one in page["results"]]
    while page["meta"]["has_more"]:
        page = support.get(page["links"]["next"]).json()
        ids += [one["id"] for one in page["results"]]
    counted = support.get("/api/v2/search/count.json", params={"query": "type:ticket status<solved"}).json()
    assert (len(set(ids)), page["links"]["next"], counted) == (len(ids), None, {"count": len(ids)})
    assert len(ids) > 14
    assert support.get("/api/v2/search/export.json", params={"query": "status<solved"}).status_code == 400


def test_a_deleted_ticket_is_in_no_search(support: httpx.Client) -> None:
    def count() -> int:
        return int(support.get("/api/v2/search/count.json", params={"query": "type:ticket"}).json()["count"])

    before = count()
    support.put("/api/v2/tickets/70.json", json={"ticket": {"status": "deleted"}}).raise_for_status()
    assert count() == before - 1


def test_search_gives_no_more_than_its_ceiling(support: httpx.Client) -> None:
    answer = support.get("/api/v2/search.json", params={"query": "type:ticket", "per_page": 100, "page": 11})
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid")


def test_without_the_token_nothing_is_told(sandbox: Running) -> None:
    url = f"{sandbox.settings['LENDLOOP_SUPPORT_URL']}{TICKETS}"
    assert httpx.get(url, auth=("hub@lender.example", "sandbox-support")).status_code == 401


def test_the_eleventh_export_in_a_minute_is_told_when_to_come_back(
    strict_sandbox: Running, connect_support: Callable[[Running], httpx.Client]
) -> None:
    client = connect_support(strict_sandbox)
    answers = [client.get(TICKETS, params={"start_time": 0}) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert 50 <= int(answers[-1].headers["retry-after"]) <= 60
    assert client.get("/api/v2/tickets.json").status_code == 200
