"""Misbehaviour on demand: what a real client meets for each kind of fault, and what was done all the same."""

from __future__ import annotations

import smtplib
import socket
import time
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from sandbox.faults import Fault, FaultBook
from sandbox.serve import Running

BULK = "/api/v1/customers/bulk"
CUSTOMERS = {"customers": [{"customer_id": f"c{n}"} for n in range(10)]}


def _fault(http: httpx.Client, **fault: Any) -> httpx.Response:
    return http.post("/faults", json={"system": "blueshift", **fault})


def _profiles(http: httpx.Client) -> int:
    return len(http.get("/arrivals.json").json()["blueshift"]["profiles"])


def test_a_status_meets_the_next_calls_and_then_is_over(http: httpx.Client, blueshift: httpx.Client) -> None:
    _fault(http, kind="status", status=409, count=2, headers={"x-why": "fault"})
    answers = [blueshift.post(BULK, json=CUSTOMERS) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [409, 409, 200]
    assert answers[0].headers["x-why"] == "fault"
    (listed,) = http.get("/faults").json()["faults"]
    assert (listed["met"], listed["left"]) == (2, 0)


@pytest.mark.parametrize(("after_effect", "kept"), [(False, 0), (True, 10)])
@pytest.mark.parametrize("kind", ["status", "cut", "reset", "wrong_type"])
def test_the_work_is_done_before_a_spoilt_answer_only_when_asked(
    http: httpx.Client, blueshift: httpx.Client, kind: str, after_effect: bool, kept: int
) -> None:
    _fault(http, kind=kind, count=1, after_effect=after_effect)
    if kind in ("cut", "reset"):
        with pytest.raises(httpx.RemoteProtocolError if kind == "cut" else httpx.ReadError):
            blueshift.post(BULK, json=CUSTOMERS)
    else:
        answer = blueshift.post(BULK, json=CUSTOMERS)
        assert answer.status_code == (500 if kind == "status" else 200)
        assert (answer.headers["content-type"] == "text/html") is (kind == "wrong_type")
    assert _profiles(http) == kept
    assert blueshift.post(BULK, json=CUSTOMERS).json()["errors"] == []


def test_a_cut_answer_has_begun(http: httpx.Client, sandbox: Running) -> None:
    _fault(http, system="slack", kind="cut", count=1, after_effect=True)
    with socket.create_connection(("127.0.0.1", httpx.URL(sandbox.base_url).port or 0)) as raw:
        raw.settimeout(10)
        raw.sendall(b"POST /slack/api/auth.test HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        received = b""
        while part := raw.recv(4096):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b'{"ok"' in body
    assert not body.endswith(b"}")


@pytest.mark.parametrize("kind", ["delay", "slow_drip"])
def test_a_slow_answer_is_whole_but_late(http: httpx.Client, blueshift: httpx.Client, kind: str) -> None:
    _fault(http, kind=kind, count=1, delay_s=0.4)
    began = time.monotonic()
    assert blueshift.post(BULK, json=CUSTOMERS).json() == {"customers": [], "errors": []}
    assert time.monotonic() - began >= 0.35


def test_a_client_that_gives_up_on_a_delay_finds_the_work_done_if_it_was_after_the_effect(
    http: httpx.Client, blueshift: httpx.Client
) -> None:
    _fault(http, kind="delay", count=1, delay_s=5, after_effect=True)
    with pytest.raises(httpx.ReadTimeout):
        blueshift.post(BULK, json=CUSTOMERS, timeout=0.5)
    assert _profiles(http) == 10


def test_a_partial_fault_fails_a_share_of_the_rows_in_a_200(http: httpx.Client, blueshift: httpx.Client) -> None:
    _fault(http, kind="partial", share=0.3, count=1)
    answer = blueshift.post(BULK, json=CUSTOMERS)
    assert (answer.status_code, len(answer.json()["customers"]), len(answer.json()["errors"])) == (200, 3, 3)
    assert _profiles(http) == 7


def test_a_path_and_a_method_choose_the_calls(http: httpx.Client, blueshift: httpx.Client, crm: httpx.Client) -> None:
    _fault(http, kind="status", status=503, path=r"async=true", method="PUT")
    body = {"identifier_key": "email", "identifier_values": []}
    path = "/api/v1/custom_user_lists/bulk_add_users_to_list/1"
    assert blueshift.put(path, json=body, params={"async": "true"}).status_code == 503
    assert blueshift.put(path, json=body).status_code == 404
    assert crm.get("/crm/v3/objects/contacts").status_code == 200


def test_a_share_meets_about_that_many_calls() -> None:
    book = FaultBook(seed=1)
    book.add(Fault(system="hubspot", kind="status", share=0.2))
    met = sum(book.meet("hubspot", "GET", "/") is not None for _ in range(2000))
    assert 330 < met < 470


def test_a_fault_spares_the_first_calls_that_it_is_told_to(http: httpx.Client, blueshift: httpx.Client) -> None:
    _fault(http, kind="status", status=503, skip=2, count=1)
    assert [blueshift.post(BULK, json=CUSTOMERS).status_code for _ in range(4)] == [200, 200, 503, 200]


@pytest.mark.parametrize("inside", ["gzip", "chunk"])
def test_an_answer_may_end_inside_what_is_packed_or_a_chunk(http: httpx.Client, crm: httpx.Client, inside: str) -> None:
    _fault(http, system="hubspot", kind="cut", inside=inside, count=1, after_effect=True)
    if inside == "gzip":
        answer = crm.get("/crm/v3/objects/contacts")
        assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip")
        assert answer.text.startswith('{"results"')
        assert not answer.text.endswith("}")
    else:
        with pytest.raises(httpx.RemoteProtocolError):
            crm.get("/crm/v3/objects/contacts")
    assert crm.get("/crm/v3/objects/contacts").json()["results"]


def test_a_silent_vendor_never_answers(http: httpx.Client, blueshift: httpx.Client) -> None:
    _fault(http, kind="silence", count=1, after_effect=True)
    with pytest.raises(httpx.ReadTimeout):
        blueshift.post(BULK, json=CUSTOMERS, timeout=0.3)
    assert _profiles(http) == 10


def test_each_vendor_limits_in_its_own_words(http: httpx.Client, sandbox: Running, crm: httpx.Client) -> None:
    for system in ("hubspot", "zendesk", "blueshift", "slack"):
        _fault(http, system=system, kind="rate_limit", retry_after="7")
    daily = {"system": "hubspot", "kind": "rate_limit", "policy": "daily"}
    search = crm.post("/crm/v3/objects/contacts/search", json={})
    assert (search.status_code, search.json()["policyName"]) == (429, "SECONDLY")
    assert "X-HubSpot-RateLimit-Remaining" not in search.headers
    urls = {name: sandbox.settings[f"LENDLOOP_{name}_URL"] for name in ("SUPPORT", "BLUESHIFT", "SLACK")}
    zendesk, blueshift = httpx.get(f"{urls['SUPPORT']}/api/v2/tickets"), httpx.get(f"{urls['BLUESHIFT']}/api/v1/x")
    assert (zendesk.status_code, zendesk.headers["Retry-After"]) == (429, "7")
    assert (blueshift.status_code, "Retry-After" in blueshift.headers) == (429, False)
    assert httpx.post(f"{urls['SLACK']}auth.test").status_code == 429
    http.delete("/faults")
    http.post("/faults", json=[daily, {"system": "slack", "kind": "rate_limit", "policy": "in_body"}])
    assert crm.get("/crm/v3/objects/contacts").json()["policyName"] == "DAILY"
    refused = httpx.post(f"{urls['SLACK']}auth.test")
    assert (refused.status_code, refused.json()) == (200, {"ok": False, "error": "ratelimited"})


def _ids(answer: httpx.Response, rows: str = "results") -> list[str]:
    return [str(row["id"]) for row in answer.json()[rows]]


def test_a_page_is_answered_again_or_passed_over(http: httpx.Client, crm: httpx.Client) -> None:
    def page(after: str | None) -> httpx.Response:
        return crm.get("/crm/v3/objects/contacts", params={"limit": 5, **({"after": after} if after else {})})

    first, second, third = page(None), page("1004"), page("1010")
    _fault(http, system="hubspot", kind="page_repeated", path="after=1004", count=1)
    page(None)
    assert page("1004").json() == first.json()
    assert _ids(page("1004")) == _ids(second)
    _fault(http, system="hubspot", kind="page_missing", path="limit=5", count=1)
    passing = page(None)
    assert _ids(passing) == _ids(first)
    after = passing.json()["paging"]["next"]["after"]
    assert after == second.json()["paging"]["next"]["after"]
    assert _ids(page(after)) == _ids(third)


def test_a_search_and_an_export_lead_past_a_page_too(
    http: httpx.Client, crm: httpx.Client, support: httpx.Client
) -> None:
    _fault(http, system="hubspot", kind="page_missing", count=1)
    found = crm.post("/crm/v3/objects/contacts/search", json={"limit": 5}).json()
    assert (len(found["results"]), found["paging"]["next"]["after"]) == (5, "10")
    _fault(http, system="zendesk", kind="page_missing")
    whole = _ids(support.get("/api/v2/incremental/users/cursor", params={"start_time": 0, "per_page": 50}), "users")
    assert len(whole) == 50
    events = support.get("/api/v2/incremental/ticket_events", params={"start_time": 0, "per_page": 100}).json()
    assert (len(events["ticket_events"]), events["end_of_stream"]) == (100, True)


def test_a_clock_that_is_off_shows_in_the_date_and_in_what_is_exported(
    http: httpx.Client, support: httpx.Client
) -> None:
    def export() -> httpx.Response:
        return support.get("/api/v2/incremental/users/cursor", params={"start_time": 0})

    now = parsedate_to_datetime(export().headers["date"])
    before = len(export().json()["users"])
    _fault(http, system="zendesk", kind="skew", skew_s=7200, count=1)
    ahead = export()
    assert len(ahead.json()["users"]) == before + 1, "the vendor leaves out the last minute by its own clock"
    assert 7100 < (parsedate_to_datetime(ahead.headers["date"]) - now).total_seconds() < 7300
    assert len(export().json()["users"]) == before


def test_deleting_the_faults_ends_them(http: httpx.Client, blueshift: httpx.Client) -> None:
    _fault(http, kind="reset")
    assert http.delete("/faults").json() == {"faults": []}
    assert blueshift.post(BULK, json=CUSTOMERS).status_code == 200


@pytest.mark.parametrize(
    "fault",
    [
        {"system": "sap", "kind": "status"},
        {"system": "slack", "kind": "partial"},
        {"system": "smtp", "kind": "slow_drip"},
        {"system": "blueshift", "kind": "page_missing"},
        {"system": "slack", "kind": "status", "path": "("},
        {"system": "slack", "kind": "status", "sttus": 500},
    ],
)
def test_a_fault_that_cannot_be_is_refused(http: httpx.Client, fault: dict[str, Any]) -> None:
    answer = http.post("/faults", json=fault)
    assert answer.status_code == 400
    assert answer.json()["details"]


def _send(sandbox: Running, *to: str) -> dict[str, tuple[int, bytes]]:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "hub@lender.example", ", ".join(to), "Ünïcode 🚨"
    message["Message-ID"], message["References"] = "<outbox-1@lendloop>", "<fingerprint@lendloop>"
    message.set_content("plain")
    message.add_alternative("<b>rich</b>", subtype="html")
    address = httpx.URL(sandbox.settings["LENDLOOP_SMTP_URL"])
    with smtplib.SMTP(address.host, address.port or 0, timeout=10) as client:
        client.login("anybody", "anything")
        return client.send_message(message)


def test_mail_is_parsed_and_a_repeat_stays_visible(sandbox: Running, http: httpx.Client) -> None:
    _send(sandbox, "ops@lender.example")
    _send(sandbox, "ops@lender.example")
    mails = http.get("/arrivals.json").json()["mail"]
    assert [mail["message_id"] for mail in mails] == ["<outbox-1@lendloop>"] * 2
    assert (mails[0]["subject"], mails[0]["text"].strip()) == ("Ünïcode 🚨", "plain")
    assert mails[0]["html"].strip() == "<b>rich</b>"
    assert (mails[0]["references"], mails[0]["rcpt_to"]) == ("<fingerprint@lendloop>", ["ops@lender.example"])


@pytest.mark.parametrize(("after_effect", "kept"), [(False, 0), (True, 1)])
def test_a_mail_refused_after_the_effect_has_arrived(
    sandbox: Running, http: httpx.Client, after_effect: bool, kept: int
) -> None:
    sandbox.add_fault(system="smtp", kind="status", status=451, count=1, after_effect=after_effect)
    with pytest.raises(smtplib.SMTPDataError) as refusal:
        _send(sandbox, "ops@lender.example")
    assert refusal.value.smtp_code == 451
    assert len(http.get("/arrivals.json").json()["mail"]) == kept


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_a_mail_server_that_hangs_up_is_no_success(sandbox: Running, http: httpx.Client, kind: str) -> None:
    sandbox.add_fault(system="smtp", kind=kind, count=1)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
        _send(sandbox, "ops@lender.example")
    assert http.get("/arrivals.json").json()["mail"] == []
    _send(sandbox, "ops@lender.example")
    assert len(http.get("/arrivals.json").json()["mail"]) == 1


def test_some_recipients_are_refused(sandbox: Running, http: httpx.Client) -> None:
    sandbox.add_fault(system="smtp", kind="partial", share=1.0, count=1)
    refused = _send(sandbox, "a@lender.example", "b@lender.example")
    assert list(refused) == ["a@lender.example"]
    assert http.get("/arrivals.json").json()["mail"][0]["rcpt_to"] == ["b@lender.example"]
