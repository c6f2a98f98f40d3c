"""Bringing a database to the newest version of the tables, with Alembic, from within the program."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from lendloop.errors import ConfigurationError

FOLDER = Path(__file__).parent / "migrations"
VERSION_TABLE = "ops_version"
"""Not Alembic's usual name: Dagster keeps its own version there, and may share the database."""
_SHARED_NAME = "alembic_version"
_ADVISORY_KEY = 5_362_101
"""Any constant number: it keeps two machines from migrating one PostgreSQL database at once."""


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration without a file; `connection` is the one to migrate."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def migrate(engine: Engine) -> None:
    """Upgrade to the newest version. Call it under a lock.

    Raises ConfigurationError when the database is newer than this code.
    """
    scripts = ScriptDirectory.from_config(alembic_config())
    head = scripts.get_current_head()
    with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_KEY})
        known = {script.revision for script in scripts.walk_revisions()}
        _rename_version(connection, scripts, known)
        current = current_version(connection)
        if current == head:
            return
        _refuse_unknown(current, known)
        command.upgrade(alembic_config(connection), "head")


def upgrade_to(connection: Connection, version: str | None) -> None:
    """Bring a connection's database to a version (`head`: the newest), or forget its version (None).

    The caller's transaction holds it. Raises ConfigurationError for a version that this code does not know.
    """
    scripts = ScriptDirectory.from_config(alembic_config())
    if version is None:
        MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).stamp(scripts, "base")
        return
    if version != "head":
        _refuse_unknown(version, known_versions())
    command.upgrade(alembic_config(connection), version)


def current_version(connection: Connection) -> str | None:
    """The version of the database's tables, None where there are none."""
    return _version(connection, VERSION_TABLE)


def newest_version() -> str:
    """The version that this code brings every database to."""
    return str(ScriptDirectory.from_config(alembic_config()).get_current_head())


def known_versions() -> set[str]:
    """Every version that this code can bring up."""
    return {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}


def _refuse_unknown(version: str | None, known: set[str]) -> None:
    if version is not None and version not in known:
        raise ConfigurationError(
            f"operational state is at version {version}, which this lendloop does not know: run a newer lendloop"
        )


def _version(connection: Connection, table: str) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": table}).get_current_revision()


def _rename_version(connection: Connection, scripts: ScriptDirectory, known: set[str]) -> None:
    """A version of ours that is kept under the shared name moves to the name of its own."""
    shared = _version(connection, _SHARED_NAME)
    if shared in known:
        MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).stamp(scripts, str(shared))
        connection.execute(text(f"drop table {_SHARED_NAME}"))
