"""Locks between processes: an OS file lock that waits with a bound and names its holder."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from lendloop.errors import LockTimeoutError

_POLL_S = 0.05


@contextmanager
def file_lock(path: Path, purpose: str, timeout_s: float) -> Iterator[None]:
    """Hold an exclusive lock on `path` while inside.

    The kernel frees it when the process ends, however it ends. Not re-entrant: a second call in
    the same process waits like any other. Raises LockTimeoutError, naming the holder, after `timeout_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LockTimeoutError(
                        f"{path.name} is held by {describe_holder(path)}; waited {timeout_s:.0f} s for: {purpose}"
                    ) from None
                time.sleep(_POLL_S)
        holder = {"pid": os.getpid(), "purpose": purpose, "since": datetime.now(UTC).isoformat(timespec="seconds")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def describe_holder(path: Path) -> str:
    """Who holds the lock, in words, as far as the lock's file says."""
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} ({holder['purpose']}, since {holder['since']})"
    except (OSError, ValueError, KeyError):
        return "an unknown process"
