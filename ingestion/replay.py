"""Rows in quarantine, tried again after somebody mended the contract or the text.

What belongs here: reading the refused rows back and deciding which still count. The cast, the
comparison and the load are the same as for rows from the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import orjson
import pyarrow as pa

from ingestion import quarantine, raw
from ingestion.columns import as_text
from ingestion.contract import literal, quoted
from ingestion.scratch import DUPLICATE_KEY, Scratch
from ingestion.support import FLAGS, flags_of, meant_tags
from ingestion.tables import RawTable
from lendloop.settings import Settings, SourceName
from lendloop.warehouse import open_warehouse


class Replay:
    """The refused rows of some tables of one source, cast again into `scratch`."""

    def __init__(self, source: SourceName, settings: Settings, scratch: Scratch) -> None:
        self.source = source
        self.settings = settings
        self.scratch = scratch
        self.outcomes: dict[str, dict[str, str | None]] = {}

    def take(self, tables: list[RawTable], as_of: datetime) -> list[RawTable]:
        """Cast what waits; returns the tables that have rows to write, compared with raw.

        A row is dropped as superseded when raw has one of the same key that is newer by the cursor: a corrected version
        came in the meantime.
        """
        with open_warehouse(self.settings.home, f"replay {self.source}", self.settings.lock_timeout_s) as connection:
            raw.create_tables(connection)
            with_rows = []
            for table in tables:
                state = raw.read_table_state(
                    connection, table, self.scratch.folder, as_of=as_of, lag_minutes=0, whole=False
                )
                self.scratch.start(table, state)
                if self._take_one(table):
                    self._drop_superseded(connection, table)
                    verdicts = self.scratch.folder / f"verdicts_{table.name}.parquet"
                    raw.classify(connection, table, self.scratch.candidates(table.name), verdicts)
                    self.scratch.mark(table.name, verdicts)
                    self.outcomes[table.name] |= self.scratch.hashes(table.name)
                    if self.scratch.count(f"f_{table.name}"):
                        with_rows.append(table)
        return with_rows

    def _take_one(self, table: RawTable) -> bool:
        waiting = quarantine.waiting(self.settings.home, self.source, table.name).to_pylist()
        rows = [
            _Row(
                str(one["quarantine_id"]), self._with_flags(table, _parsed(str(one["raw_text"]))), one["quarantined_at"]
            )
            for one in waiting
            if one["reason"] != DUPLICATE_KEY
        ]
        rows.sort(key=lambda row: (row.quarantined_at, str(row.values.get(str(table.cursor)) or "")))
        for deleted, some in groupby(rows, key=lambda row: _is_gone(table, row.values)):
            run = list(some)
            batch = _as_batch(table, [row.values for row in run])
            self.scratch.take(table.name, batch, deleted=deleted, entries=[row.entry for row in run])
        self.outcomes[table.name] = dict.fromkeys(self.scratch.entries(table.name))
        return self.scratch.settle(table.name) > 0

    def _with_flags(self, table: RawTable, values: dict[str, str | None]) -> dict[str, str | None]:
        """A ticket whose tags could not be read when it was refused has its meaning from the tags it has now."""
        if table.name != "tickets" or any(values.get(name) is not None for name in FLAGS):
            return values
        flags = flags_of(_json_or_none(values.get("tags")), meant_tags(self.settings))
        return {**values, **{name: as_text(flag) for name, flag in flags.items()}}

    def _drop_superseded(self, connection: Any, table: RawTable) -> None:
        """Drop rows of which raw has a version that is newer; also as new, unless that is the row itself without its
        bad value, which raw has live where the table keeps such rows."""
        if table.cursor is None:
            return
        held = self.scratch.folder / f"held_{table.name}.parquet"
        raw.cursors(connection, table, held)
        ours, cursor = f"f_{table.name}", f"f_{table.name}.{quoted(table.cursor)}"
        same = " AND ".join(f"{ours}.{quoted(key)} = held.{quoted(key)}" for key in table.key)
        older = f"{cursor} <= cursor_in_raw"
        if table.keeps_rows:
            older = (
                f"({cursor} < cursor_in_raw OR ({cursor} = cursor_in_raw AND is_gone AND {ours}._deleted_at IS NULL))"
            )
        self.scratch.connection.execute(
            f"DELETE FROM {ours} USING read_parquet({literal(str(held))}) AS held WHERE {same} AND coalesce({older}, true)"
        )

    def close_files(self, load_id: str, moment: datetime) -> int:
        """Write down which rows were taken; returns how many."""
        taken = 0
        for name, outcomes in self.outcomes.items():
            quarantine.mark_replayed(
                self.settings.home, self.source, name, outcomes, load_id=load_id, replayed_at=moment
            )
            taken += len(outcomes)
        return taken


@dataclass(frozen=True)
class _Row:
    """One row out of quarantine: its id there, its values as text, and when it came there."""

    entry: str
    values: dict[str, str | None]
    quarantined_at: datetime


def _json_or_none(text: str | None) -> Any:
    try:
        return orjson.loads(text or "")
    except orjson.JSONDecodeError:
        return None


def _parsed(raw_text: str) -> dict[str, str | None]:
    """The row's values; a text that is no JSON object has none and stays refused for want of a key."""
    row = _json_or_none(raw_text)
    return {name: as_text(value) for name, value in row.items()} if isinstance(row, dict) else {}


def _as_batch(table: RawTable, rows: list[dict[str, str | None]]) -> pa.Table:
    names = dict.fromkeys([*table.key, *(name for row in rows for name in row)])
    return pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names})


def _is_gone(table: RawTable, values: dict[str, str | None]) -> bool:
    """Whether the source had said that the row is archived or deleted."""
    sign = {"contacts": ("is_archived", "true"), "deals": ("is_archived", "true")}
    sign |= {"tickets": ("status", "deleted"), "users": ("active", "false")}
    column, value = sign.get(table.name, ("", ""))
    return values.get(column) == value and column != ""
