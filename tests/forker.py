"""The process that forks others (tests/forked.py): it imports packages, then forks one process for each order.

An order comes over the line, with the files that are to be standard input, output and error. Nothing of this project
is imported here: what is forked may belong to a copy of the checkout.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
import time
from types import ModuleType
from typing import Any

PACKAGES = (
    "numpy", "pandas", "pyarrow.dataset", "pyarrow.parquet", "duckdb", "sqlglot", "orjson", "rich", "typer",
    "pydantic_settings", "sqlalchemy", "sqlalchemy.dialects.mysql", "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite", "alembic.command", "httpx", "aiohttp", "slack_sdk", "phonenumbers", "splink",
    "matplotlib.backends.backend_agg", "matplotlib.figure",
    "dagster", "dagster._core.execution.execute_in_process", "dagster._core.storage.sqlite_storage", "dagster._daemon.daemon",
    "dlt", "dlt.sources.helpers.requests",
    "dbt.cli.main", "dbt.adapters.duckdb.environments.local", "dbt.adapters.duckdb.impl", "dbt.task.build",
)  # fmt: skip
"""What most commands import. One too few or too many costs time and nothing else."""
ORDER_BYTES = 1 << 18
READY = b"ready"


def main(line: socket.socket) -> None:
    """Fork until the other end of the line is closed. Ends at once, without a word, where an import started a thread."""
    del sys.path[0]
    for name in PACKAGES:
        importlib.import_module(name)
    if len(os.listdir("/proc/self/task")) > 1:  # what another thread holds is lost in a fork
        return
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line.send(READY)
    while True:
        order, files, *_ = socket.recv_fds(line, ORDER_BYTES, 3)
        if not order:
            return
        pid = _fork()
        if pid is None:
            line.close()
            _live(json.loads(order), files)
        for file in files:
            os.close(file)
        line.send(str(pid).encode())


def _fork() -> int | None:
    """The id of a new process whose parent has ended: who adopts such has it for a child. None in the new process."""
    told, telling = os.pipe()
    between = os.fork()
    if between == 0:
        between = os.getpid()
        if pid := os.fork():
            os.write(telling, str(pid).encode())
            os._exit(0)
        os.close(told)
        os.close(telling)
        while os.getppid() == between:
            time.sleep(0.0005)
        return None
    os.close(telling)
    with open(told) as reader:
        pid = int(reader.read())
    os.waitpid(between, 0)
    return pid


def _live(order: dict[str, Any], files: list[int]) -> None:
    """Be what was ordered. As Python does, end with its exit status after its threads; nothing is taken apart before."""
    code: Any = 0
    try:
        _become(order, files)
    except SystemExit as leaving:
        code = leaving.code
    except BaseException:  # noqa: BLE001 - what Python does with it
        sys.excepthook(*sys.exc_info())
        code = 1
    if not isinstance(code, int | None):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def _become(order: dict[str, Any], files: list[int]) -> None:
    if order["is_session"]:
        os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    how, what, *arguments = order["arguments"]
    sys.path[:0] = [order["folder"] if how == "-m" else "", *filter(None, os.environ.get("PYTHONPATH", "").split(":"))]
    sys.argv = [how, *arguments]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = module = ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(module))


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
