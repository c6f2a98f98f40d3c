"""What one load has read so far, typed and compared: a DuckDB in memory that spills into the spool folder.

What belongs here: running what types and judges batches, setting bad rows aside, finding the rows that
are to be written. What does not: where batches come from, what is bad (contract, judging), and the warehouse.

A stream into a table that raw has no row of is typed on its way into the Parquet file that is loaded in the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ingestion.columns import UNREADABLE
from ingestion.contract import SQL_TYPES, cast, column_name, literal, quoted, row_hash, type_of_arrow, weight
from ingestion.judging import ENTRY, needed_beside, typing
from ingestion.raw import MEMORY_LIMIT, TableState
from ingestion.stream import Stream
from ingestion.tables import ColumnType, RawTable

BLOCK_ROWS = 100_000
DUPLICATE_KEY = "duplicate key in one load"
NO_BODY = "no body: the row is not the object that it should be"
_JUDGED = "_bad, _out, _key, _reason, _fault, _raw"


@dataclass
class TableScratch:
    """Counters and columns of one table while it is read. `faulty`: rows that stay out.

    `whole`: the one file that has every row read, where the table `w_` is only a view of it.
    """

    table: RawTable
    state: TableState
    columns: dict[str, ColumnType]
    read: int = 0
    faulty: int = 0
    new_columns: list[str] = field(default_factory=list)
    whole: Path | None = None

    def columns_in(self, names: list[str]) -> dict[str, ColumnType]:
        """Names and types of a batch's columns."""
        return {name: self.columns[name] for name in names}


