"""What the pretend lender's finance keeps: every kind of cost of every month that is over, the same each time."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

from sandbox.world import World
from sandbox.world.markets import CURRENCIES, MARKETS


def lines(world: World) -> list[dict[str, Any]]:
    with world.costs_file.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_market_has_every_kind_in_each_month_that_is_over(tmp_path: Path) -> None:
    world = World.open(tmp_path, customers=300)
    found = lines(world)
    months = {line["month"] for line in found}
    assert max(months) < f"{world.as_of:%Y-%m}"
    kinds = {"acquisition", "onboarding", "funding", "servicing", "collections"}
    assert {(line["month"], line["market"], line["currency"], line["kind"]) for line in found} == {
        (month, *place, kind) for month in months for place in zip(MARKETS, CURRENCIES, strict=True) for kind in kinds
    }
    assert all(Decimal(line["amount"]) >= 0 for line in found)
    assert {line["product"] for line in found if line["kind"] != "acquisition"} == {""}


def test_the_same_world_costs_the_same_and_a_month_more_a_month_later(tmp_path: Path) -> None:
    world = World.open(tmp_path / "one", customers=300)
    before = lines(world)
    assert lines(World.open(tmp_path / "other", customers=300)) == before
    world.tick(31)
    after = lines(world)
    assert {line["month"] for line in after} > {line["month"] for line in before}
