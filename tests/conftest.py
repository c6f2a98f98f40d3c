"""What every test stands on: an environment without anybody's settings, no telemetry, and skips that CI refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from governance.lineage import Graph
    from tests.postgres import Server

for _name in [name for name in os.environ if name.startswith("LENDLOOP_") and name != "LENDLOOP_NO_SKIPS"]:
    del os.environ[_name]
os.environ.update(DO_NOT_TRACK="1", RUNTIME__DLTHUB_TELEMETRY="false", DAGSTER_DISABLE_TELEMETRY="1")


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment whose only lendloop setting is a home of its own, without the checkout's `.env`."""
    from lendloop.settings import Settings

    for name in [name for name in os.environ if name.startswith("LENDLOOP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    monkeypatch.setenv("LENDLOOP_HOME", str(tmp_path / "home"))
    return monkeypatch


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The lineage of this project's columns."""
    from governance.lineage import load_graph
    from lendloop.settings import load_settings

    return load_graph(load_settings(LENDLOOP_HOME=tmp_path_factory.mktemp("lineage")).home)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL of the session; its database `ops_template` has operational state in it, empty."""
    from activation.ops import open_ops
    from lendloop.settings import load_settings
    from tests.postgres import postgres_server

    with postgres_server() as server:
        home = server.place / "home"
        open_ops(load_settings(LENDLOOP_HOME=home, ops_url=server.create("ops_template")))
        yield server


_databases = count(1)


@pytest.fixture
def ops_settings(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings of operational state: none (SQLite in the home), or a PostgreSQL database of the test's own."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield {}
        return
    server = request.getfixturevalue("postgres_server")
    name = f"ops_{next(_databases)}"
    yield {"ops_url": server.create(name, template="ops_template")}
    server.drop(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long tests first, so that two workers end at about the same time."""
    items.sort(key=lambda item: "end_to_end" not in item.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where LENDLOOP_NO_SKIPS is set (CI), a skipped test fails the run: its reason is in the summary."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("LENDLOOP_NO_SKIPS") and reporter and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
