"""A lender and an installation of its own: real processes, real HTTP, a home that is thrown away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.sandbox_process import call, sandbox_server

HASH_KEY = "0123456789abcdef" * 4
RUN_TIMEOUT_S = 300


@dataclass
class Installation:
    """A lendloop of its own. `environment` is all it knows; `base_url` its sandbox, if it has one."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    base_url: str = ""

    @property
    def person(self) -> Path:
        """The home folder of whoever runs it: nothing may be written there."""
        folder = self.home.parent / "person"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "orchestration.cli", *arguments]

    @property
    def process_environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LENDLOOP_", "DAGSTER_HOME"))}
        return {
            **kept,
            "HOME": str(self.person),
            "LENDLOOP_HOME": str(self.home),
            "LENDLOOP_HASH_KEY": HASH_KEY,
            **self.environment,
        }

    def lendloop(self, *arguments: str, timeout_s: float = RUN_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """Run the command and give its outcome."""
        return subprocess.run(
            self.command(*arguments), env=self.process_environment, capture_output=True, text=True, timeout=timeout_s
        )

    def run(self, *, expect: int = 0) -> dict[str, Any]:
        """One pass, as JSON. Fails with what it printed when the exit status is not the expected one."""
        done = self.lendloop("run", "--json")
        assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def query(self, sql: str, *, catalogue: str = "published.duckdb") -> list[tuple[Any, ...]]:
        """Rows from a published catalogue."""
        with duckdb.connect(str(self.home / catalogue), read_only=True) as connection:
            connection.execute("set timezone = 'UTC'")
            return connection.execute(sql).fetchall()

    def sandbox(self, path: str, body: Any = None) -> Any:
        return call(self.base_url, path, body)

    @property
    def arrivals(self) -> dict[str, Any]:
        arrived: dict[str, Any] = self.sandbox("/arrivals.json")
        return arrived


def installation_on(sandbox: dict[str, str], home: Path) -> Installation:
    settings = {name: value for name, value in sandbox.items() if name.startswith("LENDLOOP_")}
    return Installation(home, settings, sandbox["base_url"])


@pytest.fixture
def lender(tmp_path: Path) -> Iterator[Installation]:
    """An installation on a small pretend lender of its own."""
    with sandbox_server(tmp_path / "sandbox", customers=400) as sandbox:
        yield installation_on(sandbox, tmp_path / "home")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation after its first pass, shared by the tests of a module that only read it."""
    folder = tmp_path_factory.mktemp("loaded")
    with sandbox_server(folder / "sandbox", customers=400) as sandbox:
        installation = installation_on(sandbox, folder / "home")
        installation.run()
        yield installation
