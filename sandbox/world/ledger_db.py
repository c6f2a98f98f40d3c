"""The ledger as a real SQL database: SQLite or PostgreSQL, through SQLAlchemy.

What belongs here: creating, filling and changing the tables, each in one transaction, with a
marker row that says which world at which moment the database holds. What does not: what is in them.

SQLite keeps money and times as text, since its decimals are floats and it has no time type.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from lendloop.errors import ConfigurationError
from sandbox.world.changes import KEYS, Changes

MARKER = "sandbox_world"
CURSOR = "last_modified_on_utc"
REBUILT = frozenset({"m_loan_arrears_aging"})
"""Emptied and filled anew by the ledger each day, as Fineract does."""
BROKEN_OFFICE = "n/a"
_INDEXED = (CURSOR, "loan_id", "client_id", "savings_account_id")
_BATCH = 50_000


class LedgerDatabase:
    """One ledger. Every write is one transaction that also moves the marker."""

    def __init__(self, url: str) -> None:
        """Raises ConfigurationError when the URL is not one of SQLite or PostgreSQL."""
        try:
            parsed = sa.make_url(url)
        except SQLAlchemyError as error:
            raise ConfigurationError(
                f"the sandbox's ledger URL can't be read ({error}): give a SQLAlchemy URL"
            ) from error
        self.kind = parsed.get_backend_name()
        if self.kind not in ("sqlite", "postgresql"):
            raise ConfigurationError(
                f"the sandbox can't write a {self.kind} ledger: give a sqlite:// or postgresql:// URL"
            )
        if self.kind == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(parsed, poolclass=sa.NullPool)
        if self.kind == "sqlite":
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
            sa.event.listen(self._engine, "begin", _begin_immediate)

    def marker(self) -> dict[str, Any] | None:
        """What the database says it holds; None when it has no marker.

        Raises ConfigurationError when it holds somebody else's ledger, or can't be opened.
        """
        with self._transaction() as connection:
            tables = set(sa.inspect(connection).get_table_names())
            if MARKER not in tables:
                if "m_client" in tables or "m_loan" in tables:
                    raise ConfigurationError(
                        "the sandbox's ledger URL names a database that already holds a ledger which is not the "
                        "sandbox's: give an empty database"
                    )
                return None
            found = connection.execute(sa.text(f"SELECT state FROM {MARKER}")).scalar()
            return dict(json.loads(str(found))) if found else None

    def write_all(self, tables: Mapping[str, pa.Table], marker: Mapping[str, Any]) -> None:
        """Drop whatever the sandbox wrote before and write everything."""
        with self._transaction() as connection:
            for name in (*tables, MARKER):
                connection.execute(sa.text(f"DROP TABLE IF EXISTS {name}"))
            for name, table in tables.items():
                _described(name, table.schema).create(connection)
                self._insert(connection, name, table)
                for column in _INDEXED:
                    if column in table.column_names and column != KEYS.get(name, "id"):
                        connection.execute(sa.text(f"CREATE INDEX {name}_{column} ON {name} ({column})"))
            connection.execute(sa.text(f"CREATE TABLE {MARKER} (state TEXT NOT NULL)"))
            self._mark(connection, marker)
        if self.kind == "postgresql":
            with self._transaction() as connection:
                connection.execute(sa.text("ANALYZE"))

    def apply(self, changes: Mapping[str, Changes], marker: Mapping[str, Any], whole: Mapping[str, pa.Table]) -> None:
        """Write what changed; tables the ledger rebuilds are emptied and filled from `whole`."""
        with self._transaction() as connection:
            for name, change in changes.items():
                described = _described(name, whole[name].schema)
                for column in change.new_columns:
                    kind = described.c[column].type.compile(connection.dialect)
                    connection.execute(sa.text(f"ALTER TABLE {name} ADD COLUMN {column} {kind}"))
                if name in REBUILT:
                    connection.execute(sa.text(f"DELETE FROM {name}"))
                    self._insert(connection, name, whole[name])
                else:
                    self._delete(connection, name, change.deleted)
                    self._upsert(connection, name, change.upserts)
            self._mark(connection, marker)

    def read(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query, for tests and for looking around."""
        with self._transaction() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise ConfigurationError(
                f"the sandbox's {self.kind} ledger could not be used: {reason}; check the ledger URL"
            ) from error

    def _mark(self, connection: sa.Connection, marker: Mapping[str, Any]) -> None:
        connection.execute(sa.text(f"DELETE FROM {MARKER}"))
        connection.execute(
            sa.text(f"INSERT INTO {MARKER} (state) VALUES (:state)"), {"state": json.dumps(dict(marker))}
        )

    def _insert(self, connection: sa.Connection, name: str, table: pa.Table) -> None:
        if self.kind == "postgresql":
            self._copy(connection, name, table)
        else:
            self._execute_many(connection, f"INSERT INTO {name}", table)

    def _upsert(self, connection: sa.Connection, name: str, table: pa.Table) -> None:
        if not table.num_rows:
            return
        if self.kind == "sqlite":
            self._execute_many(connection, f"INSERT OR REPLACE INTO {name}", table)
            return
        columns = ", ".join(table.column_names)
        settings = ", ".join(f"{column} = excluded.{column}" for column in table.column_names)
        connection.execute(
            sa.text(f"CREATE TEMPORARY TABLE changed_rows ON COMMIT DROP AS SELECT {columns} FROM {name} LIMIT 0")
        )
        self._copy(connection, "changed_rows", table)
        connection.execute(
            sa.text(
                f"INSERT INTO {name} ({columns}) SELECT {columns} FROM changed_rows "
                f"ON CONFLICT ({KEYS.get(name, 'id')}) DO UPDATE SET {settings}"
            )
        )
        connection.execute(sa.text("DROP TABLE changed_rows"))

    def _delete(self, connection: sa.Connection, name: str, keys: pa.Array) -> None:
        if len(keys):
            statement = sa.text(f"DELETE FROM {name} WHERE {KEYS.get(name, 'id')} = :key")
            connection.execute(statement, [{"key": key} for key in keys.to_pylist()])

    def _execute_many(self, connection: sa.Connection, verb: str, table: pa.Table) -> None:
        columns = ", ".join(table.column_names)
        marks = ", ".join("?" * table.num_columns)
        driver = connection.connection.driver_connection
        if driver is None:
            raise ConfigurationError("the sandbox's ledger connection was closed: open the world again")
        for batch in _for_sqlite(table).to_batches(max_chunksize=_BATCH):
            rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            driver.executemany(f"{verb} ({columns}) VALUES ({marks})", rows)

    def _copy(self, connection: sa.Connection, name: str, table: pa.Table) -> None:
        """COPY as CSV; an absent value is empty without quotes, an empty text has them."""
        driver: Any = connection.connection.driver_connection
        columns = ", ".join(table.column_names)
        with driver.cursor() as cursor, cursor.copy(f"COPY {name} ({columns}) FROM STDIN (FORMAT csv)") as copy:
            for batch in _for_postgres(table).to_batches(max_chunksize=_BATCH):
                buffer = io.BytesIO()
                pacsv.write_csv(pa.Table.from_batches([batch]), buffer, pacsv.WriteOptions(include_header=False))
                copy.write(buffer.getvalue())


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA busy_timeout = 60000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _described(name: str, schema: pa.Schema) -> sa.Table:
    """The SQL table for an Arrow schema."""
    key = KEYS.get(name, "id")
    columns = [
        sa.Column(field.name, _sql_type(field.type), primary_key=field.name == key, autoincrement=False)
        for field in schema
    ]
    return sa.Table(name, sa.MetaData(), *columns)


