"""What the outbox needs of a channel: send one message and say what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lendloop.settings import Settings

Outcome = Literal["sent", "retry", "unknown", "failed"]


@dataclass(frozen=True)
class Message:
    """One outbox row as a channel gets it. `edits` is (channel, id) of the message that it changes."""

    uid: str
    target: str
    kind: str
    payload: dict[str, Any]
    thread_key: str | None = None
    edits: tuple[str, str] | None = None


@dataclass(frozen=True)
class Sent:
    """What became of it. retry: surely not sent; unknown: perhaps sent; failed: refused for good."""

    outcome: Outcome
    reason: str | None = None
    retry_after_s: float | None = None
    external_channel: str | None = None
    external_id: str | None = None


class Channel(Protocol):
    """A configured channel."""

    def send(self, message: Message) -> Sent:
        """Send one message; failures are outcomes."""
        ...

    def find(self, message: Message) -> Sent:
        """Look a message up whose outcome is unknown: sent, retry (it is not there) or unknown (can't tell)."""
        ...


Opener = Callable[[Settings], Channel]
