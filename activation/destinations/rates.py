"""Rate budgets that processes share: by account and endpoint, in small files under `delivery/rates`.

One file holds when the next call may start; a file lock makes taking a turn atomic, so two syncs on
the same account keep the vendor's limit together. Belongs here: turns. Not here: retries.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

Sleep = Callable[[float], Awaitable[None]]
BLOCK_S = 0.05
"""So many seconds of calls are reserved at once, which is one call unless the pace is above 40 a second."""


class RateBudget:
    """Turns for one account. `secret` tells accounts apart; only a digest of it is in the file's name."""

    def __init__(
        self,
        folder: Path,
        account: str,
        secret: str,
        *,
        sleep: Sleep = asyncio.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        digest = hashlib.sha256(f"{account}:{secret}".encode()).hexdigest()[:12]
        self._prefix = folder / f"{account}-{digest}"
        self._sleep = sleep
        self._now = now
        self._held: dict[str, Iterator[float]] = {}

    async def take(self, endpoint: str, calls_per_s: float) -> None:
        """Wait for the next turn at an endpoint. At a fast pace turns are taken `BLOCK_S` seconds' worth at a time."""
        at = next(self._held.get(endpoint, iter(())), None)
        if at is None:
            turns = max(1, int(calls_per_s * BLOCK_S))
            first = at = self._now() + self.reserve(endpoint, calls_per_s, turns)
            self._held[endpoint] = (first + number / calls_per_s for number in range(1, turns))
        wait_s = at - self._now()
        if wait_s > 0:
            await self._sleep(wait_s)

    def reserve(self, endpoint: str, calls_per_s: float, turns: int = 1) -> float:
        """Take the next turns; returns the seconds until the first. A second's worth may go at once after a pause."""
        path = Path(f"{self._prefix}.{endpoint}")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            now = self._now()
            text = os.pread(descriptor, 64, 0)
            # a clock that was set back must not hold calls up: nobody reserves further ahead than a minute
            free_at = max(min(float(text) if text else 0.0, now + 60), now - 1 + 1 / calls_per_s)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, repr(free_at + turns / calls_per_s).encode(), 0)
        finally:
            os.close(descriptor)
        return max(0.0, free_at - now)
