"""What the stand-ins need of the pretend lender: its interface, and its tables with what clients wrote.

`sandbox.world.World` is one such lender; tests may bring a smaller one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Rows = npt.NDArray[np.int64]


class Lender(Protocol):
    """The pretend lender. `version` grows with every change of its tables."""

    @property
    def as_of(self) -> datetime: ...
    @property
    def version(self) -> int: ...
    @property
    def ledger_url(self) -> str: ...
    def tick(self, days: int) -> dict[str, Any]:
        """Let days pass; what changed, in words of its own."""

    def truth(self) -> Mapping[str, Any]: ...
    def table(self, name: str) -> Any: ...


class Columns:
    """One table at one version: Arrow columns, and indices made once. Rows become Python only when asked for.

    Rows are numbered: those of the lender's table, then `written`, which stand for the lender's rows of the same id.
    Only the numbers in `by_id` count.
    """

    def __init__(self, base: Base, written: pa.Table | None = None) -> None:
        self._base = base
        self._written = base.table.slice(0, 0) if written is None else written.combine_chunks()
        self.table: pa.Table = base.table
        """Every row by its number, those included that do not count."""
        self.names: list[str] = list(base.table.column_names)
        self.ids: npt.NDArray[np.int64] = base.ids
        self.by_id: Rows = base.by_id
        """Row numbers in the order of the ids."""
        self._sorted_ids = base.sorted_ids
        self._made: dict[object, Any] = base.made if written is None else {}
        self._latest: dict[object, Any] = {}
        if written is not None:
            self._lay_over()

    def _lay_over(self) -> None:
        base, ids = self._base, _numbers(self._written["id"])
        self.table = pa.concat_tables([base.table, self._written])
        self.ids = np.concatenate([base.ids, ids])
        order = np.argsort(ids, kind="stable")
        place = np.searchsorted(base.sorted_ids, ids[order])
        within = np.minimum(place, max(len(base.ids) - 1, 0))
        hidden = within[base.sorted_ids[within] == ids[order]] if len(base.ids) else within[:0]
        kept = np.delete(base.by_id, hidden)
        kept_ids = np.delete(base.sorted_ids, hidden)
        place = np.searchsorted(kept_ids, ids[order])
        self.by_id = np.insert(kept, place, order + len(base.ids))
        self._sorted_ids = np.insert(kept_ids, place, ids[order])

    def __len__(self) -> int:
        """Numbers given, those included that do not count."""
        return len(self.ids)

    def row_of(self, identifier: int) -> int | None:
        """The row number of an id."""
        at = int(np.searchsorted(self._sorted_ids, identifier))
        found = at < len(self._sorted_ids) and self._sorted_ids[at] == identifier
        return int(self.by_id[at]) if found else None

    def newest_id(self) -> int:
        """The highest id; 0 without rows."""
        return int(self._sorted_ids[-1]) if len(self._sorted_ids) else 0

    def part(self, numbers: Rows | Sequence[int], names: Sequence[str]) -> dict[str, pa.Array]:
        """Some rows of some columns, in the order of `numbers`. Its cost is that of the part."""
        wanted = np.asarray(numbers, dtype=np.int64)
        count = len(self._base.ids)
        over = wanted >= count
        if not over.any():
            rows = pa.array(wanted)
            return {name: self._base.columns[name].take(rows) for name in names}
        of_base, of_written = pa.array(wanted[~over]), pa.array(wanted[over] - count)
        back = pa.array(np.argsort(np.concatenate([np.flatnonzero(~over), np.flatnonzero(over)])))
        parts = {}
        for name in names:
            written = self._written[name].combine_chunks().take(of_written)
            parts[name] = pa.concat_arrays([self._base.columns[name].take(of_base), written]).take(back)
        return parts

    def once(self, key: object, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once for this version of the table."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def lately(self, key: object, make: Callable[[], Any]) -> Any:
        """The same, but only the last few are kept: for what is asked for page by page."""
        found = self._latest.pop(key, None)
        self._latest[key] = make() if found is None else found
        while len(self._latest) > _KEPT:
            del self._latest[next(iter(self._latest))]
        return self._latest[key]


_KEPT = 8


class Base:
    """The lender's table at one version, in the order of its ids. `made` is what was derived from it alone."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table.combine_chunks()
        self.columns: dict[str, pa.Array] = {name: self.table[name].combine_chunks() for name in table.column_names}
        self.ids: npt.NDArray[np.int64] = _numbers(self.table["id"])
        in_order = bool((self.ids[1:] > self.ids[:-1]).all())
        self.by_id: Rows = np.arange(len(self.ids)) if in_order else np.argsort(self.ids, kind="stable")
        self.sorted_ids = self.ids if in_order else self.ids[self.by_id]
        self.made: dict[object, Any] = {}

    def row(self, identifier: int) -> dict[str, Any] | None:
        """One row as Python's values; None when there is none of this id."""
        at = int(np.searchsorted(self.sorted_ids, identifier))
        if at == len(self.sorted_ids) or self.sorted_ids[at] != identifier:
            return None
        return dict(self.table.slice(int(self.by_id[at]), 1).to_pylist()[0])


