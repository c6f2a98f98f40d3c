"""Python processes that are forked from one with the heavy packages imported, on which each would else spend seconds.

Such a process is what `subprocess.Popen` would have started: a child of who asked for it, with arguments, environment,
folder, files and a session of its own, killed and waited for as any other. All of this project it imports itself.
What forks it is tests/forker.py, a process that ends with the one that asks it.
"""

from __future__ import annotations

import atexit
import ctypes
import inspect
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, AnyStr

from tests.forker import ORDER_BYTES, READY

READY_S = 120.0
_PARAMETERS = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""By which numpy and pyarrow start none when they are imported."""
_PR_SET_CHILD_SUBREAPER = 36


class Process(subprocess.Popen[AnyStr]):
    """A Popen by which `python -m …` and `python -c …` are forked where they can be; the rest it starts as Popen does."""

    def _execute_child(self, *given: Any) -> None:
        asked = _PARAMETERS.bind(self, *given).arguments
        environment = os.environ if asked["env"] is None else asked["env"]
        forker = _forker() if _is_python(asked) and _python_reads(environment) == _python_reads(os.environ) else None
        if forker is None:
            super()._execute_child(*given)  # type: ignore[misc]
            return
        order = {
            "arguments": list(asked["args"])[1:],
            "environment": dict(environment),
            "folder": str(asked["cwd"] or Path.cwd()),
            "is_session": asked["start_new_session"],
        }
        files = [
            asked[name] if asked[name] != -1 else std for std, name in enumerate(("p2cread", "c2pwrite", "errwrite"))
        ]
        self.pid = forker.fork(order, files)
        self._child_created = True
        self._close_pipe_fds(*(asked[f"{pipe}{end}"] for pipe in ("p2c", "c2p", "err") for end in ("read", "write")))


def run(
    command: list[str], environment: Mapping[str, str], timeout_s: float, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Like `subprocess.run`: the outcome of a command, with all that it printed."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with Process[str](command, env=environment, cwd=folder, **pipes) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def can_fork() -> bool:
    """Whether processes are forked on this machine."""
    return _forker() is not None


def _is_python(asked: Mapping[str, Any]) -> bool:
    """Whether it is `python -m` or `python -c` and asks for nothing that an order does not say."""
    command = asked["args"]
    return (
        isinstance(command, list)
        and command[0] == sys.executable
        and command[1] in ("-m", "-c")
        and not any(asked[name] for name in ("executable", "preexec_fn", "pass_fds", "shell"))
    )


def _python_reads(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that Python reads before anything of a command runs, and an order can't change any more."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(("PYTHON", "LC_", "LANG")) and name != "PYTHONPATH"
    }


class _Forker:
    """The process that forks, started when it is first asked."""

    def __init__(self) -> None:
        self._asking = Lock()
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        script = Path(__file__).with_name("forker.py")
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | _NO_THREADS
        environment["MPLCONFIGDIR"] = str(Path(tempfile.gettempdir()) / "matplotlib-of-tests")
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(script), str(theirs.fileno())],
                env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
            )  # fmt: skip
        atexit.register(self.close)

    def close(self) -> None:
        self._line.close()
        self._process.wait(READY_S)

    def is_ready(self) -> bool:
        self._line.settimeout(READY_S)
        return self._line.recv(ORDER_BYTES) == READY

    def fork(self, order: Mapping[str, Any], files: list[int]) -> int:
        """The id of the new process, a child of this one."""
        with self._asking, _adopting():
            socket.send_fds(self._line, [json.dumps(order).encode()], files)
            return int(self._line.recv(ORDER_BYTES))


_starting = Lock()


def _forker() -> _Forker | None:
    with _starting:
        return _started()


@cache
def _started() -> _Forker | None:
    if sys.platform != "linux":
        return None
    forker = _Forker()
    if forker.is_ready():
        return forker
    forker.close()
    return None


@contextmanager
def _adopting() -> Iterator[None]:
    """Meanwhile a descendant whose parent ends becomes this process's child."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
