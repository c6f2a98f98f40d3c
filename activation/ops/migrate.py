"""Bringing a database to the newest version of the tables, with Alembic, from within the program.

Every command looks at the version, and nearly always there is nothing to bring up: Alembic is imported when there is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from lendloop.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parent / "migrations"
VERSION_TABLE = "ops_version"
"""Not Alembic's usual name: Dagster keeps its own version there, and may share the database."""
_SHARED_NAME = "alembic_version"
_ADVISORY_KEY = 5_362_101
"""Any constant number: it keeps two machines from migrating one PostgreSQL database at once."""


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration without a file; `connection` is the one to migrate."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def migrate(engine: Engine) -> None:
    """Upgrade to the newest version. Call it under a lock.

    Raises ConfigurationError when the database is newer than this code.
    """
    with engine.connect() as connection:
        if current_version(connection) == newest_version():
            return
    from alembic import command

    with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_KEY})
        _rename_version(connection)
        current = current_version(connection)
        if current == newest_version():
            return
        _refuse_unknown(current)
        command.upgrade(alembic_config(connection), "head")


def upgrade_to(connection: Connection, version: str | None) -> None:
    """Bring a connection's database to a version (`head`: the newest), or forget its version (None).

    The caller's transaction holds it. Raises ConfigurationError for a version that this code does not know.
    """
    from alembic import command

    if version is None:
        _stamp(connection, "base")
        return
    if version != "head":
        _refuse_unknown(version)
    command.upgrade(alembic_config(connection), version)


def current_version(connection: Connection) -> str | None:
    """The version of the database's tables, None where there are none."""
    return _version(connection, VERSION_TABLE)


def newest_version() -> str:
    """The version that this code brings every database to."""
    return max(known_versions())


def known_versions() -> set[str]:
    """Every version that this code can bring up: each has a file, named for it as `alembic_config` says."""
    return {path.name.partition("_")[0].removeprefix("v") for path in (FOLDER / "versions").glob("v*_*.py")}


def _refuse_unknown(version: str | None) -> None:
    if version is not None and version not in known_versions():
        raise ConfigurationError(
            f"operational state is at version {version}, which this lendloop does not know: run a newer lendloop"
        )


def _version(connection: Connection, table: str) -> str | None:
    if not inspect(connection).has_table(table):
        return None
    version: str | None = connection.execute(text(f"select version_num from {table}")).scalar()
    return version


def _stamp(connection: Connection, version: str) -> None:
    """Write down a version without bringing anything up."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(alembic_config())
    MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).stamp(scripts, version)


def _rename_version(connection: Connection) -> None:
    """A version of ours that is kept under the shared name moves to the name of its own."""
    shared = _version(connection, _SHARED_NAME)
    if shared in known_versions():
        _stamp(connection, str(shared))
        connection.execute(text(f"drop table {_SHARED_NAME}"))
