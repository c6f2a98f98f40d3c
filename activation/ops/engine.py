"""Opening operational state: SQLite in the home by default, PostgreSQL by URL, migrated on the way.

`writing` and `reading` are how a process touches it: a write transaction takes its lock at once,
so that two writers wait for each other instead of failing half-way. Both databases behave alike.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import NullPool

from activation.ops.migrate import migrate
from lendloop.errors import ConfigurationError, LockTimeoutError, TransientError
from lendloop.locks import file_lock
from lendloop.settings import Settings

BUSY_TIMEOUT_MS = 30_000
MIGRATION_TIMEOUT_S = 120.0
CONNECT_TIMEOUT_S = 10
_POLL_S = 0.05
_WRITER_KEY = 5_362_102
"""Any constant number: PostgreSQL's lock of the one writer, which SQLite has by itself."""


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
        engine = create_engine(_bounded(url), poolclass=NullPool)
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigurationError(
            f"LENDLOOP_OPS_URL is no SQLAlchemy URL ({type(error).__name__}): give sqlite:///path or postgresql://user@host/name"
        ) from None
    if url.get_backend_name() == "sqlite":
        _prepare_sqlite(engine, url.database)
    with (
        _answering(engine),
        file_lock(settings.home.locks / "ops.lock", "migrate operational state", MIGRATION_TIMEOUT_S),
    ):
        migrate(engine)
    return engine


def _bounded(url: URL) -> URL:
    """A PostgreSQL URL whose connections wait neither for the server nor for a lock without end."""
    if url.get_backend_name() != "postgresql":
        return url
    options = f"-clock_timeout={BUSY_TIMEOUT_MS} {url.query.get('options', '')}".strip()
    return url.update_query_dict({"connect_timeout": str(CONNECT_TIMEOUT_S), **url.query, "options": options})


@contextmanager
def _answering(engine: Engine) -> Iterator[None]:
    """Raises TransientError, without the password, when the database is away, stops or stays locked."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        where = engine.url.set(query={}).render_as_string()
        reason = next(iter(str(error.orig).strip().splitlines()), type(error.orig).__name__)
        raise TransientError(f"operational state at {where} does not answer: {reason}") from error


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
    """One transaction that writes, alone; commits at the end, rolls back on an error.

    Raises TransientError when the database does not answer, or another writer is at it for too long.
    """
    with _answering(engine), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _WRITER_KEY})
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view for reading, which waits for no writer. Raises TransientError as `writing` does."""
    options: dict[str, Any] = {"reads_only": True}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with _answering(engine), engine.execution_options(**options).connect() as connection, connection.begin():
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
        with _answering(engine), engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            deadline = time.monotonic() + timeout_s
            while not connection.execute(text("select pg_try_advisory_lock(:key)"), {"key": key}).scalar():
                if time.monotonic() >= deadline:
                    raise LockTimeoutError(
                        f"another machine holds {name} in {engine.url.host}; waited {timeout_s:.0f} s for: {purpose}"
                    )
                time.sleep(_POLL_S)
            # the session ends with the connection, and its lock with the session
            yield
