"""A vendor whose clock is off: what it sees of the lender is the same, at another time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

from sandbox.lender import Lender

_off_by_s: ContextVar[float] = ContextVar("off_by_s", default=0.0)


@contextmanager
def clock_off_by(seconds: float) -> Iterator[None]:
    """Inside, and in threads that are started with this context, the vendors' clock is ahead by so much."""
    token = _off_by_s.set(seconds)
    try:
        yield
    finally:
        _off_by_s.reset(token)


def off_by_s() -> float:
    """How far ahead the vendors' clock is in this context."""
    return _off_by_s.get()


class SkewableLender:
    """A lender as the vendors see it."""

    def __init__(self, lender: Lender) -> None:
        self._lender = lender

    @property
    def as_of(self) -> datetime:
        return self._lender.as_of + timedelta(seconds=off_by_s())

    @property
    def version(self) -> int:
        return self._lender.version

    @property
    def ledger_url(self) -> str:
        return self._lender.ledger_url

    def tick(self, days: int) -> dict[str, Any]:
        return self._lender.tick(days)

    def truth(self) -> Mapping[str, Any]:
        return self._lender.truth()

    def table(self, name: str) -> Any:
        return self._lender.table(name)
