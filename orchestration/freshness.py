"""Datasets that are older than they promise, told to the alerts: a warning at first, critical once they are stale.

Belongs here: reporting. Not here: judging an age (`governance.freshness`).
"""

from __future__ import annotations

from collections.abc import Mapping

from activation.alerts import PipelineFailure, report_failures
from activation.ops import open_ops, reading
from activation.ops.failures import standing_failures
from governance.freshness import lateness, made_as_of
from governance.registry import Dataset
from lendloop.clock import Clock
from lendloop.passes import read_last_pass
from lendloop.publish import read_catalog
from lendloop.settings import Settings

_IN_TIME = ":made_in_time"


def report_late(settings: Settings, clock: Clock, datasets: Mapping[str, Dataset]) -> dict[str, PipelineFailure]:
    """Tell the alerts which published datasets are late or stale now, and which are no more; returns those, by dataset."""
    catalog, last = read_catalog(settings.home), read_last_pass(settings.home)
    found: dict[str, PipelineFailure] = {}
    for key, dataset in datasets.items():
        table = catalog.tables.get(key)
        made = made_as_of(catalog.groups[table.group], last) if table else None
        if made is None or not (state := lateness(dataset, made, clock)):
            continue
        promised = dataset.parameters.freshness
        within = (
            f"{promised.warn_hours:g} hours, after which its owner is warned"
            if state == "late"
            else f"{promised.fail_hours:g} hours, after which it is stale"
        )
        found[key] = PipelineFailure(
            key=f"check:{key.replace('.', '/')}{_IN_TIME}",
            kind=state,
            message=f"{key} (for {dataset.parameters.owner}) was last made {made:%Y-%m-%d %H:%M} UTC, not within {within}",
            link=f"/assets/{key.replace('.', '/')}",
        )
    with reading(open_ops(settings)) as connection:
        standing = {row.key: row.kind for row in standing_failures(connection) if row.key.endswith(_IN_TIME)}
    news = [one for one in found.values() if standing.get(one.key) != one.kind]
    over = standing.keys() - {one.key for one in found.values()}
    if news or over:
        recovered = [PipelineFailure(key=key, resolved=True) for key in sorted(over)]
        report_failures(settings, [*news, *recovered], clock)
    return found
