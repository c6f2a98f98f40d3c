"""What every test stands on: an environment without anybody's settings, no telemetry, and skips that CI refuses."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lendloop.collector import collect_seldom
from tests.once import once

if TYPE_CHECKING:
    from governance.lineage import Graph
    from lendloop.home import Home
    from tests.postgres import Server

_OF_TESTS = ("LENDLOOP_NO_SKIPS", "LENDLOOP_PARSED")
for _name in [name for name in os.environ if name.startswith("LENDLOOP_") and name not in _OF_TESTS]:
    del os.environ[_name]
os.environ.update(DO_NOT_TRACK="1", RUNTIME__DLTHUB_TELEMETRY="false", DAGSTER_DISABLE_TELEMETRY="1")
collect_seldom()  # as commands do: what test modules import is a million objects


def pytest_addoption(parser: pytest.Parser) -> None:
    about = "where installations of tests from end to end have ledger and state: in files, or in MariaDB and PostgreSQL"
    parser.addoption("--on", choices=("files", "servers"), default="files", help=about)


def pytest_configure(config: pytest.Config) -> None:
    """The servers are the session's: started before its workers are."""
    if config.getoption("on") == "servers" and not hasattr(config, "workerinput"):
        from tests.servers import servers

        signal.signal(signal.SIGTERM, signal.default_int_handler)  # who ends the session leaves no server behind
        started = ExitStack()
        try:
            started.enter_context(servers())
        except pytest.skip.Exception as missing:
            raise pytest.UsageError(str(missing)) from None
        config.add_cleanup(started.close)


@pytest.fixture(autouse=True, scope="session")
def _no_home_in_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whoever names no home gets one of the session: never the one that people use."""
    from lendloop.settings import Settings

    Settings.model_fields["home_path"].default = tmp_path_factory.mktemp("home_of_nobody")
    Settings.model_rebuild(force=True)


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
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with the dbt project parsed, compiled and traced, and nothing else: what would take each test seconds.

    What the home in LENDLOOP_PARSED (CI) has of it is taken from there, as far as it is of the project as it is now.
    """
    from governance.lineage import build_graph, keep_graph, read_graph
    from lendloop.home import Home
    from lendloop.project import compiled_models, load_manifest

    def parse(folder: Path) -> None:
        home = Home(folder)
        if earlier := os.environ.get("LENDLOOP_PARSED"):
            shutil.copytree(Home(Path(earlier)).dbt, home.dbt)
        manifest, compiled = load_manifest(home), compiled_models(home)
        if read_graph(home) is None:
            keep_graph(home, build_graph(manifest, compiled))

    return Home(once(tmp_path_factory, "parsed", parse))


@pytest.fixture
def parsed_environment(clean_environment: pytest.MonkeyPatch, tmp_path: Path, parsed: Home) -> pytest.MonkeyPatch:
    """The same, and in the home the dbt project is parsed."""
    shutil.copytree(parsed.dbt, tmp_path / "home" / "dbt")
    return clean_environment


@pytest.fixture(scope="session")
def graph(parsed: Home) -> Graph:
    """The lineage of this project's columns."""
    from governance.lineage import load_graph

    return load_graph(parsed)


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


_LONGEST = (
    "end_to_end/test_dagster_ui", "end_to_end/test_killed_passes", "end_to_end/test_hard_times", "end_to_end/test_real_bank",
    "end_to_end/test_sixty_days", "end_to_end/test_stopped_postgres", "end_to_end/test_on_postgres", "end_to_end",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that two workers end at about the same time."""
    items.sort(key=lambda item: next((n for n, name in enumerate(_LONGEST) if name in item.nodeid), len(_LONGEST)))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where LENDLOOP_NO_SKIPS is set (CI), a skipped test fails the run: its reason is in the summary."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("LENDLOOP_NO_SKIPS") and reporter and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
