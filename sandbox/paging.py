"""Where the vendors' pages keep their cursors, so that a page can be repeated or left out.

HubSpot's lists and searches take `after` and answer `paging.next.after`; Zendesk's exports take `cursor` or
`start_time` and answer `after_cursor` or `end_time` with `end_of_stream`; Slack takes `cursor`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from sandbox.wire import Call, Reply

_ROWS = ("results", "tickets", "users", "ticket_events", "messages", "channels")


def asks_for_more(call: Call) -> bool:
    """Whether a call names a place to go on from."""
    return any(call.one(name) for name in ("after", "cursor")) or bool(_sent(call).get("after"))


def next_call(call: Call, reply: Reply) -> Call | None:
    """The call that a client makes after this reply; None where it is the last page or none at all."""
    body = reply.body if reply.status == 200 and isinstance(reply.body, dict) else {}
    if after := ((body.get("paging") or {}).get("next") or {}).get("after"):
        if call.method == "POST":
            return replace(call, body=orjson.dumps({**_sent(call), "after": after}))
        return _asking(call, after=after)
    if cursor := (body.get("response_metadata") or {}).get("next_cursor"):
        return _asking(call, cursor=cursor)
    if body.get("end_of_stream") is False:
        if "after_cursor" in body:
            return _asking(call, cursor=body["after_cursor"])
        return _asking(call, start_time=body["end_time"])
    return None


def leading_past(page: Reply, skipped: Reply) -> Reply:
    """A page that says, with the next page's words, where to go on."""
    rows = {name: page.body[name] for name in _ROWS if name in page.body}
    return Reply({**skipped.body, **rows}, page.status, page.headers)


def _asking(call: Call, **place: object) -> Call:
    query: Mapping[str, list[str]] = {**call.query, **{name: [str(value)] for name, value in place.items()}}
    return replace(call, query=query)


def _sent(call: Call) -> dict[str, Any]:
    try:
        return call.json()
    except ValueError:
        return {}
