"""A server that ends with the process that started it, however that comes to its end. Nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WHEN_WE_ARE_GONE = 'cat >/dev/null; kill -s "$1" "$(head -n 1 "$2")"; rm -rf "$3"'


@contextmanager
def ended_with_us(signal: str, pid_file: Path, place: Path) -> Iterator[None]:
    """While inside, the death of this process sends `signal` to the process of `pid_file` and removes `place`.

    A shell waits for the end of a pipe that only we hold: a killed process runs no cleaning of its own.
    """
    command = ["sh", "-c", _WHEN_WE_ARE_GONE, "sh", signal, str(pid_file), str(place)]
    nothing = subprocess.DEVNULL
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=nothing, stderr=nothing, start_new_session=True)
    try:
        yield
    finally:
        watcher.kill()
        watcher.wait()
        if watcher.stdin:
            watcher.stdin.close()
