"""The code location, put together once for all who only look at it."""

from __future__ import annotations

import dagster as dg
import pytest

from lendloop.home import Home
from lendloop.settings import load_settings
from orchestration.definitions import build_defs


@pytest.fixture(scope="session")
def definitions(parsed: Home) -> dg.Definitions:
    """What Dagster loads where nothing is set."""
    return build_defs(load_settings(_env_file=None, LENDLOOP_HOME=parsed.root))
