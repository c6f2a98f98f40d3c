"""Rows in quarantine, tried again after somebody mended the contract or the text.

What belongs here: reading the refused rows back and deciding which still count. The cast, the
comparison and the load are the same as for rows from the source.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa

from ingestion import quarantine, raw
from ingestion.contract import quoted
from ingestion.scratch import DUPLICATE_KEY, Scratch
from ingestion.tables import RawTable
from lendloop.settings import Settings, SourceName
from lendloop.warehouse import open_warehouse


class Replay:
    """The refused rows of some tables of one source, cast again into `scratch`."""

    def __init__(self, source: SourceName, settings: Settings, scratch: Scratch) -> None:
        self.source = source
        self.settings = settings
        self.scratch = scratch
        self.outcomes: dict[str, dict[str, str]] = {}

    def take(self, tables: list[RawTable], as_of: datetime) -> list[RawTable]:
        """Cast what waits; returns the tables that have rows to write, compared with raw.

        A row is dropped as superseded when raw has one of the same key that is as new or newer by the cursor:
        a corrected version came in the meantime.
        """
        with open_warehouse(self.settings.home, f"replay {self.source}", self.settings.lock_timeout_s) as connection:
            raw.create_tables(connection)
            with_rows = []
            for table in tables:
                state = raw.read_table_state(connection, table, as_of=as_of, lag_minutes=0, whole=False)
                self.scratch.start(table, state)
                if self._take_one(table):
                    self._drop_superseded(connection, table)
                    verdicts = raw.classify(connection, table, self.scratch.candidates(table.name))
                    self.scratch.mark(table.name, verdicts)
                    if self.scratch.count(f"f_{table.name}"):
                        with_rows.append(table)
        return with_rows

    def _take_one(self, table: RawTable) -> bool:
        waiting = quarantine.waiting(self.settings.home, self.source, table.name)
        outcomes = self.outcomes.setdefault(table.name, {})
        for row in waiting.to_pylist():
            if row["reason"] == DUPLICATE_KEY:
                continue
            batch = _as_batch(str(row["raw_text"]))
            before = self.scratch.tables[table.name].faulty
            self.scratch.take(table.name, batch, deleted=_is_gone(table, batch))
            if self.scratch.tables[table.name].faulty == before:
                outcomes[str(row["quarantine_id"])] = "loaded"
        return self.scratch.settle(table.name) > 0

    def _drop_superseded(self, connection: Any, table: RawTable) -> None:
        if table.cursor is None:
            return
        keys = ", ".join(quoted(key) for key in table.key)
        newer = connection.sql(
            f"SELECT {keys}, {quoted(table.cursor)} AS cursor_in_raw FROM {table.schema}.{table.name} "
            f"WHERE _deleted_at IS NULL AND {quoted(table.cursor)} IS NOT NULL"
        ).to_arrow_table()
        same = " AND ".join(f"f_{table.name}.{quoted(key)} = newer.{quoted(key)}" for key in table.key)
        self.scratch.connection.register("newer", newer)
        self.scratch.connection.execute(
            f"DELETE FROM f_{table.name} USING newer WHERE {same} "
            f"AND coalesce(f_{table.name}.{quoted(table.cursor)} <= cursor_in_raw, true)"
        )
        self.scratch.connection.unregister("newer")

    def close_files(self, load_id: str, moment: datetime) -> int:
        """Write down which rows were taken; returns how many."""
        taken = 0
        for name, outcomes in self.outcomes.items():
            quarantine.mark_replayed(
                self.settings.home, self.source, name, outcomes, load_id=load_id, replayed_at=moment
            )
            taken += len(outcomes)
        return taken


def _as_batch(raw_text: str) -> pa.Table:
    """The row as one line of text columns; a text that is no JSON object casts to nothing and stays."""
    try:
        row = orjson.loads(raw_text)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict) or not row:
        return pa.table({"id": pa.array([None], pa.string())})
    texts = {name: None if value is None else str(value) for name, value in row.items()}
    return pa.table({name: pa.array([value], pa.string()) for name, value in texts.items()})


def _is_gone(table: RawTable, batch: pa.Table) -> bool:
    """Whether the source had said that the row is archived or deleted."""
    sign = {"contacts": ("is_archived", "true"), "deals": ("is_archived", "true")}
    sign |= {"tickets": ("status", "deleted"), "users": ("active", "false")}
    column, value = sign.get(table.name, ("", ""))
    return column in batch.column_names and batch.column(column)[0].as_py() == value
