"""Which agreed datasets are demoted: their promise broke too often to be acted on, until a person reinstates them.

What belongs here: when a dataset is demoted and by whom it is reinstated. What does not: who is told, and what does not
run meanwhile (`activation`). The file is written under the warehouse's lock and read by anybody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from lendloop.clock import Clock
from lendloop.days import Days, read_days
from lendloop.errors import ConfigurationError, PermanentError
from lendloop.formats import read_json, write_json
from lendloop.home import Home
from lendloop.warehouse import warehouse_lock

BROKEN_DAYS, OF_DAYS = 3, 7
"""A dataset that broke its promise on so many of so many business days is demoted, unless its meta says otherwise."""
CLEAN_DAYS = 3
"""Clean days in a row after which it may be reinstated."""
AGREED = ("trusted", "kpi", "contacts")


class Demotion(BaseModel):
    """`dependents`: the agreed datasets that are made of it, near and far."""

    since: datetime
    reason: str
    dependents: list[str] = Field(default_factory=list)


class Reinstatement(BaseModel):
    """The end of a demotion, by a person's word or since the dataset went; days up to `on` count no more."""

    on: date
    by: str
    because: str


class Standing(BaseModel):
    """By `schema.table`."""

    format: int = 1
    demoted: dict[str, Demotion] = Field(default_factory=dict)
    reinstated: dict[str, Reinstatement] = Field(default_factory=dict)

    def refusal(self, tables: Iterable[str]) -> str | None:
        """Why nothing may be done on what these tables say, if so."""
        found = [f"{key} is demoted: {self.demoted[key].reason}" for key in sorted(set(tables)) if key in self.demoted]
        return "; ".join(found) or None

    def doubt(self, dataset: str) -> str | None:
        """Why a dataset is not agreed now, if so: it is demoted, or rests on one that is."""
        if demotion := self.demoted.get(dataset):
            return f"demoted since {demotion.since:%Y-%m-%d}: {demotion.reason}"
        shaky = sorted(key for key, demotion in self.demoted.items() if dataset in demotion.dependents)
        return f"rests on {', '.join(shaky)}, demoted" if shaky else None

    def of(self, dataset: str) -> str:
        """How a dataset stands, for whoever looks at it."""
        return self.doubt(dataset) or "agreed"


def read_standing(home: Home) -> Standing:
    """What stands; nothing is demoted where there is no file. Raises ConfigurationError for a newer one."""
    path = standing_file(home)
    return read_json(path, Standing) if path.exists() else Standing()


def standing_file(home: Home) -> Path:
    return home.root / "standing.json"


def renew_standing(home: Home, manifest: Mapping[str, Any], clock: Clock) -> Standing:
    """Demote every agreed dataset that broke its promise too often by now, and let go of those that are none any more.

    The caller holds the warehouse's lock.
    """
    before, days, today = read_standing(home), read_days(home), clock.business_date("UTC")
    standing = before.model_copy(deep=True)
    agreed = {
        f"{node['schema']}.{node['alias']}": unique_id
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["schema"] in AGREED
    }
    for key in standing.demoted.keys() - agreed.keys():
        del standing.demoted[key]
        standing.reinstated[key] = Reinstatement(on=today, by="lendloop", because="it is no agreed dataset any more")
    for key, unique_id in agreed.items():
        if key in standing.demoted:
            standing.demoted[key].dependents = _dependents(manifest, unique_id)
            continue
        node = manifest["nodes"][unique_id]
        declared = node["config"].get("meta", {}).get("demotion") or {}
        limit, span = declared.get("broken_days", BROKEN_DAYS), declared.get("of_days", OF_DAYS)
        broken = _broken_days(days, key, today, span, standing.reinstated.get(key))
        if len(broken) >= limit:
            last = ", ".join(days.datasets[key][broken[-1]].broken)
            standing.demoted[key] = Demotion(
                since=clock.as_of,
                reason=f"its promise broke on {len(broken)} of the last {span} days, the last time by {last}",
                dependents=_dependents(manifest, unique_id),
            )
    if standing != before:
        write_json(standing_file(home), standing)
    return standing


def reinstate(
    home: Home, dataset: str, clock: Clock, *, by: str, because: str, timeout_s: float = 600.0
) -> Reinstatement:
    """Let a demoted dataset be acted on again, by a person's word.

    Raises ConfigurationError when it is not demoted or nobody stands for it, PermanentError before it has been clean
    for `CLEAN_DAYS`.
    """
    if not by.strip() or not because.strip():
        raise ConfigurationError("a reinstatement says who stands for it (--by) and why (--because)")
    with warehouse_lock(home, "reinstating a dataset", timeout_s):
        standing = read_standing(home)
        if dataset not in standing.demoted:
            demoted = ", ".join(sorted(standing.demoted)) or "none is"
            raise ConfigurationError(f"{dataset} is not demoted: {demoted}")
        clean = read_days(home).clean_days(dataset)
        if clean < CLEAN_DAYS:
            raise PermanentError(f"{dataset} has been clean for {clean} of {CLEAN_DAYS} days: it stays demoted")
        del standing.demoted[dataset]
        standing.reinstated[dataset] = Reinstatement(
            on=clock.business_date("UTC"), by=by.strip(), because=because.strip()
        )
        write_json(standing_file(home), standing)
        return standing.reinstated[dataset]


def _broken_days(days: Days, key: str, today: date, span: int, reinstated: Reinstatement | None) -> list[date]:
    first = today - timedelta(days=span - 1)
    if reinstated:
        first = max(first, reinstated.on + timedelta(days=1))
    return sorted(day for day, kept in days.datasets.get(key, {}).items() if first <= day <= today and kept.broken)


def _dependents(manifest: Mapping[str, Any], unique_id: str) -> list[str]:
    nodes = manifest["nodes"]
    reached: set[str] = set()
    open_ends: Collection[str] = {unique_id}
    while open_ends:
        open_ends = {
            child
            for child, node in nodes.items()
            if node["resource_type"] == "model"
            and child not in reached
            and set(node.get("depends_on", {}).get("nodes", ())) & set(open_ends)
        }
        reached |= set(open_ends)
    return sorted(f"{nodes[one]['schema']}.{nodes[one]['alias']}" for one in reached if nodes[one]["schema"] in AGREED)
