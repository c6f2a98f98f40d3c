"""The sandbox as a whole: its command, its clock, its truth, what survives, its page."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from sandbox_fake_world import FakeWorld
from slack_sdk import WebClient

from lendloop.clock import resolve_clock
from lendloop.errors import ConfigurationError
from sandbox.mrkdwn import render_mrkdwn
from sandbox.serve import Options, Running, running, tick_server

SETTINGS = {
    *("LENDLOOP_AS_OF", "LENDLOOP_LEDGER_URL", "LENDLOOP_CRM_URL", "LENDLOOP_CRM_TOKEN", "LENDLOOP_SUPPORT_URL"),
    *("LENDLOOP_SUPPORT_USER", "LENDLOOP_SUPPORT_TOKEN", "LENDLOOP_BLUESHIFT_URL", "LENDLOOP_BLUESHIFT_KEY"),
    *("LENDLOOP_SLACK_URL", "LENDLOOP_SLACK_TOKEN", "LENDLOOP_SLACK_CHANNEL", "LENDLOOP_SMTP_URL"),
    "LENDLOOP_COSTS_FILE",
    "LENDLOOP_SURVEY_FOLDER",
    "LENDLOOP_ALERT_EMAIL",
}


def test_the_clock_is_what_lendloop_asks_and_a_tick_moves_it(sandbox: Running, http: httpx.Client) -> None:
    before = resolve_clock(sandbox.settings["LENDLOOP_AS_OF"]).as_of
    assert http.post("/tick", json={"days": 3}).json()["as_of"] == sandbox.lender.as_of.isoformat()
    assert (resolve_clock(sandbox.settings["LENDLOOP_AS_OF"]).as_of - before).days == 3


@pytest.mark.parametrize("body", [{}, {"days": 0}, {"days": "many"}, {"days": 99_999}])
def test_a_tick_that_cannot_be_is_refused(http: httpx.Client, body: dict[str, object]) -> None:
    assert http.post("/tick", json=body).status_code == 400


def test_the_truth_is_told_whole_or_by_the_page(http: httpx.Client) -> None:
    assert len(http.get("/truth.json").json()["people"]) == 300
    page = http.get("/truth/people.json", params={"offset": 298, "limit": 10}).json()
    assert [row["person"] for row in page["people"]] == [298, 299]
    assert http.get("/truth/nothing.json").status_code == 404


def test_what_arrived_outlives_the_server(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        with running(Options(tmp_path), FakeWorld(20)) as server:
            settings = server.settings
            client = WebClient(token=settings["LENDLOOP_SLACK_TOKEN"], base_url=settings["LENDLOOP_SLACK_URL"])
            client.chat_postMessage(channel=settings["LENDLOOP_SLACK_CHANNEL"], text="again")
            seen.append(httpx.get(f"{server.base_url}/arrivals.json").json())
    first, second = seen
    assert second["slack"]["messages"][0] == first["slack"]["messages"][0]
    assert [entry["seq"] for entry in second["log"]] == [1, 2]
    assert first["log"] == second["log"][:1]


def test_a_server_leaves_a_note_while_it_runs(tmp_path: Path) -> None:
    with running(Options(tmp_path), FakeWorld(20)) as server:
        note = json.loads((tmp_path / "server.json").read_text())
        assert note == {"pid": os.getpid(), "base_url": server.base_url, "settings": server.settings}
        assert tick_server(tmp_path, 2)["as_of"] == server.lender.as_of.isoformat()
    assert not (tmp_path / "server.json").exists()
    with pytest.raises(ConfigurationError, match="no sandbox serves"):
        tick_server(tmp_path, 1)


def test_a_taken_port_is_said_in_one_line(sandbox: Running, tmp_path: Path) -> None:
    port = httpx.URL(sandbox.base_url).port or 0
    with pytest.raises(ConfigurationError, match="is taken"), running(Options(tmp_path / "b", port=port), FakeWorld(9)):
        pass


def test_calls_are_counted_by_vendor(http: httpx.Client, crm: httpx.Client) -> None:
    crm.get("/crm/v3/objects/contacts")
    crm.get("/crm/v3/objects/contacts", headers={"Authorization": ""})
    calls = http.get("/arrivals.json").json()["calls"]
    assert calls["hubspot"]["total"] == 2
    assert calls["hubspot"]["status 401"] == 1
    assert calls["zendesk"] == {}


def test_the_page_shows_what_arrived_and_escapes_it(sandbox: Running, http: httpx.Client, slack: WebClient) -> None:
    channel = sandbox.settings["LENDLOOP_SLACK_CHANNEL"]
    header = {"type": "header", "text": {"type": "plain_text", "text": ":rotating_light: Spike"}}
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "*61 %* <https://x.example|look> <script>"}}
    ts = slack.chat_postMessage(channel=channel, text="x", blocks=[header, section])["ts"]
    slack.chat_update(channel=channel, ts=ts, text="x", blocks=[header, section])
    page = http.get("/").text
    assert "🚨 Spike" in page
    assert '<strong>61 %</strong> <a href="https://x.example"' in page
    assert "(edited)" in page
    assert "<script>" not in page
    assert "lendloop-alerts" in page


def test_the_page_says_who_misbehaves_on_demand(sandbox: Running, http: httpx.Client) -> None:
    assert "Misbehaving" not in http.get("/").text
    sandbox.add_fault(system="slack", kind="delay", count=2)
    assert "slack delay (2 left)" in http.get("/").text


@pytest.mark.parametrize("body", [b"[1]", b"{", b'"text"', b"\xff"])
def test_a_body_that_is_no_object_is_the_callers_fault(
    crm: httpx.Client, support: httpx.Client, blueshift: httpx.Client, body: bytes
) -> None:
    assert crm.post("/crm/v3/objects/contacts/search", content=body).status_code == 400
    assert support.post("/api/v2/tickets.json", content=body).status_code == 400
    assert blueshift.post("/api/v1/customers/bulk", content=body).status_code == 400


def test_calls_at_once_are_all_answered_and_all_kept(sandbox: Running, channel: str) -> None:
    headers = {"Authorization": f"Bearer {sandbox.settings['LENDLOOP_SLACK_TOKEN']}"}

    async def post_all() -> list[str]:
        async with httpx.AsyncClient(base_url=sandbox.settings["LENDLOOP_SLACK_URL"], headers=headers) as client:
            posts = (client.post("chat.postMessage", json={"channel": channel, "text": f"{n}"}) for n in range(20))
            return [answer.json()["ts"] for answer in await asyncio.gather(*posts)]

    sent = asyncio.run(post_all())
    assert len(set(sent)) == 20
    assert {message["ts"] for message in sandbox.arrivals.messages()} == set(sent)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*bold* _it_ ~no~ `c*d*e`", "<strong>bold</strong> <em>it</em> <del>no</del> <code>c*d*e</code>"),
        ("a_b_c 2*3*4", "a_b_c 2*3*4"),
        ("a &amp; b &lt;c&gt; <b>", "a &amp; b &lt;c&gt; &lt;b&gt;"),
        ("<javascript:alert(1)|x>", "&lt;javascript:alert(1)|x&gt;"),
        ("<https://x.example/?a=1&amp;b=2>", '<a href="https://x.example/?a=1&amp;b=2" rel="noreferrer">https://x.example/?a=1&amp;b=2</a>'),
        (":white_check_mark: :unheard_of:", "✅ :unheard_of:"),
        ("> one\n> two\nthree", "<blockquote>one<br>two</blockquote>three"),
        ("```x < y\n*z*```", "<pre>x &lt; y\n*z*</pre>"),
        ("<!date^0^{date}|never>", "1 Jan 1970, 00:00 UTC"),
        ("<@U1|ana> <#C1|risk> <!here>", '<span class="mention">@ana</span> <span class="mention">#risk</span> <span class="mention">@here</span>'),
    ],
)  # fmt: skip
def test_mrkdwn_is_drawn_as_slack_draws_it(text: str, expected: str) -> None:
    assert str(render_mrkdwn(text)) == expected


def _command(*arguments: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "sandbox", *arguments, "--folder", str(folder)]


def test_a_tick_with_no_server_is_one_clear_line(tmp_path: Path) -> None:
    done = subprocess.run(_command("tick", "--days", "1", folder=tmp_path), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no sandbox serves" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_its_settings_serves_ticks_and_stops(tmp_path: Path, number: signal.Signals) -> None:
    command = _command("serve", "--customers", "300", folder=tmp_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = json.loads(process.stdout.readline())
            assert set(line) == SETTINGS | {"base_url"}
            done = subprocess.run(_command("tick", "--days", "2", folder=tmp_path), capture_output=True, timeout=120)
            assert json.loads(done.stdout)["as_of"] == httpx.get(f"{line['base_url']}/clock").json()["as_of"]
            second = subprocess.run(
                _command("serve", folder=tmp_path), capture_output=True, text=True, timeout=120, check=False
            )
            assert second.returncode == 2
            assert "already serves" in second.stderr
            process.send_signal(number)
            assert process.wait(60) == 0
            assert process.stdout.read() == ""
        finally:
            process.kill()
    assert not (tmp_path / "server.json").exists()


@pytest.mark.slow
def test_a_killed_server_loses_nothing_that_it_answered_for(tmp_path: Path) -> None:
    sent = []
    for _ in range(2):
        command = _command("serve", "--customers", "50", folder=tmp_path)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                line = json.loads(process.stdout.readline())
                client = WebClient(token=line["LENDLOOP_SLACK_TOKEN"], base_url=line["LENDLOOP_SLACK_URL"])
                sent.append(client.chat_postMessage(channel=line["LENDLOOP_SLACK_CHANNEL"], text="x")["ts"])
                kept = httpx.get(f"{line['base_url']}/arrivals.json").json()["slack"]["messages"]
                assert [message["ts"] for message in kept] == sent
            finally:
                process.kill()
