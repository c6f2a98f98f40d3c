"""The page that shows what arrived, as a person would see it: messages, audiences, mail, calls.

Everything is drawn on the server, with no script and nothing fetched from elsewhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from sandbox.arrivals import Arrivals
from sandbox.mrkdwn import render_mrkdwn, render_plain

MESSAGES_SHOWN, MEMBERS_SHOWN, MAILS_SHOWN = 100, 25, 50
_HIDDEN_ATTRIBUTES = {"uuid", "created_at", "updated_at", "email", "customer_id", "firstname", "lastname"}
_VENDORS = {
    "hubspot": "CRM (HubSpot)",
    "zendesk": "Support (Zendesk)",
    "blueshift": "Marketing (Blueshift)",
    "slack": "Slack",
}


def render_page(
    arrivals: Arrivals, calls: dict[str, dict[str, int]], as_of: datetime, faults: list[dict[str, Any]]
) -> str:
    """The whole page as HTML. `faults` are those of the fault book; the ones that are used up are not shown."""
    messages, lists, mails = arrivals.messages(), arrivals.lists(), arrivals.mails()
    profiles = arrivals.profiles()
    return _template().render(
        as_of=as_of,
        faults=[fault for fault in faults if fault["left"] != 0],
        channels=_channels(messages),
        message_count=len(messages),
        audiences=[_audience(one, profiles) for one in lists if not one.get("deleted_at")],
        profile_count=len(profiles),
        mails=mails[-MAILS_SHOWN:][::-1],
        mail_count=len(mails),
        calls=[_vendor_calls(name, title, calls.get(name, {})) for name, title in _VENDORS.items()],
    )


@cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"mrkdwn": render_mrkdwn, "plain": render_plain, "when": _when, "text": _text_object}
    return environment.get_template("page.html.j2")


def _when(value: str | datetime) -> str:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(UTC).strftime("%-d %b %Y, %H:%M")


def _text_object(value: Any) -> Any:
    """A text object of Block Kit as HTML."""
    if not isinstance(value, dict):
        return ""
    text = str(value.get("text", ""))
    return render_plain(text) if value.get("type") == "plain_text" else render_mrkdwn(text)


def _channels(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Channels in the order of their newest message; within one, oldest first, replies under their message."""
    by_channel: dict[str, list[dict[str, Any]]] = {}
    for message in messages:
        by_channel.setdefault(message["channel"], []).append(message)
    shown = []
    for found in by_channel.values():
        replies: dict[str, list[dict[str, Any]]] = {}
        for message in found:
            if message.get("thread_ts") not in (None, message["ts"]):
                replies.setdefault(message["thread_ts"], []).append(message)
        tops = [message for message in found if message.get("thread_ts") in (None, message["ts"])]
        recent = [{**message, "replies": replies.get(message["ts"], [])} for message in tops[-MESSAGES_SHOWN:]]
        shown.append(
            {
                "name": found[0]["channel_name"],
                "messages": recent,
                "older": len(tops) - len(recent),
                "newest": found[-1]["ts"],
            }
        )
    return sorted(shown, key=lambda channel: channel["newest"], reverse=True)


def _audience(one: dict[str, Any], profiles: list[dict[str, Any]]) -> dict[str, Any]:
    """A list with the first of its members as people: name, addresses, attributes that were sent."""
    chosen = set(one["members"][:MEMBERS_SHOWN])
    key = one["source"]
    known = {
        str(profile.get(key)).lower() if key == "email" else str(profile.get(key)): profile for profile in profiles
    }
    people = []
    for value in sorted(chosen):
        profile = known.get(value, {})
        attributes = {
            name: shown
            for name, shown in profile.items()
            if name not in _HIDDEN_ATTRIBUTES and shown not in (None, "", [], {}) and not isinstance(shown, dict | list)
        }
        name = " ".join(str(profile[part]) for part in ("firstname", "lastname") if profile.get(part))
        people.append({"identifier": value, "name": name, "email": profile.get("email"), "attributes": attributes})
    return {**one, "people": people, "count": len(one["members"])}


def _vendor_calls(name: str, title: str, counted: dict[str, int]) -> dict[str, Any]:
    statuses = {key.removeprefix("status "): number for key, number in counted.items() if key.startswith("status ")}
    paths = {key: number for key, number in counted.items() if key != "total" and not key.startswith("status ")}
    busiest = sorted(paths.items(), key=lambda item: -item[1])[:8]
    return {"name": name, "title": title, "total": counted.get("total", 0), "statuses": statuses, "paths": busiest}
