"""What every stand-in shares on the wire: a call, its reply, routing, basic authentication.

What belongs here: HTTP without a vendor in it. What does not: any vendor's words.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs

import orjson


@dataclass(frozen=True)
class Call:
    """One request to a stand-in; `path` is below the vendor's prefix, header names are lower case.

    `failing_share`, when a fault set it, is the share of the rows of a batch that must fail.
    """

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    base_url: str
    params: Mapping[str, str] = field(default_factory=dict)
    failing_share: float | None = None

    def one(self, name: str, default: str | None = None) -> str | None:
        """The last value of a query parameter."""
        values = self.query.get(name)
        return values[-1] if values else default

    def integer(self, name: str, default: int) -> int:
        """A query parameter as a number. Raises ValueError for anything else."""
        return int(self.one(name) or default)

    def flag(self, name: str) -> bool:
        return (self.one(name) or "").lower() in ("true", "1")

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty one. Raises ValueError for anything else."""
        body = orjson.loads(self.body) if self.body.strip() else {}
        if not isinstance(body, dict):
            raise ValueError("the body must be a JSON object")
        return body

    def fields(self) -> dict[str, Any]:
        """Arguments from JSON, a form or the query, as Slack takes them. Raises ValueError for broken JSON."""
        found: dict[str, Any] = {name: values[-1] for name, values in self.query.items()}
        if self.headers.get("content-type", "").startswith("application/json"):
            found |= self.json()
        else:
            found |= {name: values[-1] for name, values in parse_qs(self.body.decode("utf-8", "replace")).items()}
        return found


@dataclass(frozen=True)
class Reply:
    """What goes back: `body` is anything orjson can write, or bytes as they are."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)


class RefusalError(Exception):
    """The vendor says no; carries the reply."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status}")
        self.reply = Reply(body, status, headers or {})


Handler = Callable[[Call], Reply]


class StandIn(ABC):
    """A vendor's double: authorises, counts against the limits, routes, one call at a time.

    Subclasses fill `routes` and say how the vendor refuses.
    """

    name = ""

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []
        self._lock = threading.RLock()

    def route(self, method: str, template: str, handler: Handler) -> None:
        """Route `/things/{id}`; a placeholder takes one segment, and a trailing `.json` is optional."""
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+?)", re.escape(template))
        self._routes.append((method, re.compile(pattern + r"(?:\.json)?/?"), handler))

    def answer(self, call: Call) -> Reply:
        """The vendor's reply to a call."""
        with self._lock:
            try:
                self.authorise(call)
                self.count(call)
                return self._dispatch(call)
            except RefusalError as refusal:
                return refusal.reply
            except ValueError as error:
                return self.malformed(str(error))

    def _dispatch(self, call: Call) -> Reply:
        for method, pattern, handler in self._routes:
            if method == call.method and (match := pattern.fullmatch(call.path)):
                return handler(replace(call, params=match.groupdict()))
        return self.unknown(call)

    @abstractmethod
    def authorise(self, call: Call) -> None:
        """Raise RefusalError when the caller's secret is not the one that was handed out."""

    def count(self, call: Call) -> None:  # noqa: B027 - a vendor without a limit counts nothing
        """Raise RefusalError when the call is one too many."""

    def unknown(self, call: Call) -> Reply:
        """The reply for a path that the vendor does not have."""
        return Reply({"error": f"no such path: {call.method} {call.path}"}, 404)

    def malformed(self, why: str) -> Reply:
        """The reply for a request that cannot be read."""
        return Reply({"error": why}, 400)


def basic_credentials(call: Call) -> tuple[str, str] | None:
    """User and password of HTTP Basic, None when there are none or they cannot be read."""
    scheme, _, value = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user, password


def bearer_token(call: Call) -> str | None:
    scheme, _, value = call.headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def request_id() -> str:
    return str(uuid.uuid4())
