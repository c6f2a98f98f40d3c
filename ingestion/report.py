"""What one load of one source did, in numbers. Shapes only."""

from __future__ import annotations

from pydantic import BaseModel

from lendloop.settings import SourceName


class TableCounts(BaseModel):
    """Rows of one table in one load.

    `read` counts what the source sent (the lag window included), `rows` the live rows in raw
    afterwards; `deleted` are rows that raw held live and the source no longer has, or archived.
    `quarantined` are rows newly in quarantine, also those that were loaded without a bad value.
    """

    read: int = 0
    new: int = 0
    changed: int = 0
    deleted: int = 0
    quarantined: int = 0
    unchanged: int = 0
    rows: int = 0

    @property
    def written(self) -> int:
        return self.new + self.changed + self.deleted


class SourceReport(BaseModel):
    """One load of one source. `changed` says whether raw was written at all."""

    source: SourceName
    configured: bool = True
    changed: bool = False
    new: int = 0
    deleted: int = 0
    quarantined: int = 0
    unchanged: int = 0
    rows_changed: int = 0
    """Rows that raw held and that came back with other content."""
    rows: dict[str, int] = {}
    """Live rows in raw, by table."""
    tables: dict[str, TableCounts] = {}
    notes: list[str] = []
    """What a person should know: new columns, missing tables and columns, recovery of a killed load."""
    faults: list[str] = []
    """Parts of the source that could not be taken, each with the reason; raw keeps what it has of them."""
    duration_s: float = 0.0

    def add_up(self) -> SourceReport:
        """Set the totals from the tables."""
        counts = self.tables.values()
        self.new = sum(table.new for table in counts)
        self.rows_changed = sum(table.changed for table in counts)
        self.deleted = sum(table.deleted for table in counts)
        self.quarantined = sum(table.quarantined for table in counts)
        self.unchanged = sum(table.unchanged for table in counts)
        self.rows = {name: table.rows for name, table in self.tables.items()}
        return self
