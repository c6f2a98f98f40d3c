"""Locks between processes: an OS file lock that waits with a bound and names its holder."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
    return _read_holder(path).words


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as far as its file says: process, purpose, since when."""

    pid: int | None = None
    purpose: str = ""
    since: datetime | None = None

    @property
    def words(self) -> str:
        if self.pid is None or self.since is None:
            return "an unknown process"
        return f"process {self.pid} ({self.purpose}, since {self.since.isoformat(timespec='seconds')})"

    @property
    def is_alive(self) -> bool:
        """Whether that process is there; on another machine or in another container it can't be seen."""
        return self.pid is not None and Path(f"/proc/{self.pid}").exists()


def _read_holder(path: Path) -> Holder:
    try:
        holder = json.loads(path.read_text())
        return Holder(int(holder["pid"]), str(holder["purpose"]), datetime.fromisoformat(holder["since"]))
    except (OSError, ValueError, KeyError):
        return Holder()


@contextmanager
def free_or_holder(path: Path) -> Iterator[Holder | None]:
    """Who holds the lock now; None when nobody does, and then nobody gets it while inside. Writes nothing.

    Several may look at once.
    """
    if not path.exists():
        yield None
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield _read_holder(path)
            return
        yield None
    finally:
        os.close(descriptor)
