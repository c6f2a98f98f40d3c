from __future__ import annotations

from pathlib import Path

import pytest

from activation.audiences import Audience, load_audiences
from lendloop.home import CHECKOUT
from tests.activation.audiences.lender import PublishedLender

DEFINITIONS = CHECKOUT / "activation" / "definitions" / "audiences"


@pytest.fixture
def lender(tmp_path: Path, ops_settings: dict[str, str]) -> PublishedLender:
    lender = PublishedLender(tmp_path / "home")
    lender.overrides |= ops_settings
    return lender


@pytest.fixture
def audiences() -> dict[str, Audience]:
    return {audience.name: audience for audience in load_audiences(DEFINITIONS)}
