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
    """One table at one version: Arrow columns, and indices made once. Rows become Python only when asked for."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table.combine_chunks()
        self.names: list[str] = list(self.table.column_names)
        ids = pc.cast(self.table["id"], pa.int64()).to_numpy()
        self.by_id: Rows = np.argsort(ids, kind="stable")
        """Row numbers in the order of the ids."""
        self.ids: npt.NDArray[np.int64] = ids
        self._sorted_ids = ids[self.by_id]
        self._made: dict[object, Any] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def row_of(self, identifier: int) -> int | None:
        """The row number of an id."""
        at = int(np.searchsorted(self._sorted_ids, identifier))
        found = at < len(self._sorted_ids) and self._sorted_ids[at] == identifier
        return int(self.by_id[at]) if found else None

    def after_id(self, rows: Rows, identifier: int) -> int:
        """Where, in row numbers ordered by id, the ids above `identifier` begin."""
        return int(np.searchsorted(self.ids[rows], identifier, side="right"))

    def rows(self, numbers: Rows | Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """Some rows as dictionaries of some columns, in the order of `numbers`."""
        return list(self.table.select(list(names)).take(pa.array(numbers, pa.int64())).to_pylist())

    def once(self, key: object, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once for this version of the table."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


class WrittenTable:
    """A table of the lender with what clients wrote over it: `overlays` are columns by id, kept as they were sent."""

    def __init__(self, lender: Lender, name: str, overlays: dict[str, dict[str, Any]]) -> None:
        self._lender = lender
        self.name = name
        self.overlays = overlays
        self._writes = 0
        self._at: tuple[int, int] | None = None
        self._columns: Columns | None = None
        self._lock = threading.RLock()

    def current(self) -> Columns:
        """The table as it is now; rebuilt only when the lender or an overlay changed."""
        with self._lock:
            at = (self._lender.version, self._writes)
            if self._columns is None or at != self._at:
                self._columns, self._at = Columns(self._merged(self._lender.table(self.name))), at
            return self._columns

    def write(self, identifier: str, values: Mapping[str, Any]) -> None:
        """Lay values over a row, or add the row when the lender has none of this id."""
        with self._lock:
            self.overlays.setdefault(identifier, {}).update(values)
            self._writes += 1

    def _merged(self, table: pa.Table) -> pa.Table:
        if not self.overlays:
            return table
        id_type = table.schema.field("id").type
        written = pa.array(list(self.overlays), pa.string()).cast(id_type)
        is_written = pc.is_in(table["id"], value_set=written)
        base = {str(row["id"]): row for row in table.filter(is_written).to_pylist()}
        blank = dict.fromkeys(table.column_names)
        merged = []
        for identifier, values in self.overlays.items():
            row = {**blank, **base.get(identifier, {}), **{k: v for k, v in values.items() if k in blank}}
            row["id"] = identifier if pa.types.is_string(id_type) else int(identifier)
            for name, value in row.items():
                kind = table.schema.field(name).type
                if pa.types.is_timestamp(kind) and isinstance(value, str):
                    row[name] = datetime.fromisoformat(value)
            stamp = base.get(identifier, {}).get("updated_at")
            if stamp is not None and row.get("updated_at") is not None:
                row["updated_at"] = max(stamp, row["updated_at"])
            merged.append(row)
        return pa.concat_tables(
            [table.filter(pc.invert(is_written)), pa.Table.from_pylist(merged, schema=table.schema)]
        )
