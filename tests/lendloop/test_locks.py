from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lendloop.errors import LockTimeoutError
from lendloop.locks import file_lock

HOLDER = """
import sys, time, pathlib
from lendloop.locks import file_lock
with file_lock(pathlib.Path(sys.argv[1]), "loading crm", 5):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_giving_up_names_the_holder_and_what_it_does(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.lock"
    process = hold(path)
    try:
        with (
            pytest.raises(LockTimeoutError, match=rf"process {process.pid} \(loading crm.*waited 0 s for: build"),
            file_lock(path, "build", 0.2),
        ):
            pass
    finally:
        process.kill()
        process.wait()


def test_a_killed_holder_frees_the_lock_at_once(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.lock"
    process = hold(path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    began = time.monotonic()
    with file_lock(path, "build", 5):
        assert time.monotonic() - began < 4
