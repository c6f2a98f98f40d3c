"""What readers of files have in common: a file is read whole each time, so nothing in it is followed, weighed or listed."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import pyarrow as pa

from ingestion.stream import Stream
from ingestion.tables import RawTable

csv.field_size_limit(2**31 - 1)
"""Python's own limit refuses a whole file for one long text; what a value may be is the contract's to say."""


class ReadWhole:
    """The part of a reader (`ingestion.load`) that a source of whole files does not need."""

    lists_keys = False

    def has(self, table: RawTable) -> bool:
        return True

    def lacks(self, table: RawTable) -> list[str]:
        """A file may leave out what it likes."""
        return []

    def follows_cursor(self, table: RawTable) -> bool:
        return False

    def compare_every_days(self, table: RawTable) -> int | None:
        return None

    def weight(self, table: RawTable) -> int | None:
        return None

    def keys(self, table: RawTable) -> Iterator[pa.Table | Stream]:
        return iter(())

    def by_key(self, table: RawTable, keys: pa.Table) -> Iterator[pa.Table | Stream]:
        return iter(())
