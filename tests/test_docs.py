from __future__ import annotations

import importlib.util
import json
import re
from types import ModuleType

import pytest

from benchmarks.__main__ import KEPT, PAGE
from benchmarks.harness import render
from lendloop.home import CHECKOUT

DOCS = CHECKOUT / "docs"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def build(parsed_environment: pytest.MonkeyPatch) -> ModuleType:
    return load("build")


def test_the_interfaces_page_says_what_the_definitions_say(build: ModuleType) -> None:
    """After a change that is meant: `make docs`."""
    assert build.TARGET.read_text() == build.render()


def test_the_page_of_faults_says_what_is_declared_and_was_measured() -> None:
    """After a change that is meant: `make docs`."""
    faults = load("faults")
    assert faults.TARGET.read_text() == faults.render()


def test_the_page_of_benchmarks_shows_the_figures_that_are_kept() -> None:
    assert PAGE.read_text() == render(json.loads(KEPT.read_text()))


def test_links_and_pictures_in_the_readme_are_there() -> None:
    text = (CHECKOUT / "README.md").read_text()
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert targets
    assert [target for target in targets if not (CHECKOUT / target).exists()] == []


def test_every_setting_is_explained_in_the_example_file() -> None:
    from lendloop.settings import Settings

    text = (CHECKOUT / ".env.example").read_text()
    names = {f"LENDLOOP_{'HOME' if name == 'home_path' else name.upper()}" for name in Settings.model_fields}
    assert [name for name in sorted(names) if f"{name}=" not in text] == []
