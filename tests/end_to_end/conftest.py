"""Installations for tests from end to end.

What takes long and is no test's subject is done once a session, and tests get copies of it: parsing the dbt project,
a first pass over the pretend lender, the days of an installation that nobody disturbs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lendloop.home import Home
from lendloop.settings import load_settings
from lendloop.zones import follow_home
from tests.end_to_end.installation import Installation, Kept, installed, keep, kept
from tests.end_to_end.killing import TWIN_CUSTOMERS, TWIN_DAYS, lenders
from tests.once import once
from tests.servers import copy_state

CUSTOMERS = 400


@pytest.fixture(scope="session", autouse=True)
def _homes_find_the_project_parsed(parsed: Home) -> Iterator[None]:
    Installation.parsed = parsed
    yield
    Installation.parsed = None


@pytest.fixture(scope="session")
def after_first_pass(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small pretend lender, the home of an installation on it, and the report of its first pass."""

    def first_pass(folder: Path) -> None:
        with installed(folder, CUSTOMERS) as installation:
            installation.is_forked = False
            report = installation.run()
        (folder / "report.json").write_text(json.dumps(report))

    return once(tmp_path_factory, "after_first_pass", first_pass)


@contextmanager
def _copy_of(original: Path, folder: Path) -> Iterator[Installation]:
    """The installation of `after_first_pass` and its lender, moved on to `folder`."""
    shutil.copytree(original, folder, dirs_exist_ok=True)
    home = folder / "home"
    follow_home(load_settings(LENDLOOP_HOME=home))
    copy_state(original / "home", home)
    with installed(folder, CUSTOMERS) as installation:
        installation.report = json.loads((folder / "report.json").read_text())
        yield installation


@pytest.fixture
def lender(after_first_pass: Path, tmp_path: Path) -> Iterator[Installation]:
    """An installation of its own on a small pretend lender of its own, after its first pass."""
    with _copy_of(after_first_pass, tmp_path) as installation:
        yield installation


@pytest.fixture(scope="module")
def loaded(after_first_pass: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The same, shared by the tests of a module that only read it."""
    with _copy_of(after_first_pass, tmp_path_factory.mktemp("loaded")) as installation:
        yield installation


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Kept]:
    """An installation like those of `lenders` that nobody disturbs: after its first pass, and after one days later."""

    def live(folder: Path) -> None:
        with lenders(folder, ("twin",), TWIN_CUSTOMERS) as (twin,):
            twin.is_forked = False
            keep(twin, twin.run(), folder / "first")
            twin.sandbox("/tick", {"days": TWIN_DAYS})
            keep(twin, twin.run(), folder / "later")

    folder = once(tmp_path_factory, "undisturbed", live)
    return [kept(folder / "first"), kept(folder / "later")]
