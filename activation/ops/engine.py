"""Opening operational state: SQLite in the home by default, PostgreSQL by URL, migrated on the way.

`writing` and `reading` are how a process touches it: a write transaction takes its lock at once,
so that two writers wait for each other instead of failing half-way.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import NullPool

from activation.ops.migrate import migrate
from lendloop.errors import ConfigurationError, LockTimeoutError, TransientError
from lendloop.locks import file_lock
from lendloop.settings import Settings

BUSY_TIMEOUT_MS = 30_000
MIGRATION_TIMEOUT_S = 120.0


def open_ops(settings: Settings) -> Engine:
    """The engine of operational state, its tables at the newest version.

    Raises ConfigurationError for a URL that is none (or of another kind of database), TransientError when
    the database does not answer, LockTimeoutError when another process migrates for too long.
    """
    try:
        url = make_url(settings.operational_url)
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise ConfigurationError(
                f"LENDLOOP_OPS_URL names a {url.get_backend_name()} database: operational state takes sqlite or postgresql"
            )
        engine = create_engine(url, poolclass=NullPool)
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigurationError(
            f"LENDLOOP_OPS_URL is no SQLAlchemy URL ({type(error).__name__}): give sqlite:///path or postgresql://user@host/name"
        ) from None
    if url.get_backend_name() == "sqlite":
        _prepare_sqlite(engine, url.database)
    try:
        with file_lock(settings.home.locks / "ops.lock", "migrate operational state", MIGRATION_TIMEOUT_S):
            migrate(engine)
    except OperationalError as error:
        raise TransientError(
            f"operational state at {url.render_as_string()} does not answer: {str(error.orig).splitlines()[0]}"
        ) from error
    return engine


def _prepare_sqlite(engine: Engine, path: str | None) -> None:
    if path and path != ":memory:":
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        os.chmod(path, 0o600)

    @event.listens_for(engine, "connect")
    def on_connect(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
        ):
            dbapi_connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("reads_only", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes; commits at the end, rolls back on an error."""
    with engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view for reading, which waits for no writer."""
    with engine.execution_options(reads_only=True).connect() as connection, connection.begin():
        yield connection


@contextmanager
def exclusively(engine: Engine, settings: Settings, name: str, purpose: str, timeout_s: float) -> Iterator[None]:
    """Be the only process that does `name`, on this machine and, with PostgreSQL, among all that share it.

    Raises LockTimeoutError when another one does it for longer than `timeout_s`.
    """
    with file_lock(settings.home.locks / f"{name}.lock", purpose, timeout_s):
        if engine.dialect.name != "postgresql":
            yield
            return
        key = zlib.crc32(f"lendloop:{name}".encode())
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            if not connection.execute(text("select pg_try_advisory_lock(:key)"), {"key": key}).scalar():
                raise LockTimeoutError(f"another machine holds {name} in {engine.url.host}; not done: {purpose}")
            try:
                yield
            finally:
                connection.execute(text("select pg_advisory_unlock(:key)"), {"key": key})
