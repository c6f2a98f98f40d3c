"""Small worlds for the tests: one that nobody changes, and as many of their own as tests ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from world_lab import CUSTOMERS, MakeWorld, Query, all_tables, asker

from sandbox.world import World
from sandbox.world.world import LARGE_YEARS


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """500 customers on the first day; tests must not tick it."""
    return World.open(tmp_path_factory.mktemp("world"), customers=CUSTOMERS)


@pytest.fixture(scope="session")
def ask(world: World) -> Query:
    return asker(all_tables(world))


@pytest.fixture(scope="session", params=[(5_000, 1), (15_000, LARGE_YEARS)], ids=["new lender", "old lender"])
def ask_large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Query:
    """A larger lender five days on, where rare things happen too."""
    customers, years = request.param
    large = World.open(tmp_path_factory.mktemp("large"), customers=customers, years=years)
    large.tick(5)
    return asker(all_tables(large))


@pytest.fixture
def make_world(tmp_path: Path) -> MakeWorld:
    """Worlds in folders of this test, by name."""

    def make(name: str = "world", customers: int = CUSTOMERS, **options: Any) -> World:
        return World.open(tmp_path / name, customers=customers, **options)

    return make
