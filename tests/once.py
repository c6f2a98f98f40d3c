"""What all workers of a test session share: made by the one who comes first, in a folder of the session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lendloop.locks import file_lock

MADE_S = 1200.0


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The session's folder `name`, filled by `make`; whoever comes meanwhile waits. It is for reading and copying."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    made = folder.with_suffix(".made")
    with file_lock(folder.with_suffix(".lock"), f"making {name} of the tests", MADE_S):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder
