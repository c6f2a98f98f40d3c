"""Slack through its own client: post, edit, look up by the outbox id that travels as message metadata.

Facts from Slack's documentation: `chat.postMessage` has no idempotency key, so what is unknown is looked up in
`conversations.history` (`include_all_metadata`) before it is repeated; 429 carries `Retry-After` in seconds; a limit can
also stand in a 200.
"""

from __future__ import annotations

import urllib.error
from http.client import HTTPException
from typing import Any

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import SlackResponse

from activation.alerts.bounded import within
from activation.alerts.channels import Message, Sent
from lendloop.settings import Settings

TIMEOUT_S = 15
"""From the request to the last byte of its answer."""
EVENT_TYPE = "lendloop_notification"
HISTORY_PAGES, HISTORY_LIMIT = 10, 200
_PERHAPS = {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"}
"""Slack: the operation may have succeeded in part before the error."""
_NO_ANSWER = (OSError, HTTPException, SlackClientError, UnicodeDecodeError)
"""What the client raises when there was no answer that it could read."""


class Slack:
    """The workspace of LENDLOOP_SLACK_URL and LENDLOOP_SLACK_TOKEN."""

    def __init__(self, settings: Settings) -> None:
        self._client = WebClient(
            token=settings.secret("slack_token"),
            base_url=str(settings.slack_url or WebClient.BASE_URL),
            timeout=TIMEOUT_S,
            retry_handlers=[],
        )
        self._ids: dict[str, str] = {}

    def send(self, message: Message) -> Sent:
        content: dict[str, Any] = {"text": message.payload["text"], "blocks": message.payload["blocks"]}
        metadata = {"event_type": EVENT_TYPE, "event_payload": {"outbox_id": message.uid}}
        try:
            if message.edits:
                channel, ts = message.edits
                answer = self._call("chat.update", channel=channel, ts=ts, **content)
            else:
                answer = self._call(
                    "chat.postMessage", channel=message.target, metadata=metadata, unfurl_links=False, **content
                )
        except SlackApiError as error:
            return _refused(error)
        except _NO_ANSWER as error:
            return _cut_off(error)
        self._ids[message.target] = str(answer["channel"])
        return Sent("sent", external_channel=str(answer["channel"]), external_id=str(answer["ts"]))

    def _call(self, method: str, **arguments: Any) -> SlackResponse:
        """One call, bounded as a whole. Raises TimeoutError, and what the client raises."""
        named = getattr(self._client, method.replace(".", "_"))
        answer: SlackResponse = within(TIMEOUT_S, lambda: named(**arguments))
        return answer

    def find(self, message: Message) -> Sent:
        if message.edits:
            return Sent("retry", "an edit may be repeated")
        try:
            channel = self._channel_id(message.target)
            cursor: str | None = None
            for _ in range(HISTORY_PAGES):
                page = self._call(
                    "conversations.history",
                    channel=channel,
                    include_all_metadata=True,
                    limit=HISTORY_LIMIT,
                    cursor=cursor,
                )
                for found in page.get("messages") or []:
                    if ((found.get("metadata") or {}).get("event_payload") or {}).get("outbox_id") == message.uid:
                        return Sent(
                            "sent", "found in the channel", external_channel=channel, external_id=str(found["ts"])
                        )
                cursor = (page.get("response_metadata") or {}).get("next_cursor")
                if not cursor:
                    break
        except SlackApiError as error:
            answer = _refused(error)
            if answer.outcome == "failed":
                return Sent("failed", f"perhaps sent, and it can't be looked up: {answer.reason}")
            return Sent("unknown", f"can't look it up: {answer.reason}", answer.retry_after_s)
        except _NO_ANSWER as error:
            return Sent("unknown", f"can't look it up: {_line(error)}")
        return Sent("retry", "not in the channel")

    def _channel_id(self, target: str) -> str:
        """History wants an id; a name is resolved through the list of channels."""
        name = target.lstrip("#")
        if target in self._ids:
            return self._ids[target]
        cursor: str | None = None
        while target.startswith("#") or not target[:1].isupper():
            page = self._call("conversations.list", limit=HISTORY_LIMIT, cursor=cursor)
            for channel in page.get("channels") or []:
                self._ids[f"#{channel['name']}"] = self._ids[channel["name"]] = str(channel["id"])
            if name in self._ids:
                return self._ids[name]
            cursor = (page.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                break
        return target


def _refused(error: SlackApiError) -> Sent:
    response: Any = error.response
    status = int(response.status_code or 0)
    code = str(response.get("error") or error)[:200]
    if status == 429 or code in ("ratelimited", "rate_limited"):
        return Sent("retry", "rate limited", _seconds(response.headers))
    if status >= 500 or code in _PERHAPS or code.startswith("Received a response in a non-JSON format"):
        return Sent("unknown", f"Slack answered {status} {code}")
    return Sent("failed", f"Slack refused it: {code}")


def _seconds(headers: Any) -> float:
    found = next((value for name, value in dict(headers).items() if name.lower() == "retry-after"), "1")
    try:
        return max(0.0, float(found[0] if isinstance(found, list) else found))
    except ValueError:
        return 1.0


def _cut_off(error: Exception) -> Sent:
    """Refused before anything was sent, or cut off after."""
    reason = getattr(error, "reason", error) if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ConnectionRefusedError) or type(reason).__name__ == "gaierror":
        return Sent("retry", f"Slack does not answer: {_line(error)}")
    return Sent("unknown", f"no answer from Slack: {_line(error)}")


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
