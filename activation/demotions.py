"""Telling of demoted datasets: as a failure that stands until the dataset is reinstated, with everyone who reads it.

What belongs here: what is said, and to the alert channel. What does not: when a dataset is demoted (`lendloop.standing`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from activation.alerts import PipelineFailure, report_failures
from lendloop.clock import Clock
from lendloop.settings import Settings
from lendloop.standing import Standing, read_standing


def tell_demotions(settings: Settings, clock: Clock, consumers: Mapping[str, Sequence[str]]) -> Standing:
    """Report every demoted dataset, and the recovery of every reinstated one; returns what stands.

    `consumers`: who reads each dataset, each with its owner, as it is told to them.
    """
    standing = read_standing(settings.home)
    failures = [
        PipelineFailure(
            key=f"dataset:{key}",
            kind="demotion",
            message=f"{key} is demoted: {demotion.reason}. Read by {', '.join(consumers.get(key, ())) or 'nobody'}",
            link=f"/assets/{key.replace('.', '/')}?view=checks",
            datasets=(key,),
        )
        for key, demotion in standing.demoted.items()
    ]
    failures += [
        PipelineFailure(key=f"dataset:{key}", kind="demotion", resolved=True)
        for key in standing.reinstated
        if key not in standing.demoted
    ]
    if failures:
        report_failures(settings, failures, clock)
    return standing
