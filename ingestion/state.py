"""What a source's loads remember between runs to save work; losing it costs one comparison of keys."""

from __future__ import annotations

import os
from datetime import date, datetime
from pathlib import Path

from pydantic import BaseModel

from ingestion.tables import Source
from lendloop.formats import read_json
from lendloop.home import Home


class SourceMemory(BaseModel):
    """`compared_on`: business date of the last comparison of keys, by table. `gaps`: by how much the source
    then weighed more than raw (rows in quarantine), so that only another difference asks for a comparison."""

    format: int = 1
    compared_on: dict[str, date] = {}
    gaps: dict[str, int] = {}
    reconciled_on: date | None = None
    """Business date of the last comparison of all days with the source (`ingestion.reconcile`)."""
    open_days: dict[str, list[date]] = {}
    """Days that differed then without an explanation, by table: they are compared again."""
    read_at: datetime | None = None
    """When the last complete load began to read, by the machine's clock."""
    contents: dict[str, str] = {}
    """Of a source of files: the fingerprint of each file that the last load left in raw, by name."""
    reported: datetime | None = None
    """The newest `_loaded_at` that a report has told of: what is newer was written by a load that was killed then."""

    @staticmethod
    def _path(home: Home, source: Source) -> Path:
        return home.dlt / f"memory_{source}.json"

    @classmethod
    def read(cls, home: Home, source: Source) -> SourceMemory:
        try:
            return read_json(cls._path(home, source), cls)
        except (FileNotFoundError, ValueError):
            return cls()

    def write(self, home: Home, source: Source) -> None:
        """Replace the file atomically, when it would differ."""
        path = self._path(home, source)
        text = self.model_dump_json(indent=1)
        if path.exists() and path.read_text() == text:
            return
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(text)
        os.replace(draft, path)
