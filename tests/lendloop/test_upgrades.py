"""State of every earlier version opens today, whole; state of a later one is refused; an upgrade cut off heals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import select

from activation.audiences import ledger, store
from activation.ops import open_ops, reading
from activation.ops import tables as t
from ingestion.load import load_source
from ingestion.state import SourceMemory
from lendloop.clock import Clock
from lendloop.days import read_days
from lendloop.doctor.files import check_state
from lendloop.errors import ConfigurationError
from lendloop.formats import DamagedFileError, read_json, upgrade, version_of
from lendloop.home import Home
from lendloop.identity import read_decisions
from lendloop.passes import LastPass, read_last_pass, record_pass
from lendloop.publish import read_catalog
from lendloop.settings import Settings, load_settings
from lendloop.source_status import read_status
from lendloop.standing import read_standing
from lendloop.warehouse import VERSIONS, open_warehouse
from tests.homes.make import VERSIONS as HOMES
from tests.homes.make import make_home

NOON = datetime(2026, 6, 30, 12, tzinfo=UTC)
STEPS = (
    "create table {place}.a (x integer); insert into {place}.a values (1)",
    "alter table {place}.a add column y integer; update {place}.a set y = x + 1",
    "create table {place}.b as select sum(y) as total from {place}.a",
)


def settings_in(root: Path) -> Settings:
    return load_settings(_env_file=None, LENDLOOP_HOME=root)


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(path)) as connection:
        connection.execute("set timezone = 'UTC'")
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("version", HOMES)
def test_a_home_of_an_earlier_version_opens_whole(version: str, tmp_path: Path) -> None:
    settings = settings_in(make_home(version, tmp_path / "home"))
    home = settings.home
    for _ in range(2):
        with (
            store.open_store(home, "recovery", 5) as connection,
            ledger.open_ledger(connection, home, "drop", "recovery", 5) as delivered,
        ):
            assert delivered.members() == 3, "what was in flight may have arrived"
            assert delivered.remote() == ("Recovery", "17")
            assert delivered.last_sync() == NOON
            assert connection.execute("select amount, expires_on from state.quote").fetchall() == [
                (Decimal("123.450000"), date(2026, 7, 30))
            ]
            assert connection.execute("select person_key from state.engagement").fetchall() == [("p1",)]
            assert version_of(connection, "ledger") == len(ledger.VERSIONS)
            assert version_of(connection, "state") == len(store.VERSIONS)
        with open_warehouse(home, "a test", 5) as connection:
            assert version_of(connection, "raw_meta") == len(VERSIONS)
        engine = open_ops(settings)
        with reading(engine) as operations:
            alert = operations.execute(select(t.alert)).one()
            assert (alert.state, alert.episode, alert.notified_at) == ("open", 2, NOON)
            assert operations.execute(select(t.outbox.c.state, t.outbox.c.external_id)).one() == ("sent", "1.0")
        engine.dispose()
    catalog = read_catalog(home)
    assert (catalog.version, catalog.tables["trusted.fct_loan"].rows) == (4, 7)
    assert read_status(home)["crm"].succeeded_as_of == NOON
    assert SourceMemory.read(home, "crm").gaps == {"contacts": 5}


@pytest.mark.parametrize("version", HOMES)
def test_a_home_from_before_a_source_there_is_now_has_its_empty_table_and_takes_its_files(
    version: str, tmp_path: Path
) -> None:
    home = make_home(version, tmp_path / "home")
    clock = Clock(NOON)
    without = settings_in(home)
    assert not read_status(without.home)["survey"].configured
    assert not load_source("survey", without, clock).configured
    assert rows(home / "warehouse.duckdb", "select count(*) from raw_survey.response") == [(0,)]
    (tmp_path / "surveys").mkdir()
    (tmp_path / "surveys" / "a.csv").write_text("id,phone\n1,+2348031234567\n")
    settings = load_settings(_env_file=None, LENDLOOP_HOME=home, survey_folder=tmp_path / "surveys")
    for new in (1, 0):
        assert load_source("survey", settings, clock).new == new
    assert rows(home / "warehouse.duckdb", "select id, phone from raw_survey.response") == [
        ("a.csv#1", "+2348031234567")
    ]
    statuses = read_status(settings.home)
    assert (statuses["survey"].succeeded_as_of, statuses["crm"].succeeded_as_of) == (NOON, NOON)
    assert [finding.state for finding in check_state(settings)] == ["ok"]


def test_people_frozen_by_the_version_before_stay_frozen(tmp_path: Path) -> None:
    home = settings_in(tmp_path).home
    path = store.store_path(home, "recovery")
    with duckdb.connect() as connection:
        store.attach_private(connection, path, "state")
        upgrade(connection, "state", store.VERSIONS[:2], path.name)
        connection.execute(
            "insert into state.desired values ('p1', 'p1', '{}', 'h', false, 1, 'v4', 'crm', now(), now(), 'a')"
        )
        connection.execute(
            "insert into state.decision values ('p1', [], false, now(), 1), ('p2', ['once'], true, now(), 1)"
        )
        before = [connection.execute(f"from state.{name}").fetchall() for name in ("desired", "decision")]
    with store.open_store(home, "recovery", 5) as connection:
        connection.execute("reset timezone")
        assert [connection.execute(f"from state.{name}").fetchall() for name in ("desired", "decision")] == before


def newer_catalog(home: Path) -> None:
    (home / "published" / "catalog.json").write_text(json.dumps({"format": 99, "shape": "unknown"}))


def newer_status(home: Path) -> None:
    (home / "dlt" / "status_crm.json").write_text(json.dumps({"format": 99}))


def newer_memory(home: Path) -> None:
    (home / "dlt" / "memory_crm.json").write_text(json.dumps({"format": 99}))


def newer_pass(home: Path) -> None:
    (home / "last_pass.json").write_text(json.dumps({"format": 99}))


def newer_file(path: str, place: str) -> Callable[[Path], None]:
    def make(home: Path) -> None:
        rows(home / path, f"create table {place}.format as select 99 as version")

    return make


def read_ledger(settings: Settings) -> None:
    with (
        store.open_store(settings.home, "recovery", 5) as connection,
        ledger.open_ledger(connection, settings.home, "drop", "recovery", 5),
    ):
        pass


def read_warehouse(settings: Settings) -> None:
    with open_warehouse(settings.home, "a test", 5):
        pass


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (newer_catalog, lambda settings: read_catalog(settings.home)),
        (newer_status, lambda settings: read_status(settings.home)),
        (newer_memory, lambda settings: SourceMemory.read(settings.home, "crm")),
        (newer_pass, lambda settings: read_last_pass(settings.home)),
        (newer_file("delivery/drop.duckdb", "main"), read_ledger),
        (newer_file("delivery/audience_recovery.duckdb", "main"), read_ledger),
        (newer_file("warehouse.duckdb", "raw_meta"), read_warehouse),
    ],
    ids=["catalogue", "status", "memory", "last pass", "ledger", "audience", "warehouse"],
)
def test_state_of_a_newer_version_is_refused_in_clear_words(
    make: Callable[[Path], None], read: Callable[[Settings], object], tmp_path: Path
) -> None:
    settings = settings_in(make_home("v1", tmp_path / "home"))
    make(settings.home.root)
    with pytest.raises(ConfigurationError, match=r"version 99.*knows up to.*newer lendloop"):
        read(settings)


def test_a_json_file_is_brought_up_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "last_pass.json"
    path.write_text(json.dumps({"ended": NOON.isoformat(), "business": NOON.isoformat()}))
    steps = (
        lambda old: {"finished_at": old["ended"], "business": old["business"]},
        lambda old: {"finished_at": old["finished_at"], "as_of": old["business"]},
    )
    assert read_json(path, LastPass, steps) == LastPass(format=3, finished_at=NOON, as_of=NOON)
    path.write_text(json.dumps({"format": 2, "finished_at": NOON.isoformat(), "business": NOON.isoformat()}))
    assert read_json(path, LastPass, steps).as_of == NOON
    home = settings_in(tmp_path).home
    record_pass(home, NOON, 1, finished_at=NOON)
    assert read_last_pass(home) == LastPass(finished_at=NOON, as_of=NOON, failures=1)


@pytest.mark.parametrize(
    ("name", "read"),
    [("days.json", read_days), ("standing.json", read_standing), ("identity_decisions.json", read_decisions)],
)
def test_kept_state_that_is_newer_or_damaged_is_named_and_the_doctor_says_what_to_do(
    name: str, read: Callable[[Home], object], tmp_path: Path
) -> None:
    settings = settings_in(tmp_path)
    (tmp_path / name).write_text('{"format": 99}')
    with pytest.raises(ConfigurationError, match="is of version 99"):
        read(settings.home)
    for text in ("", "[]", '{"datasets": 1, "demoted": 1, "decisions": 1}'):
        (tmp_path / name).write_text(text)
        with pytest.raises(DamagedFileError, match=rf"{name} is damaged \(.*\): put it back from a backup") as raised:
            read(settings.home)
        assert len(str(raised.value).splitlines()) == 1
    [finding] = check_state(settings)
    assert (finding.state, name in finding.found, "backup" in finding.advice) == ("failure", True, True)
    (tmp_path / name).unlink()
    assert [one.state for one in check_state(settings)] == ["ok"]


KILLED = """
import os, signal, sys
import duckdb
from lendloop.formats import upgrade
from tests.lendloop.test_upgrades import STEPS

class Cut:
    '''A connection whose process is killed at its n-th statement.'''
    def __init__(self, connection, n):
        self.connection, self.left = connection, n
    def execute(self, *arguments):
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.connection.execute(*arguments)

connection = duckdb.connect(sys.argv[1])
upgrade(Cut(connection, int(sys.argv[2])), "main", [step.format(place="main") for step in STEPS], "a file")
"""


@pytest.mark.parametrize("statement", [2, 4, 9, 14])
def test_an_upgrade_that_is_killed_goes_on_where_it_was(statement: int, tmp_path: Path) -> None:
    path = tmp_path / "file.duckdb"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(statement)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    with duckdb.connect(str(path)) as connection:
        for _ in range(2):
            upgrade(connection, "main", [step.format(place="main") for step in STEPS], "a file")
        assert version_of(connection, "main") == 3
        assert connection.execute("select total from b").fetchall() == [(2,)]
