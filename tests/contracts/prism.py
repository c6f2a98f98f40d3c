"""Prism between a client and a stand-in: what either says is held against the vendor's description.

Prism comes from npm, once, into the virtual environment's folder; it needs Node.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lendloop.home import CHECKOUT
from lendloop.locks import file_lock
from tests.ports import free_port

PACKAGE = "@stoplight/prism-cli@5.14.2"
FOLDER = CHECKOUT / ".venv" / "prism"
START_S, INSTALL_S = 60.0, 300.0
_MARK = "/asked-by-the-test/"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def prism_command() -> list[str]:
    """How Prism is run, installed if it is not yet. Skips the test where there is no Node or no way to install it."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node and npm are not installed: Prism, which knows the vendors' descriptions, needs them")
    program = FOLDER / "node_modules" / ".bin" / "prism"
    with file_lock(FOLDER.with_suffix(".lock"), "install Prism", INSTALL_S):
        if not program.exists():
            install = [
                npm,
                "install",
                "--prefix",
                str(FOLDER),
                "--no-audit",
                "--no-fund",
                "--loglevel",
                "error",
                PACKAGE,
            ]
            done = subprocess.run(install, capture_output=True, text=True, timeout=INSTALL_S, check=False)
            if done.returncode:
                pytest.skip(f"npm could not install {PACKAGE}: {done.stderr.strip().splitlines()[-1:]}")
    return [node, str(program)]


@dataclass
class Call:
    """A request that came by, and what was against the description in it or in its answer."""

    method: str
    path: str
    violations: list[str] = field(default_factory=list)


@dataclass
class Proxy:
    """A proxy that lets everything pass and writes down what is against the description."""

    base_url: str
    log: Path
    _read: int = 0
    _marks: int = 0

    def new_calls(self) -> list[Call]:
        """What came by since the last time one asked. Its clients make one request at a time."""
        self._marks += 1
        mark = f"{_MARK}{self._marks}"
        try:
            urllib.request.urlopen(self.base_url + mark, timeout=START_S).close()
        except urllib.error.HTTPError as error:
            error.close()
        deadline = time.monotonic() + START_S
        while (calls := self._calls())[-1].path != mark:
            assert time.monotonic() < deadline, f"{mark} is not in {self.log}"
            time.sleep(0.02)
        new, self._read = calls[self._read :], len(calls)
        return [call for call in new if not call.path.startswith(_MARK)]

    def _calls(self) -> list[Call]:
        calls = [Call("", "")]
        for line in _COLOUR.sub("", self.log.read_text()).splitlines():
            if asked := re.search(r"\[HTTP SERVER\] (\w+) (\S+) .*Request received", line):
                calls.append(Call(asked[1], asked[2]))
            elif "Violation:" in line:
                calls[-1].violations.append(line.split("Violation:", 1)[1].strip())
        return calls


@contextmanager
def prism_proxy(description: dict[str, Any], upstream: str, folder: Path) -> Iterator[Proxy]:
    """Prism before `upstream`, a stand-in's base URL below which the description's paths lie."""
    folder.mkdir(parents=True, exist_ok=True)
    source, log, port = folder / "description.json", folder / "prism.log", free_port()
    source.write_text(json.dumps(description))
    command = [*prism_command(), "proxy", "-h", "127.0.0.1", "-p", str(port), str(source), upstream]
    with log.open("a") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        proxy = Proxy(f"http://127.0.0.1:{port}", log)
        _wait(proxy, process)
        yield proxy
    finally:
        process.terminate()
        process.wait(15)


def _wait(proxy: Proxy, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while "Prism is listening" not in proxy.log.read_text():
        assert process.poll() is None, proxy.log.read_text()
        assert time.monotonic() < deadline, f"Prism did not start: {proxy.log.read_text()}"
        time.sleep(0.05)
    proxy.new_calls()
