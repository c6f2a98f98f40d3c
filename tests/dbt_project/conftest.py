"""Warehouses for tests of the dbt project: one a module, since a build takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dbt_lab import Lab


@pytest.fixture(scope="module")
def make_lab(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Lab]:
    """A new warehouse with every raw table, empty."""

    def make(name: str) -> Lab:
        folder: Path = tmp_path_factory.mktemp(name)
        return Lab(folder)

    return make
