"""What one load has read so far, typed and compared: a DuckDB in memory that spills into the spool folder.

What belongs here: casting batches by the contract, setting faulty rows aside, finding the rows that
are to be written. What does not: where batches come from, and the warehouse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ingestion.contract import SQL_TYPES, cast, column_name, literal, quoted, row_hash, type_of_arrow, weight
from ingestion.raw import TableState
from ingestion.tables import ColumnType, RawTable

MEMORY_LIMIT = "3GB"
OUTPUT_ROWS = 100_000
DUPLICATE_KEY = "duplicate key in one load"


@dataclass
class TableScratch:
    """Counters and columns of one table while it is read."""

    table: RawTable
    state: TableState
    columns: dict[str, ColumnType]
    read: int = 0
    faulty: int = 0
    new_columns: list[str] = field(default_factory=list)

    def columns_in(self, batch: pa.Table) -> dict[str, ColumnType]:
        """Names and types of a batch's columns."""
        return {name: self.columns[name] for name in batch.column_names}


class Scratch:
    """Takes batches of a source, gives back the rows to write and the rows to quarantine."""

    def __init__(self, folder: Path, as_of: datetime) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.connection = duckdb.connect(":memory:")
        self.connection.execute(
            f"SET timezone = 'UTC'; SET temp_directory = {literal(str(folder))}; SET memory_limit = '{MEMORY_LIMIT}'"
        )
        self.as_of = as_of
        self.tables: dict[str, TableScratch] = {}

    def close(self) -> None:
        self.connection.close()

    def start(self, table: RawTable, state: TableState) -> TableScratch:
        """Make room for a table."""
        columns = {**table.columns, **state.extra_columns}
        scratch = self.tables[table.name] = TableScratch(table, state, columns)
        name = table.name
        body = ", ".join(f"{quoted(column)} {SQL_TYPES[kind]}" for column, kind in columns.items())
        keys = ", ".join(f"{quoted(key)} {SQL_TYPES[table.columns[key]]}" for key in table.key)
        run = self.connection.execute
        run(f"CREATE TABLE w_{name} ({body}, _row_hash VARCHAR, _deleted_at TIMESTAMPTZ)")
        run(f"CREATE TABLE gone_{name} ({body}, _row_hash VARCHAR, _deleted_at TIMESTAMPTZ)")
        run(f"CREATE TABLE f_{name} AS SELECT *, '' AS _was FROM w_{name}")
        run(f"CREATE TABLE seen_{name} ({keys})")
        run(f"CREATE TABLE bad_{name} (key VARCHAR, reason VARCHAR, fault VARCHAR, raw_text VARCHAR)")
        self.connection.register("known_rows", state.known)
        run(f"CREATE TABLE known_{name} AS SELECT * FROM known_rows")
        self.connection.unregister("known_rows")
        return scratch

    def take(self, name: str, batch: pa.Table, *, deleted: bool = False) -> None:
        """Cast a batch by the contract; `deleted` says that the source shows these rows as gone or archived."""
        if not batch.num_rows:
            return
        scratch = self.tables[name]
        table = scratch.table
        batch = batch.rename_columns(_unique([_raw_name(column, table) for column in batch.column_names]))
        for column in batch.schema:
            if column.name not in scratch.columns:
                kind = type_of_arrow(column.type)
                scratch.columns[column.name] = kind
                scratch.new_columns.append(column.name)
                self.connection.execute(f"ALTER TABLE w_{name} ADD COLUMN {quoted(column.name)} {SQL_TYPES[kind]}")
        self.connection.register("batch", batch)
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE typed AS {self._typing(scratch, batch.schema)}")
        self.connection.unregister("batch")
        moment = f"TIMESTAMPTZ {literal(self.as_of.isoformat())}" if deleted else "NULL"
        self.connection.execute(
            f"INSERT INTO w_{name} BY NAME SELECT * EXCLUDE (_fault, _raw), {row_hash(scratch.columns_in(batch))} AS _row_hash, "
            f"CAST({moment} AS TIMESTAMPTZ) AS _deleted_at FROM typed WHERE _fault IS NULL"
        )
        bad = self._set_aside(scratch)
        scratch.read += batch.num_rows
        scratch.faulty += bad

    def _typing(self, scratch: TableScratch, schema: pa.Schema) -> str:
        """The typed columns of `batch`, `_fault` (the first column that does not cast) and `_raw` (the row as JSON)."""
        inner, faults = [], []
        for position, column in enumerate(schema):
            source = quoted(column.name)
            expression, can_fail = cast(source, column.type, scratch.columns[column.name])
            inner.append(f"{source} AS s{position}, {expression} AS t{position}")
            if can_fail:
                faults.append((position, f"s{position} IS NOT NULL AND t{position} IS NULL", column.name))
        positions = {column.name: position for position, column in enumerate(schema)}
        whens = [f"WHEN {condition} THEN {literal(column)}" for _, condition, column in faults]
        for key in scratch.table.key:
            absent = f"t{positions[key]} IS NULL" if key in positions else "true"
            if key in positions and scratch.table.columns[key] == "text":
                absent = f"coalesce(t{positions[key]}, '') = ''"
            whens.append(f"WHEN {absent} THEN {literal(key)}")
        outer = ", ".join(f"t{position} AS {quoted(name)}" for name, position in positions.items())
        text = ", ".join(f"{quoted(name)} := CAST(s{position} AS VARCHAR)" for name, position in positions.items())
        fault = f"CASE {' '.join(whens)} END"
        return (
            f"SELECT {outer}, {fault} AS _fault, "
            f"CASE WHEN {fault} IS NOT NULL THEN CAST(to_json(struct_pack({text})) AS VARCHAR) END AS _raw "
            f"FROM (SELECT {', '.join(inner)} FROM batch)"
        )

    def _set_aside(self, scratch: TableScratch) -> int:
        """Move the faulty rows of `typed` to the bad ones; their keys, where readable, count as seen."""
        table, name = scratch.table, scratch.table.name
        faulty = self.count("typed WHERE _fault IS NOT NULL")
        if not faulty:
            return 0
        held = {str(column[0]) for column in self.connection.execute("DESCRIBE typed").fetchall()}
        keys = [quoted(key) if key in held else "NULL" for key in table.key]
        no_key = " OR ".join(f"{key} IS NULL" for key in keys)
        is_key = ", ".join(literal(key) for key in table.key)
        wanted = " ".join(f"WHEN {literal(column)} THEN {literal(kind)}" for column, kind in scratch.columns.items())
        self.connection.execute(
            f"""INSERT INTO bad_{name} SELECT concat_ws('|', {", ".join(f"CAST({key} AS VARCHAR)" for key in keys)}),
                CASE WHEN _fault IN ({is_key}) AND coalesce(json_extract_string(_raw, '$."' || _fault || '"'), '') = ''
                     THEN 'no key: ' || _fault || ' is empty'
                     ELSE 'wrong type: ' || _fault || ' does not hold a valid ' || CASE _fault {wanted} ELSE 'value' END END,
                _fault, _raw FROM typed WHERE _fault IS NOT NULL"""
        )
        self.connection.execute(
            f"INSERT INTO seen_{name} SELECT {', '.join(keys)} FROM typed WHERE _fault IS NOT NULL AND NOT ({no_key})"
        )
        return faulty

    def saw(self, name: str, keys: pa.Table) -> None:
        """Keys that the source has, from a listing of keys alone."""
        self.connection.register("batch", keys)
        table = self.tables[name].table
        wanted = ", ".join(
            f"{cast(quoted(key), keys.schema.field(key).type, table.columns[key])[0]} AS {quoted(key)}"
            for key in table.key
        )
        self.connection.execute(f"INSERT INTO seen_{name} SELECT * FROM (SELECT {wanted} FROM batch)")
        self.connection.unregister("batch")

    def settle(self, name: str) -> int:
        """Keep the last row of each key, drop what raw is known to hold; returns the rows left.

        Earlier rows of a key with other content go to quarantine when the source is a database,
        where a key is one row; pages of an API overlap by nature.
        """
        table = self.tables[name].table
        keys = ", ".join(quoted(key) for key in table.key)
        run = self.connection.execute
        run(f"DROP TABLE IF EXISTS ranked; DROP TABLE IF EXISTS f_{name}")
        [(repeated,)] = run(f"SELECT count(*) - count(DISTINCT ({keys})) FROM w_{name}").fetchall()
        if repeated:
            run(
                f"CREATE TEMP TABLE ranked AS SELECT rowid AS place, {keys}, _row_hash, row_number() OVER last_first AS n, "
                f"first(_row_hash) OVER last_first AS kept FROM w_{name} "
                f"WINDOW last_first AS (PARTITION BY {keys} ORDER BY rowid DESC)"
            )
            if table.source == "ledger":
                values = ", ".join(
                    f"{quoted(column)} := CAST({quoted(column)} AS VARCHAR)" for column in self.tables[name].columns
                )
                run(
                    f"INSERT INTO bad_{name} SELECT concat_ws('|', {keys}), {literal(DUPLICATE_KEY)}, {literal(table.key[0])}, "
                    f"CAST(to_json(struct_pack({values})) AS VARCHAR) FROM w_{name} "
                    f"WHERE rowid IN (SELECT place FROM ranked WHERE n > 1 AND _row_hash <> kept)"
                )
            run(f"DELETE FROM w_{name} WHERE rowid IN (SELECT place FROM ranked WHERE n > 1)")
        same = " AND ".join(f"k.{quoted(key)} = w.{quoted(key)}" for key in table.key)
        run(
            f"CREATE TABLE f_{name} AS SELECT w.*, CAST('new' AS VARCHAR) AS _was FROM w_{name} AS w WHERE NOT EXISTS ("
            f"SELECT 1 FROM known_{name} AS k WHERE {same} AND k._row_hash = w._row_hash "
            f"AND k.is_deleted = (w._deleted_at IS NOT NULL))"
        )
        return self.count(f"f_{name}")

    def count(self, relation: str) -> int:
        """Rows of one of the scratch tables."""
        [(rows,)] = self.connection.execute(f"SELECT count(*) FROM {relation}").fetchall()
        return int(rows)

    def candidates(self, name: str) -> pa.Table:
        """Key columns, `_row_hash` and `is_deleted` of the rows left."""
        keys = ", ".join(quoted(key) for key in self.tables[name].table.key)
        return self.connection.sql(
            f"SELECT {keys}, _row_hash, _deleted_at IS NOT NULL AS is_deleted FROM f_{name}"
        ).to_arrow_table()

    def mark(self, name: str, verdicts: pa.Table) -> None:
        """Take over what raw has of each candidate (`ingestion.raw.classify`) and drop the unchanged."""
        same = " AND ".join(f"f_{name}.{quoted(key)} = verdicts.{quoted(key)}" for key in self.tables[name].table.key)
        self.connection.register("verdicts", verdicts)
        self.connection.execute(f"DELETE FROM f_{name} USING verdicts WHERE {same} AND verdicts.was = 'same'")
        self.connection.execute(
            f"UPDATE f_{name} SET _was = verdicts.was FROM verdicts WHERE {same} AND verdicts.was <> 'new'"
        )
        self.connection.unregister("verdicts")

    def seen(self, name: str) -> pa.Table:
        """The distinct keys that the source showed, archived and faulty rows included."""
        return self.connection.sql(f"SELECT * FROM ({self._seen(name)})").to_arrow_table()

    def _seen(self, name: str) -> str:
        keys = ", ".join(quoted(key) for key in self.tables[name].table.key)
        return f"SELECT {keys} FROM w_{name} UNION SELECT {keys} FROM seen_{name}"

    def shown_live(self, name: str) -> int:
        """How many keys the source showed that are not archived."""
        return int(self.seen(name).num_rows) - self.count(f"w_{name} WHERE _deleted_at IS NOT NULL")

    def only_listed(self, name: str) -> pa.Table:
        """Keys that were listed or faulty, but not read as rows."""
        keys = ", ".join(quoted(key) for key in self.tables[name].table.key)
        return self.connection.sql(
            f"SELECT {keys} FROM seen_{name} EXCEPT SELECT {keys} FROM w_{name}"
        ).to_arrow_table()

    def unseen(self, name: str) -> int:
        """Known live rows whose key the source did not show; it means something after a whole read only."""
        same = " AND ".join(f"s.{quoted(key)} = k.{quoted(key)}" for key in self.tables[name].table.key)
        return self.count(
            f"known_{name} AS k WHERE NOT k.is_deleted AND NOT EXISTS (SELECT 1 FROM ({self._seen(name)}) AS s WHERE {same})"
        )

    def retire(self, name: str, rows: pa.Table) -> None:
        """Add raw rows that the source no longer has, to be written with `_deleted_at` set."""
        self.connection.register("gone", rows)
        self.connection.execute(
            f"INSERT INTO gone_{name} BY NAME SELECT * EXCLUDE (_loaded_at) REPLACE "
            f"(TIMESTAMPTZ {literal(self.as_of.isoformat())} AS _deleted_at) FROM gone"
        )
        self.connection.unregister("gone")

    def outcome(self, name: str) -> dict[str, int]:
        """Rows to write by what they are: new, changed, deleted, and the change of the live count."""
        rows = self.connection.execute(
            f"SELECT _was, _deleted_at IS NOT NULL, count(*) FROM f_{name} GROUP BY 1, 2"
        ).fetchall()
        gone = self.count(f"gone_{name}")
        outcome = {"new": 0, "changed": 0, "deleted": gone, "live_change": -gone}
        for was, deleted, count in rows:
            kind = "new" if was == "new" else "deleted" if deleted and was == "live" else "changed"
            outcome[kind] += count
            outcome["live_change"] += count * ((0 if deleted else 1) - (1 if was == "live" else 0))
        return outcome

    def weight_change(self, name: str) -> int:
        """By how much the rows to write change the weight of raw's live rows."""
        each = weight(self.tables[name].table)
        [(change,)] = self.connection.execute(
            f"SELECT coalesce((SELECT sum({each} * ((_deleted_at IS NULL)::INT - (_was = 'live')::INT)) FROM f_{name}), 0) "
            f"- coalesce((SELECT sum({each}) FROM gone_{name}), 0)"
        ).fetchall()
        return int(change)

    def to_write(self, name: str, loaded_at: datetime) -> Iterator[pa.Table]:
        """The rows to write, as Arrow tables with every raw column but the loader's."""
        connection = self.connection.cursor()
        connection.execute("SET timezone = 'UTC'")
        reader: Any = connection.sql(
            f"SELECT *, TIMESTAMPTZ {literal(loaded_at.isoformat())} AS _loaded_at FROM "
            f"(SELECT * EXCLUDE (_was) FROM f_{name} UNION ALL BY NAME SELECT * FROM gone_{name})"
        ).to_arrow_reader(OUTPUT_ROWS)
        for batch in reader:
            yield pa.Table.from_batches([batch])
        connection.close()

    def bad(self, name: str) -> pa.Table:
        """The rows set aside: key, reason, fault (column), raw_text."""
        return self.connection.sql(f"SELECT DISTINCT * FROM bad_{name}").to_arrow_table()


def _raw_name(column: str, table: RawTable) -> str:
    return column if column in table.columns else column_name(column)


def _unique(names: list[str]) -> list[str]:
    """Two columns that would get one name: the later ones get a number."""
    taken: set[str] = set()
    result = []
    for name in names:
        candidate, number = name, 2
        while candidate in taken:
            candidate, number = f"{name}_{number}", number + 1
        taken.add(candidate)
        result.append(candidate)
    return result
