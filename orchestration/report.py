"""What a pass did and what stands now, as one JSON-able object: for `lendloop run`, `status` and the verdict."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from activation.alerts import alert_status, outbox_failures
from activation.audiences import audience_status, failed_without_a_file, load_audiences
from lendloop.passes import LastPass, overdue, read_last_pass
from lendloop.publish import read_catalog
from lendloop.settings import Settings
from lendloop.source_status import read_status
from lendloop.standing import read_standing


class Report(BaseModel):
    """The four parts a person asks about. Every list is ordered by name; shapes are in docs/interfaces.md."""

    as_of: datetime | None = None
    version: int = 0
    changed: bool = True
    duration_s: float | None = None
    last_pass: LastPass | None = None
    sources: list[dict[str, Any]] = Field(default_factory=list)
    datasets: list[dict[str, Any]] = Field(default_factory=list)
    audiences: list[dict[str, Any]] = Field(default_factory=list)
    alerts: list[dict[str, Any]] = Field(default_factory=list)
    failures: list[str] = Field(default_factory=list)


def make_report(settings: Settings) -> Report:
    """What stands now. Reads only state files, the catalogue and operational state: no lock, no network."""
    catalog, standing = read_catalog(settings.home), read_standing(settings.home)
    return Report(
        as_of=catalog.as_of,
        version=catalog.version,
        sources=[
            {
                "source": name,
                "state": "ok" if status.configured else "not configured",
                **status.model_dump(mode="json", exclude={"source"}),
            }
            | ({"state": "failed"} if status.error else {})
            for name, status in read_status(settings.home).items()
        ],
        datasets=[
            {
                "dataset": key,
                "zone": key.split(".")[0],
                "group": table.group,
                "rows": table.rows,
                "version": table.version,
                "published_at": table.published_as_of.isoformat(),
                "freshness": catalog.groups[table.group].state,
                "fresh_as_of": _iso(catalog.groups[table.group].published_as_of),
                "checks_passed": catalog.checks.get(key, (0, 0))[0],
                "checks_failed": catalog.checks.get(key, (0, 0))[1],
                "standing": standing.of(key),
            }
            for key, table in sorted(catalog.tables.items())
        ],
        audiences=audience_status(settings, load_audiences(settings.definitions / "audiences")),
        alerts=alert_status(settings),
        last_pass=read_last_pass(settings.home),
        failures=[*filter(None, [overdue(settings, datetime.now(UTC))]), *failures(settings)],
    )


def _iso(value: datetime | None) -> str | None:
    return value.isoformat() if value else None


def failures(settings: Settings) -> list[str]:
    """One line for each thing that should have been done and was not, as the state says now."""
    faults = [f"source {name}: {status.error}" for name, status in read_status(settings.home).items() if status.error]
    catalog = read_catalog(settings.home)
    faults += [
        f"group {name} is {group.state}: {group.reason}"
        for name, group in catalog.groups.items()
        if group.state != "fresh"
    ]
    faults += [f"dataset {key} is demoted: {one.reason}" for key, one in read_standing(settings.home).demoted.items()]
    audiences = load_audiences(settings.definitions / "audiences")
    for audience in audience_status(settings, audiences):
        faults += [f"audience {audience['audience']}: {error}" for error in audience.get("errors") or []]
    faults += failed_without_a_file(settings, audiences)
    return faults + [f"notification: {line}" for line in outbox_failures(settings)]
