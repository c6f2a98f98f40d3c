"""Slack's stand-in: its own client posts, edits, pages history; blocks are held to Block Kit's rules."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from sandbox.serve import Running
from sandbox.slack_blocks import faults_of

METADATA = {"event_type": "lendloop_alert", "event_payload": {"outbox_id": "o-1"}}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _button(text: str) -> dict[str, Any]:
    return {
        "type": "actions",
        "elements": [{"type": "button", "text": {"type": "plain_text", "text": text}, "action_id": "a"}],
    }


def test_the_official_client_posts_and_edits_one_message(slack: WebClient, channel: str, sandbox: Running) -> None:
    posted = slack.chat_postMessage(channel=channel, text="open", blocks=[_section("*open*")], metadata=METADATA)
    slack.chat_update(channel=posted["channel"], ts=posted["ts"], text="resolved", blocks=[_section("*resolved*")])
    (message,) = httpx.get(f"{sandbox.base_url}/arrivals.json").json()["slack"]["messages"]
    assert (message["text"], message["edits"], message["ts"]) == ("resolved", 1, posted["ts"])
    assert message["blocks"] == [_section("*resolved*")]
    assert message["metadata"] == METADATA
    assert message["channel_name"] == "lendloop-alerts"


def test_an_edit_keeps_what_it_does_not_name_and_an_empty_list_takes_blocks_away(
    slack: WebClient, channel: str
) -> None:
    ts = slack.chat_postMessage(channel=channel, text="a", blocks=[_section("b")])["ts"]
    assert slack.chat_update(channel=channel, ts=ts, text="c")["message"]["blocks"] == [_section("b")]
    assert "blocks" not in slack.chat_update(channel=channel, ts=ts, text="c", blocks=[])["message"]


def test_a_form_is_as_good_as_json(sandbox: Running, channel: str) -> None:
    form = {"channel": "#lendloop-alerts", "text": "hello", "token": sandbox.settings["LENDLOOP_SLACK_TOKEN"]}
    answer = httpx.post(f"{sandbox.settings['LENDLOOP_SLACK_URL']}chat.postMessage", data=form).json()
    assert (answer["ok"], answer["channel"]) == (True, channel)


def test_history_pages_newest_first_and_shows_metadata_when_asked(slack: WebClient, channel: str) -> None:
    sent = [slack.chat_postMessage(channel=channel, text=f"{n}", metadata=METADATA)["ts"] for n in range(7)]
    assert len(set(sent)) == 7
    found: list[dict[str, Any]] = []
    for page in slack.conversations_history(channel=channel, limit=3, include_all_metadata=True):
        found += page["messages"]
    assert [message["ts"] for message in found] == sent[::-1]
    assert all(message["metadata"] == METADATA for message in found)
    assert "metadata" not in slack.conversations_history(channel=channel)["messages"][0]
    recent = slack.conversations_history(channel=channel, oldest=sent[4])["messages"]
    assert [message["ts"] for message in recent] == [sent[6], sent[5]]
    assert len(slack.conversations_history(channel=channel, oldest=sent[4], inclusive=True)["messages"]) == 3


def test_replies_stay_in_their_thread(slack: WebClient, channel: str) -> None:
    top = slack.chat_postMessage(channel=channel, text="alert")["ts"]
    slack.chat_postMessage(channel=channel, text="detail", thread_ts=top)
    assert [m["text"] for m in slack.conversations_history(channel=channel)["messages"]] == ["alert"]
    assert [m["text"] for m in slack.conversations_replies(channel=channel, ts=top)["messages"]] == ["alert", "detail"]


def test_the_client_knows_who_it_is_and_which_channels_there_are(slack: WebClient, channel: str) -> None:
    assert slack.auth_test()["ok"]
    created = slack.conversations_create(name="new-team")["channel"]["id"]
    assert {channel, created} <= {one["id"] for one in slack.conversations_list()["channels"]}


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"channel": "#nowhere", "text": "x"}, "channel_not_found"),
        ({"text": ""}, "no_text"),
        ({"text": "x" * 40_001}, "msg_too_long"),
        ({"blocks": [_section("x" * 3001)]}, "invalid_blocks"),
        ({"blocks": [_button("x" * 76)]}, "invalid_blocks"),
        ({"text": "x", "metadata": {"event_type": "only"}}, "invalid_metadata_schema"),
    ],
)
def test_what_slack_refuses_is_refused_in_its_words(
    slack: WebClient, channel: str, asked: dict[str, Any], error: str
) -> None:
    with pytest.raises(SlackApiError) as refusal:
        slack.chat_postMessage(**{"channel": channel, **asked})
    assert refusal.value.response["error"] == error
    assert not slack.conversations_history(channel=channel)["messages"]


def test_an_edit_of_a_message_that_is_not_there_is_refused(slack: WebClient, channel: str) -> None:
    with pytest.raises(SlackApiError, match="message_not_found"):
        slack.chat_update(channel=channel, ts="1.000000", text="x")


@pytest.mark.parametrize("token", [None, "xoxb-wrong"])
def test_a_wrong_token_is_refused(sandbox: Running, token: str | None) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = httpx.post(f"{sandbox.settings['LENDLOOP_SLACK_URL']}auth.test", headers=headers).json()
    assert answer == {"ok": False, "error": "invalid_auth" if token else "not_authed"}


def test_a_channel_takes_one_message_a_second(strict_sandbox: Running) -> None:
    settings = strict_sandbox.settings
    headers = {"Authorization": f"Bearer {settings['LENDLOOP_SLACK_TOKEN']}"}
    url = f"{settings['LENDLOOP_SLACK_URL']}chat.postMessage"

    def post(channel: str) -> httpx.Response:
        return httpx.post(url, json={"channel": channel, "text": "x"}, headers=headers)

    assert post("#risk").status_code == 200
    refused = post("#risk")
    assert (refused.status_code, refused.json()["error"]) == (429, "ratelimited")
    assert refused.headers["retry-after"] == "1"
    assert post("#growth").status_code == 200


@pytest.mark.parametrize(
    ("blocks", "is_good"),
    [
        ([_section("x" * 3000)], True),
        ([_section("x")] * 50, True),
        ([_section("x")] * 51, False),
        ([_section("")], False),
        ([{"type": "section"}], False),
        ([{"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11}], False),
        ([{"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2001}]}], False),
        ([{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}], False),
        ([{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}], False),
        ([{"type": "header", "text": {"type": "plain_text", "text": "x" * 150}}, {"type": "divider"}], True),
        ([_button("x" * 75)], True),
        ([{"type": "actions", "elements": []}], False),
        ([{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 10}], True),
        ([{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11}], False),
        ([{"type": "marquee"}], False),
        (["text"], False),
        ([{**_section("x"), "block_id": "a"}] * 2, False),
    ],
)
def test_blocks_are_held_to_the_limits_of_block_kit(blocks: list[Any], is_good: bool) -> None:
    assert (faults_of(blocks) == []) is is_good
