"""Operational state: opened, migrated and shared between processes, on SQLite and on PostgreSQL."""

from __future__ import annotations

import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, insert, inspect, select, update

from activation.ops import exclusively, open_ops, reading, writing
from activation.ops import tables as t
from activation.ops.migrate import VERSION_TABLE, alembic_config, known_versions, migrate, newest_version
from lendloop.errors import ConfigurationError, LockTimeoutError, TransientError
from lendloop.settings import Settings, load_settings
from tests.postgres import ON_BOTH, Server

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)


def settings_in(home: Path, **overrides: Any) -> Settings:
    return load_settings(LENDLOOP_HOME=home, **overrides)


@pytest.fixture
def ops(tmp_path: Path, ops_settings: dict[str, str]) -> Engine:
    return open_ops(settings_in(tmp_path, **ops_settings))


@ON_BOTH
def test_migrations_give_exactly_the_declared_tables(ops: Engine) -> None:
    with reading(ops) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "version_table": VERSION_TABLE})
        assert compare_metadata(context, t.metadata) == []


@ON_BOTH
def test_money_and_instants_come_back_exactly(ops: Engine) -> None:
    lagos = NOON.astimezone(timezone(timedelta(hours=1)))
    with writing(ops) as connection:
        evaluation = connection.execute(
            insert(t.rule_evaluation)
            .values(
                rule="r",
                rule_version="1",
                as_of=lagos,
                outcome="failed",
                findings=1,
                new_findings=1,
                cleared_findings=0,
                frozen=False,
                duration_ms=1,
            )
            .returning(t.rule_evaluation.c.id)
        ).scalar_one()
        connection.execute(
            insert(t.finding).values(
                rule="r",
                entity="1",
                entity_key={"id": 1},
                severity="warning",
                value=Decimal("9007199254740993.000001"),
                details={},
                firing=True,
                unseen=True,
                first_seen_at=lagos,
                last_seen_at=lagos,
                evaluation_id=evaluation,
            )
        )
    with reading(ops) as connection:
        row = connection.execute(select(t.finding)).one()
    assert row.value == Decimal("9007199254740993.000001")
    assert row.first_seen_at == NOON
    assert row.first_seen_at.tzinfo is UTC


