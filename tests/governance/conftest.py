"""The project's own manifest, parsed once, and a small one that tests break."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_project import SmallProject

from governance.manifest import Manifest, read_manifest
from lendloop.home import Home


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The project as it stands in the checkout."""
    home: Path = tmp_path_factory.mktemp("home")
    return read_manifest(Home(home))


@pytest.fixture
def project() -> SmallProject:
    return SmallProject()
