"""Slack's Web API as the lender's workspace: post, update, history, channels.

Wire format from Slack's method reference: arguments as a form or JSON, `ok: false` with an error in
a 200, 429 with Retry-After when a channel gets more than its messages a second. Channels are given
by id, and by name only to `chat.postMessage`, as in Slack.
"""

from __future__ import annotations

import base64
import time
from typing import Any

import orjson

from sandbox.arrivals import Arrivals, dump
from sandbox.limits import RateLimiter, whole_seconds
from sandbox.slack_blocks import faults_of
from sandbox.wire import Call, RefusalError, Reply, StandIn, bearer_token

TEXT_LIMIT = 40_000
HISTORY_LIMIT = 999
BOT_USER, BOT_ID, TEAM, APP_ID = "U0LENDLOOP", "B0LENDLOOP", "T0SANDBOX", "A0LENDLOOP"
CHANNELS = {
    "C0ALERTS01": "lendloop-alerts",
    "C0DATAPLAT": "data-platform",
    "C0COLLECT1": "collections",
    "C0GROWTH01": "growth",
    "C0RISK0001": "risk",
    "C0SUPPORT1": "support-ops",
    "C0FINANCE1": "finance",
}
ALERT_CHANNEL = "C0ALERTS01"
_KEPT = ("text", "blocks", "attachments", "metadata", "thread_ts", "username", "icon_emoji")


