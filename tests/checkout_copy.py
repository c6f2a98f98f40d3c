"""A copy of the checkout, in which a test may change definitions and code, and its commands in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from lendloop.home import CHECKOUT
from tests import forked
from tests.servers import state_of

ROOMS = ("lendloop", "governance", "ingestion", "activation", "orchestration", "dbt_project")


class Copy:
    """`root` is the copy; its home is `root/data`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for room in ROOMS:
            shutil.copytree(
                CHECKOUT / room, root / room, ignore=shutil.ignore_patterns("__pycache__", "target", "logs")
            )

    def lendloop(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `lendloop` in the copy, whatever its exit status."""
        return self.python("-m", "orchestration.cli", *arguments, **variables)

    def python(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LENDLOOP_")}
        state = state_of(self.root / "data")
        environment = {**kept, **state, "PYTHONPATH": str(self.root), "COLUMNS": "400", **variables}
        return forked.run([sys.executable, *arguments], environment, timeout_s=300, folder=self.root)

    def path(self, name: str) -> Path:
        return self.root / name

    def fill(self, name: str, answers: dict[str, str]) -> None:
        """Answer blanks of a file by the beginning of what each asks for, in their order."""
        text = self.path(name).read_text()
        for asked, answer in answers.items():
            before, mark, rest = text.partition(f"<FILL IN {asked}")
            assert mark, f"{name} has no blank that asks for {asked}"
            text = before + answer + rest.partition(">")[2]
        self.path(name).write_text(text)
