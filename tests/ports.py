"""Free ports of 127.0.0.1 that stay free until a server has taken them. Nothing else."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path

FIRST, END = 20_000, 32_000
"""Below those that the kernel hands out to whoever connects, one of which a server could lose meanwhile."""
_held: list[int] = []
"""Locks on the ports that this process was given, for as long as it lives."""


def free_port() -> int:
    """A port that no other process of the tests gets, as long as this one lives."""
    folder = Path(tempfile.gettempdir()) / f"ports-of-tests-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for number in range(END - FIRST):
        port = FIRST + (os.getpid() * 37 + number) % (END - FIRST)
        held = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(held)
            continue
        _held.append(held)
        return port
    raise RuntimeError("no port is free")
