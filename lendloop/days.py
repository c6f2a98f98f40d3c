"""Which business days a dataset kept its promise on: what its checks came to in the builds of each day.

What belongs here: keeping and counting days. What does not: what follows from them (`governance.promotion`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, Field

from lendloop.formats import read_json, write_json
from lendloop.home import Home

DAYS_KEPT = 90
NAMES_KEPT = 3


class Outcome(Protocol):
    """One model, seed or test of a build."""

    @property
    def unique_id(self) -> str: ...
    @property
    def ok(self) -> bool: ...
    @property
    def warned(self) -> bool: ...


class Day(BaseModel):
    """All builds of one business day: `checks` is how many tests the last of them made, `broken` what failed in any.

    `warned`: whether a test of any found something and let the build go on.
    """

    checks: int = 0
    broken: list[str] = Field(default_factory=list)
    warned: bool = False

    @property
    def clean(self) -> bool:
        """Whether it was tested and nothing failed; a day without a test proves nothing."""
        return self.checks > 0 and not self.broken


class Days(BaseModel):
    """The days of every dataset, by `schema.table` and day."""

    format: int = 1
    datasets: dict[str, dict[date, Day]] = Field(default_factory=dict)

    def clean_days(self, dataset: str, *, strictly: bool = False) -> int:
        """The clean days since the last that was not; days on which nothing was built count neither way.

        `strictly`: a day on which a test warned is not clean either.
        """
        count = 0
        for _, day in sorted(self.datasets.get(dataset, {}).items(), reverse=True):
            if not day.clean or (strictly and day.warned):
                break
            count += 1
        return count


def read_days(home: Home) -> Days:
    """What is kept; nothing before the first build. Raises ConfigurationError for a newer file."""
    path = days_file(home)
    return read_json(path, Days) if path.exists() else Days()


def keep_day(
    home: Home,
    manifest: Mapping[str, Any],
    outcomes: Iterable[tuple[Outcome, str]],
    today: date,
) -> None:
    """Add a build to its business day. `outcomes`: each node of the build with the id of the model that it is about.

    The caller holds the warehouse's lock, so nobody else writes. A day once broken or warned of stays so. That passes did not run is
    a failure of its own (`lendloop.passes.overdue`), and no dataset's.
    """
    days = read_days(home)
    built: dict[str, Day] = {}
    for outcome, about in outcomes:
        node = manifest["nodes"].get(about)
        if node is None:
            continue
        day = built.setdefault(f"{node['schema']}.{node['alias']}", Day())
        day.checks += outcome.unique_id != about
        day.warned |= outcome.warned
        if not outcome.ok:
            day.broken.append(outcome.unique_id.split(".")[2])
    for key, day in built.items():
        known = days.datasets.setdefault(key, {})
        before = known.get(today, Day())
        broken = list(dict.fromkeys([*before.broken, *day.broken]))[:NAMES_KEPT]
        known[today] = Day(checks=day.checks, broken=broken, warned=before.warned or day.warned)
    first = today - timedelta(days=DAYS_KEPT - 1)
    for key, known in list(days.datasets.items()):
        days.datasets[key] = {day: kept for day, kept in known.items() if day >= first}
        if not days.datasets[key]:
            del days.datasets[key]
    write_json(days_file(home), days)


def days_file(home: Home) -> Path:
    return home.root / "days.json"