class Slack(StandIn):
    """The stand-in. `token` is the bot token."""

    name = "slack"

    def __init__(self, arrivals: Arrivals, limiter: RateLimiter, token: str) -> None:
        super().__init__()
        self._arrivals, self._limiter, self._token = arrivals, limiter, token
        arrivals.write("insert or ignore into channel values (?, ?)", list(CHANNELS.items()))
        newest = arrivals.read("select max(ts) from message")[0][0]
        self._last_ts = float(newest or 0)
        for method, handler in {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "conversations.list": self._channels,
            "conversations.create": self._create_channel,
        }.items():
            self.route("POST", f"/api/{method}", handler)
            self.route("GET", f"/api/{method}", handler)

    def authorise(self, call: Call) -> None:
        given = bearer_token(call) or call.fields().get("token")
        if given != self._token:
            raise _error("invalid_auth" if given else "not_authed")

    def unknown(self, call: Call) -> Reply:
        return Reply({"ok": False, "error": "unknown_method", "req_method": call.path.removeprefix("/api/")})

    def malformed(self, why: str) -> Reply:
        return Reply({"ok": False, "error": "invalid_json"})

    def _limit(self, name: str, key: str = "") -> None:
        wait_s = self._limiter.take(f"slack.{name}", key)
        if wait_s is not None:
            raise RefusalError(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": whole_seconds(wait_s)})

    def _auth_test(self, call: Call) -> Reply:
        url = call.base_url + "/"
        body = {"ok": True, "url": url, "team": "Sandbox Lender", "user": "lendloop", "team_id": TEAM}
        return Reply({**body, "user_id": BOT_USER, "bot_id": BOT_ID, "is_enterprise_install": False})

    def _channel(self, value: object, *, by_name: bool = False) -> str:
        """The id of a channel. Raises RefusalError when there is none."""
        text = str(value or "")
        query = "select id from channel where id = ?"
        if by_name:
            query += " or name = ltrim(?1, '#')"
        found = self._arrivals.read(query, text)
        if not found:
            raise _error("channel_not_found")
        return str(found[0][0])

    def _content(self, asked: dict[str, Any], old: dict[str, Any] | None = None) -> dict[str, Any]:
        """The parts of a message as they are kept, over those of the old one. Raises RefusalError for what Slack refuses."""
        given = {name: asked[name] for name in _KEPT if asked.get(name) not in (None, "")}
        for name in ("blocks", "attachments", "metadata"):
            if isinstance(given.get(name), str):
                try:
                    given[name] = orjson.loads(given[name])
                except ValueError:
                    raise _error(f"invalid_{name}_format") from None
        kept = {**(old or {}), **given}
        if not any(kept.get(name) for name in ("text", "blocks", "attachments")):
            raise _error("no_text")
        if len(str(kept.get("text", ""))) > TEXT_LIMIT:
            raise _error("msg_too_long")
        if kept.get("blocks") and (faults := faults_of(kept["blocks"])):
            messages = [f"[ERROR] {fault}" for fault in faults]
            raise _error("invalid_blocks", errors=faults, response_metadata={"messages": messages})
        if kept.get("metadata") and not _is_metadata(kept["metadata"]):
            raise _error("invalid_metadata_schema")
        return {"text": "", **{name: value for name, value in kept.items() if value not in ([], {})}}

    def _post(self, call: Call) -> Reply:
        asked = call.fields()
        channel = self._channel(asked.get("channel"), by_name=True)
        content = self._content(asked)
        self._limit("post", channel)
        ts = self._next_ts()
        values = (channel, ts, 0, self._arrivals.now(), dump(content))
        self._arrivals.write("insert into message values (?, ?, ?, ?, ?)", [values])
        self._arrivals.add_event("slack", "chat.postMessage", {"channel": channel, "ts": ts, **content})
        return Reply({"ok": True, "channel": channel, "ts": ts, "message": _shown(ts, content, with_metadata=True)})

    def _next_ts(self) -> str:
        """Seconds with six decimals, never the same twice, also after a restart."""
        self._last_ts = max(time.time(), self._last_ts + 0.000_001)
        text = f"{self._last_ts:.6f}"
        if self._arrivals.read("select 1 from message where ts = ?", text):
            self._last_ts += 0.000_001
            return self._next_ts()
        return text

    def _update(self, call: Call) -> Reply:
        """Replace what is given; the rest stays, and an empty array or object takes it away."""
        asked = call.fields()
        channel, ts = self._channel(asked.get("channel")), str(asked.get("ts") or "")
        self._limit("tier3", "chat.update")
        found = self._arrivals.read("select edits, body from message where channel = ? and ts = ?", channel, ts)
        if not found:
            raise _error("message_not_found")
        content = self._content(asked, orjson.loads(found[0][1]))
        content["edited"] = {"user": BOT_USER, "ts": f"{time.time():.6f}"}
        values = (found[0][0] + 1, dump(content), channel, ts)
        self._arrivals.write("update message set edits = ?, body = ? where channel = ? and ts = ?", [values])
        self._arrivals.add_event("slack", "chat.update", {"channel": channel, "ts": ts, **content})
        message = _shown(ts, content, with_metadata=True)
        return Reply({"ok": True, "channel": channel, "ts": ts, "text": content["text"], "message": message})

    def _history(self, call: Call) -> Reply:
        """Newest first; a cursor is the ts that the next page begins below. Replies in threads are left out."""
        asked = call.fields()
        channel = self._channel(asked.get("channel"))
        self._limit("tier3", "conversations.history")
        found = self._between(channel, asked)
        return self._page(asked, [one for one in reversed(found) if one[1].get("thread_ts") in (None, one[0])])

    def _replies(self, call: Call) -> Reply:
        asked = call.fields()
        channel, thread = self._channel(asked.get("channel")), str(asked.get("ts") or "")
        self._limit("tier3", "conversations.replies")
        return self._page(asked, [m for m in self._between(channel, {}) if thread in (m[0], m[1].get("thread_ts"))])

    def _between(self, channel: str, asked: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        oldest, latest = float(asked.get("oldest") or 0), float(asked.get("latest") or "inf")
        inclusive = _true(asked.get("inclusive"))
        rows = self._arrivals.read("select ts, body from message where channel = ? order by ts", channel)
        return [
            (ts, orjson.loads(body))
            for ts, body in rows
            if (oldest < float(ts) < latest) or (inclusive and float(ts) in (oldest, latest))
        ]

    def _page(self, asked: dict[str, Any], found: list[tuple[str, dict[str, Any]]]) -> Reply:
        limit = min(int(asked.get("limit") or 100), HISTORY_LIMIT)
        start = 0
        if cursor := asked.get("cursor"):
            try:
                start = int(base64.b64decode(str(cursor), validate=True).removeprefix(b"next:"))
            except ValueError:
                raise _error("invalid_cursor") from None
        page, more = found[start : start + limit], start + limit < len(found)
        with_metadata = _true(asked.get("include_all_metadata"))
        body: dict[str, Any] = {"ok": True, "messages": [_shown(*one, with_metadata=with_metadata) for one in page]}
        body |= {"has_more": more, "pin_count": 0, "channel_actions_ts": None, "channel_actions_count": 0}
        cursor = base64.b64encode(f"next:{start + limit}".encode()).decode() if more else ""
        return Reply({**body, "response_metadata": {"next_cursor": cursor}})

    def _channels(self, call: Call) -> Reply:
        self._limit("tier2", "conversations.list")
        found = self._arrivals.read("select id, name from channel order by name")
        channels = [_channel_body(channel, name) for channel, name in found]
        return Reply({"ok": True, "channels": channels, "response_metadata": {"next_cursor": ""}})

    def _create_channel(self, call: Call) -> Reply:
        self._limit("tier2", "conversations.create")
        name = str(call.fields().get("name") or "").lower()
        if not name or len(name) > 80 or " " in name:
            raise _error("invalid_name")
        if self._arrivals.read("select 1 from channel where name = ?", name):
            raise _error("name_taken")
        channel = f"C0{len(self._arrivals.read('select id from channel')):08d}"
        self._arrivals.write("insert into channel values (?, ?)", [(channel, name)])
        return Reply({"ok": True, "channel": _channel_body(channel, name)})


def _is_metadata(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return isinstance(value.get("event_type"), str) and isinstance(value.get("event_payload"), dict)


def _shown(ts: str, content: dict[str, Any], *, with_metadata: bool) -> dict[str, Any]:
    """A message as the API shows it."""
    shown = {"type": "message", "user": BOT_USER, "bot_id": BOT_ID, "app_id": APP_ID, "team": TEAM, "ts": ts}
    hidden = () if with_metadata else ("metadata",)
    return shown | {name: value for name, value in content.items() if name not in hidden}


def _channel_body(channel: str, name: str) -> dict[str, Any]:
    flags = {"is_channel": True, "is_archived": False, "is_general": False, "is_member": True, "is_private": False}
    return {"id": channel, "name": name, "name_normalized": name, "creator": BOT_USER, "created": 0, **flags}


def _error(name: str, **more: Any) -> RefusalError:
    """Slack's way to refuse: a 200 that says so."""
    return RefusalError(200, {"ok": False, "error": name, **more})


def _true(value: object) -> bool:
    return str(value).lower() in ("true", "1")