@ON_BOTH
def test_a_naive_instant_is_refused(ops: Engine) -> None:
    with pytest.raises(Exception, match="no time zone"), writing(ops) as connection:
        connection.execute(insert(t.cursor).values(name="a", value="1", updated_wall=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_the_sqlite_file_is_its_owners_only(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    engine = open_ops(settings)
    with writing(engine) as connection:
        connection.execute(insert(t.cursor).values(name="a", value="1", updated_wall=NOON))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("ops.sqlite*")}
    assert set(modes) >= {"ops.sqlite", "ops.sqlite-wal"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_processes_that_open_a_new_database_at_once_migrate_it_once_and_lose_no_write(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    """On PostgreSQL each from a home of its own, as from other machines: no file lock keeps them apart."""
    url = None
    if database == "postgresql":
        url = request.getfixturevalue("postgres_server").create("new")
    script = f"""
from datetime import UTC, datetime
from sqlalchemy import select, update
from activation.ops import open_ops, writing
from activation.ops import tables as t
from activation.ops.migrate import VERSION_TABLE, migrate
from lendloop.settings import load_settings
import sys
engine = open_ops(load_settings(LENDLOOP_HOME=sys.argv[1], ops_url={url!r}))
now = datetime.now(UTC)
with writing(engine) as c:
    if c.execute(select(t.cursor)).first() is None:
        c.execute(t.cursor.insert().values(name="n", value="0", updated_wall=now))
for _ in range(20):
    with writing(engine) as c:
        value = c.execute(select(t.cursor.c.value)).scalar_one()
        c.execute(update(t.cursor).values(value=str(int(value) + 1), updated_wall=now))
"""
    homes = [tmp_path / (str(number) if url else "home") for number in range(4)]
    processes = [subprocess.Popen([sys.executable, "-c", script, home], stderr=subprocess.PIPE) for home in homes]
    faults = [process.communicate(timeout=120)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], faults
    with reading(open_ops(settings_in(homes[0], ops_url=url))) as connection:
        assert connection.execute(select(t.cursor.c.value)).scalar_one() == "80"


@ON_BOTH
def test_a_reader_waits_for_no_writer_and_sees_no_half_write(ops: Engine) -> None:
    with writing(ops) as connection:
        connection.execute(insert(t.cursor).values(name="a", value="old", updated_wall=NOON))
    with writing(ops) as connection:
        connection.execute(update(t.cursor).values(value="new"))
        with reading(ops) as reader:
            assert reader.execute(select(t.cursor.c.value)).scalar_one() == "old"


@ON_BOTH
def test_what_one_process_does_exclusively_another_is_refused(ops: Engine, tmp_path: Path) -> None:
    here, elsewhere = settings_in(tmp_path), settings_in(tmp_path / "another_machine")
    with exclusively(ops, here, "outbox", "deliver", 1.0):
        with (
            pytest.raises(LockTimeoutError, match="deliver again"),
            exclusively(ops, here, "outbox", "deliver again", 0.1),
        ):
            pass
        if ops.dialect.name == "postgresql":
            with (
                pytest.raises(LockTimeoutError, match="deliver again"),
                exclusively(ops, elsewhere, "outbox", "deliver again", 0.1),
            ):
                pass
    with exclusively(ops, elsewhere, "outbox", "deliver", 1.0):
        pass


@pytest.mark.parametrize("url", ["mysql://x/y", "no url"])
def test_a_url_that_cannot_hold_operational_state_is_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="LENDLOOP_OPS_URL"):
        open_ops(settings_in(tmp_path, ops_url=url))


def test_a_database_that_does_not_answer_is_one_clear_line_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(TransientError) as caught:
        open_ops(settings_in(tmp_path, ops_url="postgresql://somebody:hushhush@127.0.0.1:1/ops"))
    assert "hushhush" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def test_a_server_that_stops_in_a_transaction_is_named_and_back_again_is_used(
    tmp_path: Path, postgres_server: Server
) -> None:
    engine = open_ops(settings_in(tmp_path, ops_url=postgres_server.create("stopped", "ops_template")))
    with writing(engine) as connection:
        connection.execute(insert(t.cursor).values(name="a", value="kept", updated_wall=NOON))

    def cut_off() -> None:
        with writing(engine) as connection:
            connection.execute(update(t.cursor).values(value="half-way"))
            postgres_server.stop()
            connection.execute(update(t.cursor).values(value="lost"))

    def refused() -> None:
        with exclusively(engine, settings_in(tmp_path), "outbox", "deliver", 1.0):
            pass

    try:
        for attempt in (cut_off, refused):
            with pytest.raises(TransientError, match=r"operational state at .*stopped does not answer"):
                attempt()
    finally:
        postgres_server.start()
    with reading(engine) as connection:
        assert connection.execute(select(t.cursor.c.value)).scalar_one() == "kept"


def test_who_exclusively_does_something_while_the_server_restarts_may_end_it(
    tmp_path: Path, postgres_server: Server
) -> None:
    engine = open_ops(settings_in(tmp_path, ops_url=postgres_server.create("restarted", "ops_template")))
    for _ in range(2):
        with exclusively(engine, settings_in(tmp_path), "outbox", "deliver", 5.0):
            postgres_server.stop()
            postgres_server.start()
            with writing(engine) as connection:
                connection.execute(update(t.cursor).values(value="new"))


def test_dagsters_tables_may_be_in_the_same_database(tmp_path: Path, postgres_server: Server) -> None:
    url = postgres_server.create("shared")
    settings = settings_in(tmp_path, ops_url=url)
    storage = {"postgres": {"postgres_url": url.replace("postgresql:", "postgresql+psycopg2:")}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"storage": storage}))
    for _ in range(2):
        open_ops(settings)
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            instance.upgrade()
            assert instance.get_runs_count() == 0


@ON_BOTH
def test_a_version_kept_under_alembics_usual_name_moves_to_its_own(ops: Engine, tmp_path: Path) -> None:
    with writing(ops) as connection:
        connection.exec_driver_sql("create table alembic_version as select * from ops_version")
        connection.exec_driver_sql("drop table ops_version")
        version = connection.exec_driver_sql("select version_num from alembic_version").scalar_one()
    migrate(ops)
    with reading(ops) as connection:
        assert connection.exec_driver_sql("select version_num from ops_version").scalar_one() == version
        assert not inspect(connection).has_table("alembic_version")


def test_the_files_of_versions_are_named_for_them() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    assert known_versions() == {script.revision for script in scripts.walk_revisions()}
    assert newest_version() == scripts.get_current_head()


def test_a_database_at_the_newest_version_is_opened_without_alembic(tmp_path: Path) -> None:
    open_ops(settings_in(tmp_path))
    code = (
        "import sys; from activation.ops import open_ops; from lendloop.settings import load_settings;"
        f"open_ops(load_settings(_env_file=None, LENDLOOP_HOME={str(tmp_path)!r})); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    engine = open_ops(settings_in(tmp_path))
    with writing(engine) as connection:
        connection.exec_driver_sql("update ops_version set version_num = '9999'")
    with pytest.raises(ConfigurationError, match="9999"):
        open_ops(settings_in(tmp_path))
