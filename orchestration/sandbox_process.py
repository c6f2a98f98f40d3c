"""The sandbox as another process: started, waited for, stopped. Nothing of it is imported."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lendloop.errors import PermanentError, TransientError

START_TIMEOUT_S = 900.0
"""As long as a busy machine takes to make the world of a million customers."""
STOP_TIMEOUT_S = 15.0


@contextmanager
def sandbox_server(folder: Path, customers: int, ledger_url: str | None = None) -> Iterator[dict[str, str]]:
    """A running sandbox: the one that already serves `folder`, or a new one that ends with the block.

    A new one keeps its ledger in the database of `ledger_url`, or in a file of its own. Yields its settings
    (`LENDLOOP_*` and `base_url`). Raises PermanentError when it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if running := _already_running(folder):
        yield running
        return
    ledger = ["--ledger-url", ledger_url] if ledger_url else []
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "serve", "--customers", str(customers), "--folder", str(folder), *ledger],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield _first_line(process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _already_running(folder: Path) -> dict[str, str] | None:
    try:
        state = json.loads((folder / "server.json").read_text())
        settings: dict[str, str] = {**state["settings"], "base_url": state["base_url"]}
        call(settings["base_url"], "/clock", timeout_s=5)
    except (OSError, ValueError, KeyError, TransientError):
        return None
    return settings


def _first_line(process: subprocess.Popen[str]) -> dict[str, str]:
    if process.stdout is None:
        raise PermanentError("the sandbox gave no standard output")
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if select.select([process.stdout], [], [], 0.2)[0]:
            line = process.stdout.readline()
            if line.strip():
                settings: dict[str, str] = json.loads(line)
                return settings
    raise PermanentError("the sandbox did not start; try `lendloop sandbox serve` to see why")


def call(base_url: str, path: str, body: Any = None, timeout_s: float = 300) -> Any:
    """Ask the sandbox: GET, or POST of a JSON body. Returns the answer's JSON. Raises TransientError."""
    request = urllib.request.Request(  # noqa: S310
        base_url + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            return json.load(answer)
    except (urllib.error.URLError, TimeoutError) as error:
        raise TransientError(f"the sandbox at {base_url} did not answer {path}: {error}") from error


def use_settings(settings: dict[str, str]) -> None:
    """Put the sandbox's addresses into this process's environment, as a person would."""
    os.environ.update({name: value for name, value in settings.items() if name.startswith("LENDLOOP_")})
