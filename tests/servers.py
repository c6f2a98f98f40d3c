"""Installations on servers: with `--on servers` each has its ledger in MariaDB, its state and Dagster's in PostgreSQL.

One server of each kind serves the session, all its workers. A database is named after the folder that it belongs to,
so whoever has the folder finds it; all of them go with the servers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path
from threading import Lock

import sqlalchemy as sa

from tests.mariadb import mariadb_over_tcp
from tests.postgres import postgres_over_tcp

LEDGERS, STATES = "TESTS_LEDGER_SERVER", "TESTS_STATE_SERVER"
"""Variables with a URL on each server, which the workers of the session inherit."""
_creating = Lock()
"""A test may start two processes of one home at once."""


@contextmanager
def servers() -> Iterator[None]:
    """Start both; they are stopped at the end. Skips where one is not installed."""
    try:
        with mariadb_over_tcp() as ledgers, postgres_over_tcp() as states:
            os.environ.update({LEDGERS: ledgers, STATES: states})
            yield
    finally:
        for name in (LEDGERS, STATES):
            os.environ.pop(name, None)


def on_servers() -> bool:
    return STATES in os.environ


def ledger_of(sandbox: Path) -> str | None:
    """The URL of the database of a sandbox's ledger; None where the ledger is a file in the sandbox's folder."""
    if not on_servers():
        return None
    url, name = _database(LEDGERS, sandbox)
    _execute(LEDGERS, f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4")
    return url


def state_of(home: Path) -> dict[str, str]:
    """The settings that keep a home's state and Dagster's in a database of its own; none where they are files in it."""
    if not on_servers():
        return {}
    url, name = _database(STATES, home)
    with _creating:
        if not _execute(STATES, f"SELECT FROM pg_database WHERE datname = '{name}'"):
            _execute(STATES, f"CREATE DATABASE {name} TEMPLATE template0")
    return {"LENDLOOP_OPS_URL": url, "LENDLOOP_DAGSTER_URL": url}


def copy_state(original: Path, home: Path) -> None:
    """What a home that nobody uses has on the server, for a copy of that home."""
    if on_servers():
        _execute(STATES, f"CREATE DATABASE {_database(STATES, home)[1]} TEMPLATE {_database(STATES, original)[1]}")


def drop_state(home: Path) -> None:
    """What a home has on the server is lost."""
    if on_servers():
        _execute(STATES, f"DROP DATABASE {_database(STATES, home)[1]} WITH (FORCE)")


def _database(server: str, folder: Path) -> tuple[str, str]:
    """The URL and the name of a folder's database."""
    name = f"of_{md5(str(folder.resolve()).encode()).hexdigest()}"
    url = sa.make_url(os.environ[server]).set(database=name)
    return url.render_as_string(hide_password=False), name


def _execute(server: str, statement: str) -> int:
    """Gives the number of rows."""
    engine = sa.create_engine(os.environ[server], isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        return connection.execute(sa.text(statement)).rowcount
