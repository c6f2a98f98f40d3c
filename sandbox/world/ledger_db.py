"""The ledger as a real SQL database: SQLite, PostgreSQL, MariaDB or MySQL, through SQLAlchemy.

What belongs here: creating, filling and changing the tables, each in one transaction, with a
marker row that says which world at which moment the database holds. What does not: what is in
them, and how each database spells a value (`ledger_values`).

MySQL ends a transaction with every CREATE, DROP and ALTER. So the marker's row goes first and
comes last, and new columns are added before any row changes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from lendloop.errors import ConfigurationError
from sandbox.world.changes import KEYS, Changes
from sandbox.world.ledger_schema import MARKER, described, index_statements
from sandbox.world.ledger_values import batches, for_csv, for_sqlite, mysql_rows, python_values
from sandbox.world.new_ledger import write_new

REBUILT = frozenset({"m_loan_arrears_aging"})
"""Emptied and filled anew by the ledger each day, as Fineract does."""
_BATCH = 50_000
_MYSQL_ROWS = 4_000
"""Rows of one INSERT: well below the usual max_allowed_packet of 16 MB."""
_KINDS = {"sqlite": "sqlite", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
_GIVE = "give a sqlite://, postgresql:// or mysql+pymysql:// URL"


class LedgerDatabase:
    """One ledger. Every write is one transaction that also moves the marker."""

    def __init__(self, url: str) -> None:
        """Raises ConfigurationError when the URL is not one of SQLite, PostgreSQL, MariaDB or MySQL."""
        try:
            parsed = sa.make_url(url)
        except SQLAlchemyError as error:
            raise ConfigurationError(
                f"the sandbox's ledger URL can't be read ({error}): give a SQLAlchemy URL"
            ) from error
        backend = parsed.get_backend_name()
        if backend not in _KINDS:
            raise ConfigurationError(f"the sandbox can't write a {backend} ledger: {_GIVE}")
        self.kind = _KINDS[backend]
        self._file = Path(parsed.database) if self.kind == "sqlite" and parsed.database else None
        if self._file:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        if self.kind == "mysql":
            parsed = parsed.update_query_dict({"charset": "utf8mb4"})
        try:
            self._engine = sa.create_engine(parsed, poolclass=sa.NullPool)
        except (ModuleNotFoundError, SQLAlchemyError) as error:
            raise ConfigurationError(f"the sandbox has no driver for {parsed.drivername} ({error}): {_GIVE}") from error
        if self.kind == "sqlite":
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
            sa.event.listen(self._engine, "begin", _begin_immediate)
        if self.kind == "mysql":
            sa.event.listen(self._engine, "connect", _prepare_mysql)

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

    def write_all(self, tables: Iterable[tuple[str, pa.Table]], marker: Mapping[str, Any]) -> None:
        """Drop whatever the sandbox wrote before and write everything, table by table as they come."""
        if self._file and self._is_empty():
            write_new(self._file, tables, marker)
            return
        with self._transaction() as connection:
            connection.execute(sa.text(f"CREATE TABLE IF NOT EXISTS {MARKER} (state TEXT NOT NULL)"))
            connection.execute(sa.text(f"DELETE FROM {MARKER}"))
            for name, table in tables:
                connection.execute(sa.text(f"DROP TABLE IF EXISTS {name}"))
                in_sql = described(name, table.schema)
                in_sql.create(connection)
                self._insert(connection, name, table)
                for statement in index_statements(in_sql):
                    connection.execute(sa.text(statement))
            self._mark(connection, marker)
        if self.kind == "postgresql":
            with self._transaction() as connection:
                connection.execute(sa.text("ANALYZE"))

    def apply(
        self,
        changes: Mapping[str, Changes],
        marker: Mapping[str, Any],
        whole: Callable[[str], pa.Table],
    ) -> None:
        """Write what changed; tables the ledger rebuilds are emptied and filled from `whole`."""
        with self._transaction() as connection:
            for name, change in changes.items():
                self._add_columns(connection, name, change)
            for name, change in changes.items():
                if name in REBUILT:
                    connection.execute(sa.text(f"DELETE FROM {name}"))
                    self._insert(connection, name, whole(name))
                else:
                    self._delete(connection, name, change.deleted)
                    if change.upserts.num_rows:
                        self._upsert(connection, name, change.upserts)
            self._mark(connection, marker)

    def read(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query, for tests and for looking around."""
        with self._transaction() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]

    def _is_empty(self) -> bool:
        with self._transaction() as connection:
            return not sa.inspect(connection).get_table_names()

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

    def _add_columns(self, connection: sa.Connection, name: str, change: Changes) -> None:
        if not change.new_columns:
            return
        in_sql = described(name, change.upserts.schema)
        there = {str(column["name"]) for column in sa.inspect(connection).get_columns(name)}
        for column in change.new_columns:
            if column not in there:
                kind = in_sql.c[column].type.compile(connection.dialect)
                connection.execute(sa.text(f"ALTER TABLE {name} ADD COLUMN {column} {kind}"))

    def _insert(self, connection: sa.Connection, name: str, rows: pa.Table) -> None:
        if self.kind == "postgresql":
            self._copy(connection, name, rows)
        elif self.kind == "mysql":
            self._send(connection, f"INSERT INTO {name}", rows)
        else:
            self._execute_many(connection, f"INSERT INTO {name}", rows)

    def _upsert(self, connection: sa.Connection, name: str, rows: pa.Table) -> None:
        if self.kind == "sqlite":
            self._execute_many(connection, f"INSERT OR REPLACE INTO {name}", rows)
            return
        if self.kind == "mysql":
            self._send(connection, f"REPLACE INTO {name}", rows)
            return
        columns = ", ".join(rows.column_names)
        settings = ", ".join(f"{column} = excluded.{column}" for column in rows.column_names)
        connection.execute(
            sa.text(f"CREATE TEMPORARY TABLE changed_rows ON COMMIT DROP AS SELECT {columns} FROM {name} LIMIT 0")
        )
        self._copy(connection, "changed_rows", rows)
        connection.execute(
            sa.text(
                f"INSERT INTO {name} ({columns}) SELECT {columns} FROM changed_rows "
                f"ON CONFLICT ({KEYS.get(name, 'id')}) DO UPDATE SET {settings}"
            )
        )
        connection.execute(sa.text("DROP TABLE changed_rows"))

    def _delete(self, connection: sa.Connection, name: str, keys: pa.Array) -> None:
        numbers = [int(key) for key in keys.to_pylist()]
        for at in range(0, len(numbers), _MYSQL_ROWS):
            some = ", ".join(map(str, numbers[at : at + _MYSQL_ROWS]))
            connection.execute(sa.text(f"DELETE FROM {name} WHERE {KEYS.get(name, 'id')} IN ({some})"))

    def _execute_many(self, connection: sa.Connection, verb: str, rows: pa.Table) -> None:
        names = rows.column_names
        statement = f"{verb} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        driver = _driver(connection)
        for batch in batches(rows, _BATCH):
            driver.executemany(statement, python_values(for_sqlite(batch)))

    def _send(self, connection: sa.Connection, verb: str, rows: pa.Table) -> None:
        """Many rows a statement, spelt out: no driver's escaping row by row."""
        opening = f"{verb} ({', '.join(rows.column_names)}) VALUES ".encode()
        with _driver(connection).cursor() as cursor:
            for batch in batches(rows, _MYSQL_ROWS):
                cursor.execute(opening + b",".join(mysql_rows(batch)))

    def _copy(self, connection: sa.Connection, name: str, rows: pa.Table) -> None:
        """COPY as CSV; an absent value is empty without quotes, an empty text has them."""
        columns = ", ".join(rows.column_names)
        statement = f"COPY {name} ({columns}) FROM STDIN (FORMAT csv)"
        with _driver(connection).cursor() as cursor, cursor.copy(statement) as copy:
            for batch in batches(rows, _BATCH):
                buffer = io.BytesIO()
                pacsv.write_csv(for_csv(batch), buffer, pacsv.WriteOptions(include_header=False))
                copy.write(buffer.getvalue())


def _driver(connection: sa.Connection) -> Any:
    """The driver's own connection. Raises ConfigurationError when it was closed."""
    driver = connection.connection.driver_connection
    if driver is None:
        raise ConfigurationError("the sandbox's ledger connection was closed: open the world again")
    return driver


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA busy_timeout = 60000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -65536")


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare_mysql(connection: Any, _record: Any) -> None:
    """What spelling values out relies on, whatever the server's own settings."""
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = 'STRICT_ALL_TABLES', time_zone = '+00:00'")
