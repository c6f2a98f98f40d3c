"""The project's own manifest, parsed once, and a small one that tests break."""

from __future__ import annotations

import pytest
from small_project import SmallProject

from governance.manifest import Manifest, read_manifest
from lendloop.home import Home


@pytest.fixture(scope="session")
def manifest(parsed: Home) -> Manifest:
    """The project as it stands in the checkout."""
    return read_manifest(parsed)


@pytest.fixture
def project() -> SmallProject:
    return SmallProject()
