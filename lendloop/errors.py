"""Failures as classes: wrong use, permanent, transient. A message says what, where and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LendloopError(Exception):
    """Base of every expected failure. `str(error)` is one clear line for a person."""


class ConfigurationError(LendloopError):
    """Wrong use or configuration: exit status 2. Trying again changes nothing."""


class PermanentError(LendloopError):
    """The other side refused for good, or the data can't be taken: trying again changes nothing."""


class TransientError(LendloopError):
    """It may work later: rate limits, timeouts, 5xx, a busy lock."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LockTimeoutError(TransientError):
    """Somebody else held a lock for longer than we were ready to wait; the message names the holder."""


def nearest(wanted: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not known: `; nearest: …`, or nothing where none is like it."""
    found = difflib.get_close_matches(wanted, sorted(known), n=4)
    return f"; nearest: {', '.join(found)}" if found else ""