def plain_values(column: pa.Array) -> list[Any]:
    """A column as Python's values; quick for text."""
    if column.null_count and not pa.types.is_string(column.type):
        return list(column.to_pylist())
    return list(column.to_numpy(zero_copy_only=False).tolist())


def iso_text(column: pa.Array, unit: str) -> pa.Array:
    """Instants as ISO 8601 with Z, in seconds (`s`) or milliseconds (`ms`)."""
    words = pc.cast(pc.cast(column, pa.timestamp("us", "UTC")).cast(pa.timestamp(unit), safe=False), pa.string())
    return pc.binary_join_element_wise(pc.binary_replace_slice(words, 10, 11, "T"), "Z", "")


def _numbers(ids: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    numbers: npt.NDArray[np.int64] = pc.cast(ids, pa.int64()).to_numpy()
    return numbers


class WrittenTable:
    """A table of the lender with what clients wrote over it: `overlays` are columns by id, kept as they were sent."""

    def __init__(self, lender: Lender, name: str, overlays: dict[str, dict[str, Any]]) -> None:
        self._lender = lender
        self.name = name
        self.overlays = overlays
        self._version: int | None = None
        self._base: Base | None = None
        self._written: dict[str, dict[str, Any]] = {}
        """Whole rows by id, of what was laid over the lender's at this version."""
        self._columns: Columns | None = None
        self._lock = threading.RLock()

    def current(self) -> Columns:
        """The table as it is now. A tick reads the lender's again, a write only what was written."""
        with self._lock:
            version = self._lender.version
            if self._base is None or version != self._version:
                self._base, self._version = Base(self._lender.table(self.name)), version
                self._written = {identifier: self._whole(identifier) for identifier in self.overlays}
                self._columns = None
            if self._columns is None:
                rows = list(self._written.values())
                written = pa.Table.from_pylist(rows, schema=self._base.table.schema) if rows else None
                self._columns = Columns(self._base, written)
            return self._columns

    def write(self, identifier: str, values: Mapping[str, Any]) -> None:
        """Lay values over a row, or add the row when the lender has none of this id."""
        with self._lock:
            self.overlays.setdefault(identifier, {}).update(values)
            if self._base is not None:
                self._written[identifier] = self._whole(identifier)
            self._columns = None

    def _whole(self, identifier: str) -> dict[str, Any]:
        """The row of an overlay: the lender's, if it has one, with the overlay's values in their columns' types."""
        if self._base is None:
            raise RuntimeError("rows are laid over a table that was read")
        schema = self._base.table.schema
        base = self._base.row(int(identifier)) or {}
        values = {name: value for name, value in self.overlays[identifier].items() if name in schema.names}
        row = {**dict.fromkeys(schema.names), **base, **values}
        row["id"] = identifier if pa.types.is_string(schema.field("id").type) else int(identifier)
        for name, value in row.items():
            if pa.types.is_timestamp(schema.field(name).type) and isinstance(value, str):
                row[name] = datetime.fromisoformat(value)
        if base.get("updated_at") is not None and row.get("updated_at") is not None:
            row["updated_at"] = max(base["updated_at"], row["updated_at"])
        return row
