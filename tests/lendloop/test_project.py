"""The dbt project, parsed once for as long as its files are the same."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from lendloop import project
from lendloop.home import Home


@pytest.fixture
def another_home(parsed: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home that was given what another one made of the project, where dbt may not be asked again."""

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("dbt was started")

    monkeypatch.setattr(project, "invoke_dbt", refused)
    shutil.copytree(parsed.dbt, tmp_path / "dbt")
    return Home(tmp_path)


def test_what_was_parsed_serves_another_home_and_every_build(another_home: Home, parsed: Home) -> None:
    manifest = project.load_manifest(another_home)
    assert manifest == project.load_manifest(parsed)
    assert project.compiled_models(another_home)
    built = project.parsed_project(another_home)
    assert built.nodes.keys() == manifest["nodes"].keys()
    fact = built.nodes["model.lendloop.fct_loan"]
    assert fact.raw_code == manifest["nodes"]["model.lendloop.fct_loan"]["raw_code"]
    assert "model.lendloop.fct_loan" in built.flat_graph["nodes"]
    fact.config.enabled = False
    assert project.parsed_project(another_home).nodes["model.lendloop.fct_loan"].config.enabled is True


@pytest.mark.parametrize("package", ["dbt-core", "dbt-duckdb", "duckdb"])
def test_another_version_of_what_compiles_the_project_compiles_it_anew(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = project.project_fingerprint()
    monkeypatch.setattr(project, "version", lambda name: "0" if name == package else version(name))
    assert project.project_fingerprint() != before


def test_a_damaged_file_of_what_was_compiled_is_made_anew(another_home: Home) -> None:
    (another_home.dbt / "compiled.json").write_text('{"key": ')
    with pytest.raises(AssertionError, match="dbt was started"):
        project.compiled_models(another_home)


@pytest.mark.parametrize("lost", ["parsed.msgpack", "target/manifest.json", "manifest.key"])
def test_what_is_not_whole_is_parsed_anew(another_home: Home, lost: str) -> None:
    (another_home.dbt / lost).unlink()
    with pytest.raises(AssertionError, match="dbt was started"):
        project.parsed_project(another_home)
