"""What each source last did: configured or not, when it was last read in full, what it brought.

Kept as one small JSON file a source under the home, replaced atomically, so that a pass that finds
nothing new can say so without touching the warehouse.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel

from lendloop.formats import read_json, write_json
from lendloop.home import Home
from lendloop.settings import SOURCES, SourceName


class SourceStatus(BaseModel):
    """The state of a source.

    `succeeded_as_of` is the business clock of the last complete read, `changed_as_of` of the last
    one that brought a change; `error` is the last failure, None after a success.
    """

    format: int = 1
    source: SourceName
    configured: bool = False
    succeeded_as_of: datetime | None = None
    changed_as_of: datetime | None = None
    error: str | None = None
    rows: dict[str, int] = {}
    """Live rows in raw, by table."""
    new: int = 0
    changed: int = 0
    deleted: int = 0
    quarantined: int = 0
    notes: list[str] = []
    """What a person should know of the last read: new columns, missing tables."""


def _path(home: Home, source: SourceName) -> Path:
    return home.dlt / f"status_{source}.json"


def read_status(home: Home) -> dict[str, SourceStatus]:
    """The status of every source, those never read included. Raises ConfigurationError for a newer file."""
    return {
        source: read_json(path, SourceStatus) if (path := _path(home, source)).exists() else SourceStatus(source=source)
        for source in SOURCES
    }


def write_status(home: Home, status: SourceStatus) -> None:
    """Replace a source's status atomically."""
    path = _path(home, status.source)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, status)