class Scratch:
    """Takes batches of a source, gives back the rows to write and the rows to quarantine.

    `strict`: a row with any fault stays out, whatever its table says. `folder` holds the files that are exchanged.
    """

    def __init__(self, folder: Path, as_of: datetime, *, strict: bool = False) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.connection = duckdb.connect(":memory:")
        self.connection.execute(
            f"SET timezone = 'UTC'; SET temp_directory = {literal(str(folder))}; SET memory_limit = '{MEMORY_LIMIT}'"
        )
        self.as_of = as_of
        self.strict = strict
        self.tables: dict[str, TableScratch] = {}

    def close(self) -> None:
        self.connection.close()

    def start(self, table: RawTable, state: TableState, mended: pa.Table | None = None) -> TableScratch:
        """Make room for a table. `mended`: what `quarantine.mended` tells, so that what a replay wrote stays."""
        columns = {**table.columns, **state.extra_columns}
        scratch = self.tables[table.name] = TableScratch(table, state, columns)
        name = table.name
        body = ", ".join(f"{quoted(column)} {SQL_TYPES[kind]}" for column, kind in columns.items())
        keys = ", ".join(f"{quoted(key)} {SQL_TYPES[table.columns[key]]}" for key in table.key)
        run = self.connection.execute
        run(
            f"CREATE TABLE w_{name} ({body}, _row_hash VARCHAR, _deleted_at TIMESTAMPTZ, _entry VARCHAR, _mended VARCHAR)"
        )
        run(f"CREATE TABLE gone_{name} ({body}, _row_hash VARCHAR, _deleted_at TIMESTAMPTZ)")
        run(f"CREATE TABLE f_{name} AS SELECT *, '' AS _was FROM w_{name}")
        run(f"CREATE TABLE seen_{name} ({keys})")
        run(f"CREATE TABLE bad_{name} (_key VARCHAR, _reason VARCHAR, _fault VARCHAR, _raw VARCHAR)")
        run(f"CREATE TABLE mended_{name} (quarantine_id VARCHAR, row_hash VARCHAR)")
        if state.known is not None:
            run(f"CREATE VIEW known_{name} AS SELECT * FROM {_file(state.known)}")
        else:
            run(f"CREATE TABLE known_{name} ({keys}, _row_hash VARCHAR, is_deleted BOOLEAN)")
        if mended is not None and mended.num_rows:
            self.connection.register("mended_rows", mended)
            run(f"INSERT INTO mended_{name} BY NAME SELECT * FROM mended_rows")
            self.connection.unregister("mended_rows")
        return scratch

    def take(
        self, name: str, batch: pa.Table | Stream, *, deleted: bool = False, entries: list[str] | None = None
    ) -> None:
        """Type and judge a batch; `deleted` says that the source shows these rows as gone or archived, `entries` are
        their ids where they come out of quarantine. Of a stream that was cut off nothing is taken."""
        scratch = self.tables[name]
        if isinstance(batch, Stream):
            self._take_stream(scratch, batch)
            return
        if not batch.num_rows:
            return
        if UNREADABLE in batch.column_names:
            self._refuse(scratch, batch)
            return
        self._as_table(scratch)
        names = self._learn(scratch, batch.schema)
        batch = batch.rename_columns(names)
        for column in needed_beside(scratch.table, names):
            batch = batch.append_column(column, pa.nulls(batch.num_rows))
            self._learn(scratch, batch.schema)
        hashed = row_hash(scratch.columns_in(batch.column_names))
        if entries is not None:
            batch = batch.append_column(ENTRY, pa.array(entries, pa.string()))
        self.connection.register("batch", batch)
        judged = typing(scratch.table, scratch.columns, batch.schema, strict=self.strict)
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE typed AS {judged}")
        self.connection.unregister("batch")
        moment = f"TIMESTAMPTZ {literal(self.as_of.isoformat())}" if deleted else "NULL"
        self._keep(name, f"SELECT *, {hashed} AS _row_hash, CAST({moment} AS TIMESTAMPTZ) AS _deleted_at FROM typed")
        self._set_aside(scratch, "typed")
        scratch.read += batch.num_rows

    def _learn(self, scratch: TableScratch, schema: pa.Schema) -> list[str]:
        """The names in raw of a batch's columns; those that are new to the table are added to it."""
        names = _unique([_raw_name(column, scratch.table) for column in schema.names])
        for name, column in zip(names, schema, strict=True):
            if name not in scratch.columns:
                kind = type_of_arrow(column.type)
                scratch.columns[name] = kind
                scratch.new_columns.append(name)
                self.connection.execute(
                    f"ALTER TABLE w_{scratch.table.name} ADD COLUMN {quoted(name)} {SQL_TYPES[kind]}"
                )
        return names

    def _keep(self, name: str, judged: str) -> None:
        self.connection.execute(
            f"INSERT INTO w_{name} BY NAME SELECT * EXCLUDE ({_JUDGED}) FROM ({judged}) WHERE NOT _out"
        )

    def _take_stream(self, scratch: TableScratch, stream: Stream) -> None:
        """Type a stream on its way to a file; that file is the table as long as raw has nothing to compare with."""
        reader = stream.open()
        if reader is None:
            return
        name = scratch.table.name
        self._as_table(scratch)
        names = self._learn(scratch, reader.schema)
        schema = pa.schema([column.with_name(new) for column, new in zip(reader.schema, names, strict=True)])
        source = pa.RecordBatchReader.from_batches(schema, (batch.rename_columns(names) for batch in reader))
        judged = typing(scratch.table, scratch.columns, schema, strict=self.strict)
        typed = self.folder / f"typed_{name}.parquet"
        self.connection.register("batch", source)
        try:
            self._write(f"SELECT *, {row_hash(scratch.columns_in(names))} AS _row_hash FROM ({judged})", typed)
        except duckdb.Error:
            typed.unlink(missing_ok=True)
            if stream.error is None:
                raise
            return
        finally:
            self.connection.unregister("batch")
        scratch.read += self.count(_file(typed))
        self._set_aside(scratch, _file(typed))
        if scratch.state.total or self.count(f"w_{name}"):
            self._keep(name, f"SELECT * FROM {_file(typed)}")
            typed.unlink()
            return
        if scratch.faulty:
            good = typed.with_name(f"good_{name}.parquet")
            self._write(f"SELECT * FROM {_file(typed)} WHERE NOT _out", good)
            typed.unlink()
            typed = good
        scratch.whole = typed
        self.connection.execute(f"DROP TABLE w_{name}")
        self.connection.execute(
            f"CREATE VIEW w_{name} AS SELECT * EXCLUDE ({_JUDGED}, _entry), CAST(NULL AS TIMESTAMPTZ) AS _deleted_at, "
            f"CAST(NULL AS VARCHAR) AS _entry, CAST(NULL AS VARCHAR) AS _mended FROM {_file(typed)}"
        )

    def _as_table(self, scratch: TableScratch) -> None:
        """Make the table `w_` out of the view of a file, so that it can be added to."""
        if scratch.whole is None:
            return
        name = scratch.table.name
        run = self.connection.execute
        run(f"CREATE TABLE copied AS SELECT * FROM w_{name}; DROP VIEW w_{name}; ALTER TABLE copied RENAME TO w_{name}")
        for column, kind in scratch.columns.items():
            run(f"ALTER TABLE w_{name} ADD COLUMN IF NOT EXISTS {quoted(column)} {SQL_TYPES[kind]}")
        scratch.whole.unlink()
        scratch.whole = None

    def _refuse(self, scratch: TableScratch, batch: pa.Table) -> None:
        """Keep rows for quarantine that have no body to type; their keys, where readable, count as seen."""
        name = scratch.table.name
        self.connection.register("batch", batch)
        keys = {
            key: cast(quoted(key), batch.schema.field(key).type, scratch.columns[key])[0] for key in scratch.table.key
        }
        self.connection.execute(
            f"INSERT INTO bad_{name} SELECT concat_ws('|', {', '.join(keys.values())}), {literal(NO_BODY)}, "
            f"{literal(', '.join(keys))}, {UNREADABLE} FROM batch"
        )
        self.connection.execute(
            f"INSERT INTO seen_{name} SELECT {', '.join(keys.values())} FROM batch "
            f"WHERE {' AND '.join(f'{key} IS NOT NULL' for key in keys.values())}"
        )
        self.connection.unregister("batch")
        scratch.read += batch.num_rows
        scratch.faulty += batch.num_rows

    def _set_aside(self, scratch: TableScratch, typed: str) -> None:
        """Keep the bad rows of `typed` for quarantine; the keys of those that stay out, where readable, count as seen."""
        table, name = scratch.table, scratch.table.name
        if not self.count(f"{typed} WHERE _bad"):
            return
        held = {str(column[0]) for column in self.connection.execute(f"DESCRIBE SELECT * FROM {typed}").fetchall()}
        keys = [quoted(key) if key in held else "NULL" for key in table.key]
        no_key = " OR ".join(f"{key} IS NULL" for key in keys)
        self.connection.execute(f"INSERT INTO bad_{name} SELECT _key, _reason, _fault, _raw FROM {typed} WHERE _bad")
        self.connection.execute(
            f"INSERT INTO seen_{name} SELECT {', '.join(keys)} FROM {typed} WHERE _out AND NOT ({no_key})"
        )
        scratch.faulty += self.count(f"{typed} WHERE _out")

    def saw(self, name: str, keys: pa.Table | Stream) -> None:
        """Keys that the source has, from a listing of keys alone; of a listing that was cut off there are none."""
        source = keys.open() if isinstance(keys, Stream) else keys
        if source is None:
            return
        self.connection.register("batch", source)
        table = self.tables[name].table
        wanted = ", ".join(
            f"{cast(quoted(key), source.schema.field(key).type, table.columns[key])[0]} AS {quoted(key)}"
            for key in table.key
        )
        try:
            readable = " AND ".join(f"{quoted(key)} IS NOT NULL" for key in table.key)
            self.connection.execute(
                f"INSERT INTO seen_{name} SELECT * FROM (SELECT {wanted} FROM batch) WHERE {readable}"
            )
        except duckdb.Error:
            if not isinstance(keys, Stream) or keys.error is None:
                raise
        finally:
            self.connection.unregister("batch")

    def stands(self, name: str, beginnings: list[str]) -> None:
        """Count the live rows that raw is known to hold as shown, where their key begins so."""
        key = quoted(self.tables[name].table.key[0])
        self.connection.execute(
            f"INSERT INTO seen_{name} SELECT {key} FROM known_{name} WHERE NOT is_deleted AND EXISTS ("
            f"SELECT 1 FROM (SELECT unnest(?::VARCHAR[]) AS beginning) WHERE starts_with({key}, beginning))",
            [beginnings],
        )

    def settle(self, name: str) -> int:
        """Keep the last row of each key, drop what raw is known to hold; returns the rows left.

        Earlier rows of a key with other content go to quarantine when the source is a database,
        where a key is one row; pages of an API overlap by nature.
        """
        scratch = self.tables[name]
        table = scratch.table
        keys = ", ".join(quoted(key) for key in table.key)
        run = self.connection.execute
        run(f"DROP TABLE IF EXISTS ranked; DROP {'VIEW' if self._is_view(f'f_{name}') else 'TABLE'} f_{name}")
        [(repeated,)] = run(
            f"SELECT count(*) - count(DISTINCT {keys if len(table.key) == 1 else f'({keys})'}) FROM w_{name}"
        ).fetchall()
        if scratch.whole is not None and not repeated:
            run(f"CREATE VIEW f_{name} AS SELECT *, 'new' AS _was FROM w_{name}")
            return self.count(f"f_{name}")
        self._as_table(scratch)
        if repeated:
            run(
                f"CREATE TEMP TABLE ranked AS SELECT rowid AS place, {keys}, _row_hash, row_number() OVER last_first AS n, "
                f"first(_row_hash) OVER last_first AS kept FROM w_{name} "
                f"WINDOW last_first AS (PARTITION BY {keys} ORDER BY rowid DESC)"
            )
            if table.source == "ledger":
                values = ", ".join(
                    f"{quoted(column)} := CAST({quoted(column)} AS VARCHAR)" for column in scratch.columns
                )
                run(
                    f"INSERT INTO bad_{name} SELECT concat_ws('|', {keys}), {literal(DUPLICATE_KEY)}, {literal(table.key[0])}, "
                    f"CAST(to_json(struct_pack({values})) AS VARCHAR) FROM w_{name} "
                    f"WHERE rowid IN (SELECT place FROM ranked WHERE n > 1 AND _row_hash <> kept)"
                )
            run(f"DELETE FROM w_{name} WHERE rowid IN (SELECT place FROM ranked WHERE n > 1)")
        run(f"UPDATE w_{name} SET _mended = m.row_hash FROM mended_{name} AS m WHERE w_{name}._entry = m.quarantine_id")
        same = " AND ".join(f"k.{quoted(key)} = w.{quoted(key)}" for key in table.key)
        run(
            f"CREATE TABLE f_{name} AS SELECT w.*, CAST('new' AS VARCHAR) AS _was FROM w_{name} AS w WHERE NOT EXISTS ("
            f"SELECT 1 FROM known_{name} AS k WHERE {same} AND (k._row_hash = w._row_hash OR k._row_hash = w._mended) "
            f"AND k.is_deleted = (w._deleted_at IS NOT NULL))"
        )
        return self.count(f"f_{name}")

    def _is_view(self, name: str) -> bool:
        return bool(self.count(f"duckdb_views() WHERE view_name = {literal(name)}"))

    def count(self, relation: str) -> int:
        """Rows of one of the scratch tables."""
        [(rows,)] = self.connection.execute(f"SELECT count(*) FROM {relation}").fetchall()
        return int(rows)

    def _write(self, query: str, path: Path) -> Path:
        self.connection.execute(f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet)")
        return path

    def candidates(self, name: str) -> Path:
        """A file of key columns, `_row_hash`, `is_deleted` and `_mended` of the rows left."""
        keys = ", ".join(quoted(key) for key in self.tables[name].table.key)
        return self._write(
            f"SELECT {keys}, _row_hash, _deleted_at IS NOT NULL AS is_deleted, _mended FROM f_{name}",
            self.folder / f"candidates_{name}.parquet",
        )

    def mark(self, name: str, verdicts: Path) -> None:
        """Take over what raw has of each candidate (`ingestion.raw.classify`) and drop the unchanged."""
        same = " AND ".join(f"f_{name}.{quoted(key)} = verdicts.{quoted(key)}" for key in self.tables[name].table.key)
        found = f"{_file(verdicts)} AS verdicts"
        self.connection.execute(f"DELETE FROM f_{name} USING {found} WHERE {same} AND verdicts.was = 'same'")
        self.connection.execute(f"UPDATE f_{name} SET _was = verdicts.was FROM {found} WHERE {same}")

    def seen(self, name: str) -> Path:
        """A file of the distinct keys that the source showed, archived and faulty rows included."""
        return self._write(self._seen(name), self.folder / f"seen_{name}.parquet")

    def _seen(self, name: str) -> str:
        keys = ", ".join(quoted(key) for key in self.tables[name].table.key)
        return f"SELECT {keys} FROM w_{name} UNION SELECT {keys} FROM seen_{name}"

    def shown_live(self, name: str) -> int:
        """How many keys the source showed that are not archived."""
        return self.count(f"({self._seen(name)})") - self.count(f"w_{name} WHERE _deleted_at IS NOT NULL")

    def only_listed(self, name: str) -> Path:
        """A file of keys that were listed or faulty, but not read as rows."""
        keys = ", ".join(quoted(key) for key in self.tables[name].table.key)
        return self._write(
            f"SELECT {keys} FROM seen_{name} EXCEPT SELECT {keys} FROM w_{name}", self.folder / f"listed_{name}.parquet"
        )

    def unseen(self, name: str) -> int:
        """Known live rows whose key the source did not show; it means something after a whole read only."""
        same = " AND ".join(f"s.{quoted(key)} = k.{quoted(key)}" for key in self.tables[name].table.key)
        return self.count(
            f"known_{name} AS k WHERE NOT k.is_deleted AND NOT EXISTS (SELECT 1 FROM ({self._seen(name)}) AS s WHERE {same})"
        )

    def retire(self, name: str, rows: Path) -> None:
        """Add raw rows that the source no longer has, to be written with `_deleted_at` set."""
        self.connection.execute(
            f"INSERT INTO gone_{name} BY NAME SELECT * EXCLUDE (_loaded_at) REPLACE "
            f"(TIMESTAMPTZ {literal(self.as_of.isoformat())} AS _deleted_at) FROM {_file(rows)}"
        )

    def entries(self, name: str) -> list[str]:
        """The ids in quarantine of the rows that passed."""
        rows = self.connection.execute(f"SELECT _entry FROM w_{name} WHERE _entry IS NOT NULL").fetchall()
        return [str(entry) for (entry,) in rows]

    def hashes(self, name: str) -> dict[str, str]:
        """The `_row_hash` of the rows to write that came out of quarantine, by their id there."""
        rows = self.connection.execute(f"SELECT _entry, _row_hash FROM f_{name} WHERE _entry IS NOT NULL").fetchall()
        return {str(entry): str(row_hash) for entry, row_hash in rows}

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

    def written_columns(self, name: str) -> frozenset[str]:
        """The columns that a row to write may have."""
        return frozenset({*self.tables[name].columns, "_row_hash", "_deleted_at"})

    def to_write(self, name: str) -> Path:
        """A file of the rows to write, each key once; it may have more than `written_columns`."""
        whole = self.tables[name].whole
        if whole is not None:
            return whole
        return self._write(
            f"SELECT * EXCLUDE (_was, _entry, _mended) FROM f_{name} UNION ALL BY NAME SELECT * FROM gone_{name}",
            self.folder / f"write_{name}.parquet",
        )

    def good_keys(self, name: str, among: pa.ChunkedArray) -> set[str]:
        """Those of some keys, as quarantine writes them, whose row was read without any fault."""
        keys = ", ".join(f"CAST({quoted(key)} AS VARCHAR)" for key in self.tables[name].table.key)
        self.connection.register("among", pa.table({"key": among}))
        found = self.connection.execute(
            f"SELECT key FROM among WHERE key IN (SELECT concat_ws('|', {keys}) FROM w_{name})"
            f" AND key NOT IN (SELECT _key FROM bad_{name} WHERE _key IS NOT NULL)"
        ).fetchall()
        self.connection.unregister("among")
        return {str(key) for (key,) in found}

    def bad(self, name: str) -> Iterator[pa.Table]:
        """The rows for quarantine, some at a time: _key, _reason, _fault (columns), _raw."""
        rows = self.connection.sql(f"SELECT DISTINCT * FROM bad_{name}").to_arrow_reader(BLOCK_ROWS)
        for batch in rows:
            yield pa.Table.from_batches([batch])


def keys_in(path: Path, rows: int) -> Iterator[pa.Table]:
    """The rows of a file of keys, so many at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows):
            yield pa.Table.from_batches([batch])


def _file(path: Path) -> str:
    return f"read_parquet({literal(str(path))})"


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
