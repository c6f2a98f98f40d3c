"""What differs between two states of a table: rows to write and keys to delete."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sandbox.world.draws import Bools, Ints

KEYS = {"m_loan_arrears_aging": "loan_id"}
"""Tables whose key is not `id`."""


@dataclass(frozen=True)
class Changes:
    """Rows of the new state that are new or changed, keys that are gone, and columns that appeared."""

    upserts: pa.Table
    deleted: pa.Array
    new_rows: int
    new_columns: list[str]

    def counts(self) -> dict[str, int]:
        """New, changed and deleted rows."""
        return {"new": self.new_rows, "changed": self.upserts.num_rows - self.new_rows, "deleted": len(self.deleted)}


def compare(name: str, old: pa.Table, new: pa.Table) -> Changes:
    """From the old state of a table to the new one, which may have more columns. Rows stand in the order of their keys."""
    key = KEYS.get(name, "id")
    before, after = _numbers(old[key]), _numbers(new[key])
    place = np.minimum(np.searchsorted(after, before), max(len(after) - 1, 0))
    kept = after[place] == before if len(after) else np.zeros(len(before), dtype=bool)
    at = place[kept]
    fresh = np.ones(len(after), dtype=bool)
    fresh[at] = False
    changed = np.zeros(len(at), dtype=bool)
    in_front = bool(kept.all()) and len(at) > 0 and int(at[-1]) == len(at) - 1
    for column in new.column_names:
        later = new[column].slice(0, len(at)) if in_front else new[column].take(pa.array(at))
        if column in old.column_names:
            earlier = old[column] if in_front else old[column].filter(pa.array(kept))
            changed |= _differ(earlier, later)
        else:
            changed |= later.is_valid().to_numpy()
    written = fresh.copy()
    written[at[changed]] = True
    return Changes(
        upserts=new.filter(pa.array(written)),
        deleted=old[key].filter(pa.array(~kept)).combine_chunks(),
        new_rows=int(fresh.sum()),
        new_columns=[column for column in new.column_names if column not in old.column_names],
    )


def _numbers(keys: pa.ChunkedArray) -> Ints:
    numbers: Ints = keys.cast(pa.int64()).to_numpy()
    return numbers


def _differ(earlier: pa.ChunkedArray, later: pa.ChunkedArray) -> Bools:
    """Where two columns differ; an absent value is like an absent one."""
    if earlier.equals(later):
        return np.zeros(len(later), dtype=bool)
    unlike = pc.not_equal(earlier, later)
    if earlier.null_count or later.null_count:
        unlike = pc.if_else(
            pc.and_(earlier.is_valid(), later.is_valid()), unlike, pc.xor(earlier.is_valid(), later.is_valid())
        )
    differing: Bools = unlike.to_numpy()
    return differing
