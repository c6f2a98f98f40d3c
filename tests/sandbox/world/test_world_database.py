"""The ledger is a real database: SQLite, PostgreSQL and MariaDB hold the same rows, before and after ticks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from mariadb import mariadb_over_tcp
from postgres import postgres_over_tcp
from world_lab import MakeWorld

from lendloop.errors import ConfigurationError
from sandbox.world import LEDGER_TABLES, World


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_over_tcp(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="module")
def mariadb_url() -> Iterator[str]:
    with mariadb_over_tcp() as url:
        yield url


def _value(value: Any) -> Any:
    """One spelling for a value of any database and of Arrow."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ", "microseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:.6f}"
    if isinstance(value, bytes):
        return int.from_bytes(value)
    return int(value) if isinstance(value, bool) else value


def _rows(url: str, table: str) -> list[dict[str, Any]]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        found = connection.execute(sa.text(f"SELECT * FROM {table}")).mappings().all()
    rows = [{name: _value(value) for name, value in row.items()} for row in found]
    for row in rows:
        if row.get("office_id") == "n/a":
            row["office_id"] = None
    return sorted(rows, key=lambda row: row[next(iter(row))])


def _expected(world: World, table: str) -> list[dict[str, Any]]:
    rows = [{name: _value(value) for name, value in row.items()} for row in world.table(table).to_pylist()]
    for row in rows:
        if row.get("office_id") == -1:
            row["office_id"] = None
    return rows


def test_a_new_ledger_in_a_file_is_whole_and_lets_readers_in_while_it_is_written(make_world: MakeWorld) -> None:
    file = Path(str(sa.make_url(make_world().ledger_url).database))
    assert not list(file.parent.glob("*.draft*"))
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    make_world().tick(1)
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.slow
@pytest.mark.parametrize("server", ["postgres_url", "mariadb_url"])
def test_databases_hold_the_world_to_the_last_value_as_it_ticks(
    make_world: MakeWorld, request: pytest.FixtureRequest, server: str
) -> None:
    here, there = make_world("here"), make_world("there", ledger_url=request.getfixturevalue(server))
    for days in (0, 1, 6):
        if days:
            here.tick(days)
            there.tick(days)
        for table in LEDGER_TABLES:
            expected = _expected(here, table)
            assert _rows(here.ledger_url, table) == expected, f"SQLite's {table} after {days} days"
            assert _rows(there.ledger_url, table) == expected, f"{server}'s {table} after {days} days"


def test_mariadb_keeps_values_in_the_types_of_fineract(make_world: MakeWorld, mariadb_url: str) -> None:
    make_world("typed", ledger_url=mariadb_url)
    engine = sa.create_engine(mariadb_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        found = connection.execute(
            sa.text("SELECT column_name, column_type FROM information_schema.columns WHERE table_schema = 'ledger'")
        )
        kinds = {str(name): str(kind) for name, kind in found}
    assert kinds["principal_amount"] == "decimal(19,6)"
    assert kinds["last_modified_on_utc"] == "datetime(6)"
    assert kinds["duedate"] == "date"
    assert kinds["is_reversed"] == "tinyint(1)"
    assert kinds["completed_derived"] == "bit(1)"
    assert kinds["loan_id"].startswith("bigint")
    assert kinds["firstname"] == "varchar(255)"


def test_a_write_that_mariadb_saw_half_of_is_made_good(make_world: MakeWorld, mariadb_url: str) -> None:
    """Its CREATE and DROP end transactions: what is there without a marker's row is the sandbox's own, cut off."""
    world = make_world("cut", ledger_url=mariadb_url)
    engine = sa.create_engine(mariadb_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM sandbox_world"))
        connection.execute(sa.text("DROP TABLE m_loan"))
    make_world("cut", ledger_url=mariadb_url)
    assert _rows(mariadb_url, "m_loan") == _expected(world, "m_loan")
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE m_client ADD COLUMN occupation VARCHAR(255)"))
    world.tick(2)
    assert _rows(mariadb_url, "m_client") == _expected(world, "m_client")


def test_postgresql_keeps_money_and_time_in_types_of_their_own(make_world: MakeWorld, postgres_url: str) -> None:
    make_world("typed", ledger_url=postgres_url)
    engine = sa.create_engine(postgres_url, poolclass=sa.NullPool)
    columns = {column["name"]: str(column["type"]) for column in sa.inspect(engine).get_columns("m_loan")}
    assert columns["principal_amount"] == "NUMERIC(19, 6)"
    assert columns["last_modified_on_utc"] == "TIMESTAMP"
    assert columns["disbursedon_date"] == "DATE"
    assert columns["is_npa"] == "BOOLEAN"
    assert columns["id"] == "BIGINT"


def test_sqlite_keeps_money_and_time_as_text_and_takes_a_text_for_a_number(make_world: MakeWorld) -> None:
    world = make_world(customers=3_000)
    with sqlite3.connect(world.ledger_url.removeprefix("sqlite:///")) as connection:
        kinds = connection.execute(
            "SELECT typeof(amount), typeof(transaction_date), typeof(last_modified_on_utc), typeof(is_reversed), amount, "
            "last_modified_on_utc FROM m_loan_transaction LIMIT 1"
        ).fetchone()
        broken = connection.execute("SELECT count(*) FROM m_client WHERE typeof(office_id) = 'text'").fetchone()
        indices = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert kinds[:4] == ("text", "text", "text", "integer")
    assert len(kinds[4].split(".")[1]) == 6
    assert len(kinds[5]) == len("2026-06-30 18:00:00.000000")
    assert broken[0] > 0
    assert "m_loan_last_modified_on_utc" in indices


def test_a_ledger_that_is_not_the_sandboxs_is_left_alone(make_world: MakeWorld, tmp_path: Path) -> None:
    path = tmp_path / "real.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE m_client (id INTEGER)")
        connection.execute("INSERT INTO m_client VALUES (1)")
    with pytest.raises(ConfigurationError, match="not the sandbox's"):
        make_world(ledger_url=f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT * FROM m_client").fetchall() == [(1,)]


def test_a_lost_ledger_is_written_again_at_the_worlds_moment(make_world: MakeWorld, tmp_path: Path) -> None:
    make_world().tick(2)
    for file in (tmp_path / "world").glob("ledger.sqlite*"):
        file.unlink()
    world = make_world()
    assert world.version == 3
    assert _rows(world.ledger_url, "m_loan") == _expected(world, "m_loan")


def test_a_ledger_can_move_to_another_database(make_world: MakeWorld, tmp_path: Path) -> None:
    make_world().tick(1)
    world = make_world(ledger_url=f"sqlite:///{tmp_path / 'moved' / 'ledger.sqlite'}")
    assert _rows(world.ledger_url, "m_loan_transaction") == _expected(world, "m_loan_transaction")
    world.tick(1)
    assert _rows(world.ledger_url, "m_loan_transaction") == _expected(world, "m_loan_transaction")


@pytest.mark.parametrize("url", ["no url", "oracle://somewhere/ledger", "mysql+nodriver://somewhere/ledger"])
def test_an_unfit_ledger_url_is_said_in_one_line(make_world: MakeWorld, url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        make_world(ledger_url=url)
    assert "\n" not in str(raised.value)
    assert "give a" in str(raised.value)


def test_an_absent_server_is_said_in_one_line(make_world: MakeWorld) -> None:
    with pytest.raises(ConfigurationError, match="check the ledger URL") as raised:
        make_world(ledger_url="postgresql://nobody@127.0.0.1:1/ledger")
    assert "\n" not in str(raised.value)