def _sql_type(kind: pa.DataType) -> sa.types.TypeEngine[Any]:
    if pa.types.is_decimal(kind):
        return sa.Numeric(19, 6).with_variant(sa.Text(), "sqlite")
    if pa.types.is_timestamp(kind):
        return sa.TIMESTAMP().with_variant(sa.Text(), "sqlite")
    if pa.types.is_date(kind):
        return sa.Date().with_variant(sa.Text(), "sqlite")
    if pa.types.is_boolean(kind):
        return sa.Boolean()
    if pa.types.is_integer(kind):
        return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Text()


def _for_sqlite(table: pa.Table) -> pa.Table:
    """Text for money and times, 0 and 1 for booleans, and a text where an office is broken."""
    columns: dict[str, Any] = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_timestamp(field.type):
            columns[field.name] = pc.strftime(column, format="%Y-%m-%d %H:%M:%S")
        elif pa.types.is_decimal(field.type) or pa.types.is_date(field.type):
            columns[field.name] = column.cast(pa.string())
        elif pa.types.is_boolean(field.type):
            columns[field.name] = column.cast(pa.int8())
        else:
            columns[field.name] = column
    plain = pa.table(columns)
    return plain if "office_id" not in columns else _with_broken_office(plain, BROKEN_OFFICE)


def _for_postgres(table: pa.Table) -> pa.Table:
    """As it is, but no office where it is broken: the database takes no text there."""
    columns = {
        field.name: column.cast(pa.string()) if pa.types.is_decimal(field.type) else column
        for field, column in zip(table.schema, table.columns, strict=True)
    }
    plain = pa.table(columns)
    return plain if "office_id" not in columns else _with_broken_office(plain, None)


def _with_broken_office(table: pa.Table, value: str | None) -> pa.Table:
    """A union of number and text does not exist in Arrow's plain types: SQLite's affinity turns digits back into numbers."""
    office = table.column("office_id")
    texts = pc.if_else(pc.equal(office, -1), pa.scalar(value, pa.string()), office.cast(pa.string()))
    return table.set_column(table.column_names.index("office_id"), "office_id", texts)
