"""An installation under test: real processes, real HTTP, a home that is thrown away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import duckdb

from lendloop.home import Home
from orchestration.sandbox_process import call, sandbox_server
from tests import forked
from tests.servers import drop_state, ledger_of, state_of

HASH_KEY = "0123456789abcdef" * 4
RUN_TIMEOUT_S = 600


@dataclass
class Installation:
    """A lendloop of its own. `environment` is all it knows; `base_url` its sandbox, if it has one.

    A new home finds the dbt project parsed where `parsed` is one in which it is. `report` is that of its last pass before
    the test began. Its commands are forked (tests/forked.py), or else start as a person starts them.
    """

    parsed: ClassVar[Home | None] = None

    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    base_url: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    is_forked: bool = True

    def __post_init__(self) -> None:
        if self.parsed and not self.home.exists():
            shutil.copytree(self.parsed.dbt, Home(self.home).dbt)

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
            "LENDLOOP_SITE_IN_PASS": "false",
            **state_of(self.home),
            **self.environment,
        }

    def lendloop(self, *arguments: str, timeout_s: float = RUN_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """Run the command and give its outcome."""
        command, environment = self.command(*arguments), self.process_environment
        if self.is_forked:
            return forked.run(command, environment, timeout_s)
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s)

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

    def lose(self) -> None:
        """Home and state are gone."""
        shutil.rmtree(self.home)
        drop_state(self.home)

    def sandbox(self, path: str, body: Any = None) -> Any:
        return call(self.base_url, path, body)

    @property
    def arrivals(self) -> dict[str, Any]:
        arrived: dict[str, Any] = self.sandbox("/arrivals.json")
        return arrived


def installation_on(sandbox: dict[str, str], home: Path) -> Installation:
    settings = {name: value for name, value in sandbox.items() if name.startswith("LENDLOOP_")}
    return Installation(home, settings, sandbox["base_url"])


@contextmanager
def installed(folder: Path, customers: int) -> Iterator[Installation]:
    """An installation in `folder`, on a pretend lender beside its home that is there as long as the block."""
    sandbox = folder / "sandbox"
    with sandbox_server(sandbox, customers, ledger_of(sandbox)) as settings:
        yield installation_on(settings, folder / "home")


class Kept(Installation):
    """What an installation had come to at a moment: its report, what had arrived, what was exported and published."""

    @property
    def arrivals(self) -> dict[str, Any]:
        arrived: dict[str, Any] = json.loads((self.home / "arrivals.json").read_text())
        return arrived


def keep(installation: Installation, report: dict[str, Any], folder: Path) -> None:
    """Keep it in `folder` for as long as its home stands, whose published files are read from where they are."""
    folder.mkdir()
    shutil.copytree(installation.home / "exports", folder / "exports")
    shutil.copy2(installation.home / "published.duckdb", folder)
    (folder / "arrivals.json").write_text(json.dumps(installation.arrivals))
    (folder / "report.json").write_text(json.dumps(report))


def kept(folder: Path) -> Kept:
    return Kept(folder, report=json.loads((folder / "report.json").read_text()))
