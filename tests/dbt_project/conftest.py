"""Warehouses for tests of the dbt project: one a module, since a build takes seconds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dbt_lab import Lab

from lendloop.home import Home


@pytest.fixture(scope="module")
def make_lab(tmp_path_factory: pytest.TempPathFactory, parsed: Home) -> Callable[[str], Lab]:
    """A new warehouse with every raw table, empty."""

    def make(name: str) -> Lab:
        return Lab.new(tmp_path_factory.mktemp(name), parsed)

    return make
