"""A raw zone for tests: every declared table, filled with what a test says.

What belongs here: writing raw as ingestion would and running dbt on it.
What does not: assertions.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import pyarrow as pa
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest

from ingestion.tables import TABLES, TECHNICAL_COLUMNS, RawTable
from lendloop.home import Home
from lendloop.project import parsed_project

PROJECT = Path(__file__).resolve().parents[2] / "dbt_project"
HASH_KEY = "a key for tests"
SQL_TYPES = {
    "text": "VARCHAR",
    "bigint": "BIGINT",
    "money": "DECIMAL(19,6)",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "bool": "BOOLEAN",
    "json": "VARCHAR",
}
OPTIONS = (
    "--project-dir",
    str(PROJECT),
    "--profiles-dir",
    str(PROJECT),
    "--target=local",
    "--no-use-colors",
    "--quiet",
    "--log-level-file=none",
)
DECLARED: dict[str, RawTable] = {f"{table.schema}.{table.name}": table for group in TABLES.values() for table in group}


@cache
def _read_project(parsed: Home) -> Manifest:
    """The project as it is parsed there, read once in a process: it says the same of every warehouse."""
    project: Manifest = parsed_project(parsed)
    return project


@dataclass
class Lab:
    """A warehouse in a home that finds the project parsed. Loads get `_loaded_at` a minute apart, as later loads do."""

    folder: Path
    parsed: Home
    loaded_at: datetime = field(default=datetime(2026, 1, 1, tzinfo=UTC))

    @classmethod
    def new(cls, folder: Path, parsed: Home) -> Lab:
        """A warehouse with every raw table, empty."""
        lab = cls(folder, parsed)
        shutil.copytree(parsed.dbt, lab.home.dbt, dirs_exist_ok=True)
        lab._make_raw()
        return lab

    def copy(self, folder: Path) -> Lab:
        """The same in another folder, to do with as one likes."""
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder)

    def _make_raw(self) -> None:
        with self.connect() as con:
            con.execute("create schema if not exists raw_meta")
            con.execute("create or replace table raw_meta.clock (as_of timestamptz, business_date date)")
            con.execute("create or replace table raw_meta.source_read (source varchar, succeeded_as_of timestamptz)")
            con.execute("create schema if not exists raw_identity")
            con.execute(
                "create or replace table raw_identity.decision (number integer, one varchar, other varchar, verdict varchar,"
                " decided_by varchar, because varchar, decided_at timestamptz)"
            )
            for name, table in DECLARED.items():
                con.execute(f"create schema if not exists {table.schema}")
                columns = {**table.columns, **TECHNICAL_COLUMNS}
                con.execute(
                    f"create or replace table {name} ({', '.join(f'{key} {SQL_TYPES[kind]}' for key, kind in columns.items())})"
                )

    @property
    def home(self) -> Home:
        return Home(self.folder)

    @property
    def warehouse(self) -> Path:
        return self.folder / "warehouse.duckdb"

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        con = duckdb.connect(str(self.warehouse))
        try:
            con.execute("set timezone = 'UTC'")
            yield con
        finally:
            con.close()

    def set_clock(self, as_of: date | datetime) -> None:
        """A date is the business date everywhere; an instant leaves it to each market's zone."""
        day = None if isinstance(as_of, datetime) else as_of
        instant = (
            as_of
            if isinstance(as_of, datetime)
            else datetime(as_of.year, as_of.month, as_of.day, 23, 59, 59, tzinfo=UTC)
        )
        with self.connect() as con:
            con.execute("delete from raw_meta.clock")
            con.execute("insert into raw_meta.clock values (?, ?)", [instant, day])

    def load(self, table: str, rows: Iterable[Mapping[str, Any]] | pa.Table) -> None:
        """Write rows as one load: a row with a known key replaces the old one. Absent columns are NULL."""
        declared = DECLARED[table]
        self.loaded_at += timedelta(minutes=1)
        with self.connect() as con:
            if not isinstance(rows, pa.Table):
                names = list(declared.columns)
                listed = list(rows)
                stray = {key for row in listed for key in row} - set(names)
                assert not stray, f"{table} has no column {stray}"
                con.execute(f"create temp table fresh as select {', '.join(names)} from {table} limit 0")
                if listed:
                    con.executemany(
                        f"insert into fresh values ({', '.join('?' for _ in names)})",
                        [[row.get(name) for name in names] for row in listed],
                    )
            else:
                con.register("arrow", rows)
                have = set(rows.column_names)
                picked = ", ".join(
                    f"cast({name if name in have else 'null'} as {SQL_TYPES[kind]}) as {name}"
                    for name, kind in declared.columns.items()
                )
                con.execute(f"create temp table fresh as select {picked} from arrow")
            match = " and ".join(f"fresh.{key} = {table}.{key}" for key in declared.key)
            con.execute(f"delete from {table} where exists (select 1 from fresh where {match})")
            names = ", ".join(declared.columns)
            con.execute(
                f"insert into {table} ({names}, _row_hash, _loaded_at) select {names}, md5(cast(fresh as varchar)), ? from fresh",
                [self.loaded_at],
            )

    def delete(self, table: str, keys: Sequence[Any]) -> None:
        """Mark rows as gone at the source."""
        self.loaded_at += timedelta(minutes=1)
        key = DECLARED[table].key[0]
        with self.connect() as con:
            con.execute(
                f"update {table} set _deleted_at = ?, _loaded_at = ? where {key} in (select unnest(?))",
                [self.loaded_at, self.loaded_at, list(keys)],
            )

    def dbt(self, *arguments: str) -> Any:
        """Run dbt in this process; returns its result whatever the outcome."""
        environment = {
            "LENDLOOP_WAREHOUSE": str(self.warehouse),
            "DBT_TARGET_PATH": str(self.folder / "target"),
            "DBT_LOG_PATH": str(self.folder / "logs"),
            "LENDLOOP_HASH_KEY": HASH_KEY,
            "LENDLOOP_ENV": "local",
        }
        with mock.patch.dict(os.environ, environment):
            parsed = None if "parse" in arguments else _read_project(self.parsed).deepcopy()
            try:
                return dbtRunner(manifest=parsed).invoke([*arguments, *OPTIONS])
            finally:
                DuckDBConnectionManager.close_all_connections()

    def build(self, *arguments: str) -> Any:
        """`dbt build` without unit tests; fails with dbt's words when a model or a blocking test does."""
        outcome = self.dbt(
            "build", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "exposure", *arguments
        )
        assert outcome.exception is None, outcome.exception
        bad = [
            f"{result.node.name} {result.status}: {result.message}"
            for result in outcome.result.results
            if result.status not in ("success", "pass", "warn")
        ]
        assert not bad, "\n".join(bad)
        return outcome.result

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connect() as con:
            return con.execute(sql).fetchall()

    def one(self, sql: str) -> Any:
        """The single value of a query."""
        ((value,),) = self.rows(sql)
        return value
