"""Backup and restore of a small home: what is in the archive, what is refused, what is kept aside."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import insert, select

from activation.ops import open_ops, reading, writing
from activation.ops import tables as t
from ingestion.load import prepare_raw
from lendloop.backup import MANIFEST
from lendloop.clock import Clock
from lendloop.errors import ConfigurationError, LockTimeoutError, PermanentError
from lendloop.identity import decide, read_decisions
from lendloop.publish import read_catalog
from lendloop.settings import Settings, load_settings
from lendloop.warehouse import warehouse_lock
from orchestration.backup import make_backup, restore_backup
from tests.homes.make import make_home
from tests.postgres import Server

CLOCK = Clock(datetime(2026, 6, 30, 12, tzinfo=UTC))


def settings_in(home: Path, **overrides: str) -> Settings:
    return load_settings(_env_file=None, LENDLOOP_HOME=home, **overrides)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with something of everything: delivery files, alerts, a refused row, a deleted contact, a hash key."""
    folder = tmp_path_factory.mktemp("installation")
    settings = settings_in(make_home("v1", folder / "home"))
    prepare_raw(settings)
    place = settings.home.quarantine / "crm" / "contacts"
    place.mkdir(parents=True)
    (place / "1.parquet").write_bytes(b"refused")
    with duckdb.connect(str(settings.home.warehouse)) as connection:
        connection.execute(
            "insert into raw_crm.contacts (id, updated_at, _deleted_at) values ('1', now(), now()), ('2', now(), null)"
        )
        connection.execute("create schema gray; create table gray.int_person_founder (record_key varchar not null)")
        connection.execute("insert into gray.int_person_founder values ('first known')")
        connection.execute("create table gray.int_identity_record as select unnest(['crm:1', 'crm:2']) as record_key")
    decide(settings, "crm:1,crm:2", "different", by="Ada", because="two sisters")
    settings.identifier_key()
    return settings


@pytest.fixture(scope="module")
def archive(installation: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("backups") / "home.tar.gz"
    make_backup(installation, CLOCK, target)
    return target


def delivered(settings: Settings) -> list[tuple[object, ...]]:
    with duckdb.connect(str(settings.home.delivery / "drop.duckdb")) as connection:
        return connection.execute("select person_key, identifier, state from delivered order by all").fetchall()


def test_what_can_not_be_had_again_comes_back(installation: Settings, archive: Path, tmp_path: Path) -> None:
    there = settings_in(tmp_path / "another" / "home")
    manifest, aside = restore_backup(there, archive)
    assert aside is None
    assert manifest.hash_key_inside
    assert there.identifier_key() == installation.identifier_key()
    assert delivered(there) == delivered(installation)
    assert (there.home.quarantine / "crm" / "contacts" / "1.parquet").read_bytes() == b"refused"
    with duckdb.connect(str(there.home.warehouse)) as connection:
        contacts = connection.execute("select id, updated_at from raw_crm.contacts").fetchall()
        assert contacts == [("1", None)], "the deleted record alone, and without a cursor to go on from"
        assert connection.execute("select * from gray.int_person_founder").fetchall() == [("first known",)]
        with pytest.raises(duckdb.ConstraintException):
            connection.execute("insert into gray.int_person_founder values (null)")
    engine = open_ops(there)
    with reading(engine) as connection:
        assert connection.execute(select(t.alert.c.episode)).scalar_one() == 2
    engine.dispose()
    catalog = read_catalog(there.home)
    assert (catalog.version, catalog.tables) == (4, {}), "nothing is published there yet; versions go on"
    for path in (there.home.delivery, there.home.secrets, there.home.quarantine):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert [decision.because for decision in read_decisions(there.home)] == ["two sisters"]
    for path in (there.home.warehouse, there.home.ops_sqlite, there.home.decisions, there.home.secrets / "hash.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_is_an_archive_too_and_is_its_owners_only(installation: Settings, tmp_path: Path) -> None:
    target, published = tmp_path / "backup", installation.home.published_files / "trusted" / "fct_loan"
    with pytest.raises(PermanentError, match="is published and not there"):
        make_backup(installation, CLOCK, target, with_warehouse=True)
    assert not target.exists()
    published.mkdir(parents=True)
    (published / "all-0123456789abcdef0123.parquet").write_bytes(b"rows")
    manifest = make_backup(installation, CLOCK, target, with_warehouse=True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in target.rglob("*") if path.is_file()} == {0o600}
    assert {"warehouse.duckdb", "dlt/status_crm.json", "dlt/memory_crm.json"} <= manifest.files.keys()
    there = settings_in(tmp_path / "home")
    restore_backup(there, target)
    assert (there.home.published_files / "trusted" / "fct_loan" / "all-0123456789abcdef0123.parquet").exists()
    with duckdb.connect(str(there.home.warehouse)) as connection:
        assert connection.execute("select count(*) from raw_crm.contacts").fetchall() == [(2,)]
    with pytest.raises(ConfigurationError, match="never written over"):
        make_backup(installation, CLOCK, target)


def test_a_damaged_archive_touches_nothing(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    there = settings_in(tmp_path / "home")
    path = folder / "delivery" / "drop.duckdb"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(PermanentError, match=r"drop\.duckdb is not what was backed up"):
        restore_backup(there, folder)
    shutil.rmtree(folder / "delivery")
    with pytest.raises(PermanentError, match="is not what was backed up"):
        restore_backup(there, folder)
    (tmp_path / "cut.tar.gz").write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(PermanentError):
        restore_backup(there, tmp_path / "cut.tar.gz")
    with pytest.raises(ConfigurationError, match="no backup"):
        restore_backup(there, tmp_path / "nowhere")
    assert not any(path.is_file() for path in there.home.root.rglob("*") if path.suffix != ".lock")


def test_a_newer_archive_and_another_key_are_refused(archive: Path, tmp_path: Path) -> None:
    there = settings_in(tmp_path / "home")
    with pytest.raises(ConfigurationError, match="every identifier would change"):
        restore_backup(settings_in(tmp_path / "home", hash_key="another"), archive)
    for change, words in (({"format": 99}, "version 99"), ({"ops_version": "9999"}, "9999")):
        folder = tmp_path / words.replace(" ", "-")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        manifest = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps(manifest | change))
        with pytest.raises(ConfigurationError, match=words):
            restore_backup(there, folder)
    assert not there.home.ops_sqlite.exists()


def test_a_home_that_holds_something_is_kept_aside_and_one_in_use_is_left_alone(archive: Path, tmp_path: Path) -> None:
    there = settings_in(make_home("v1", tmp_path / "home"))
    (there.home.delivery / "mine.duckdb").write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match="--force"):
        restore_backup(there, archive)
    with warehouse_lock(there.home, "building", 1), pytest.raises(LockTimeoutError, match=r"in use.*building"):
        restore_backup(there, archive, force=True)
    assert (there.home.delivery / "mine.duckdb").exists()

    _, aside = restore_backup(there, archive, force=True)
    assert aside is not None
    assert (aside / "delivery" / "mine.duckdb").read_bytes() == b"mine"
    assert (aside / "ops.sqlite").exists()
    assert not (there.home.delivery / "mine.duckdb").exists()


def test_a_restore_that_was_cut_off_closes_the_home_until_it_is_done(archive: Path, tmp_path: Path) -> None:
    there = settings_in(make_home("v1", tmp_path / "home"))
    there.home.unfinished_restore.write_text(str(archive))
    with pytest.raises(ConfigurationError, match="lendloop restore"):
        there.home.prepare()
    restore_backup(there, archive)
    there.home.prepare()
    assert not list(there.home.root.glob(".restore-*"))


def test_operational_state_moves_into_postgresql_and_what_was_there_is_kept_aside(
    archive: Path, tmp_path: Path, postgres_server: Server
) -> None:
    there = settings_in(tmp_path / "home", ops_url=postgres_server.create("restored"))
    engine = open_ops(there)
    try:
        with writing(engine) as connection:
            connection.execute(insert(t.cursor).values(name="old", value="1", updated_wall=CLOCK.as_of))
        with pytest.raises(ConfigurationError, match="operational state"):
            restore_backup(there, archive)
        _, aside = restore_backup(there, archive, force=True)
        with reading(engine) as connection:
            assert connection.execute(select(t.cursor.c.name)).scalars().all() == ["dagster_event_log"]
            assert connection.execute(select(t.alert.c.episode)).scalar_one() == 2
        assert aside is not None
        assert '"old"' in (aside / "ops" / "cursor.jsonl").read_text()
        assert not there.home.ops_sqlite.exists()
        back = tmp_path / "back.tar.gz"
        make_backup(settings_in(there.home.root, ops_url=str(there.operational_url)), CLOCK, back)
    finally:
        engine.dispose()
        postgres_server.drop("restored")
    here = settings_in(tmp_path / "sqlite")
    restore_backup(here, back)
    engine = open_ops(here)
    with reading(engine) as connection:
        assert connection.execute(select(t.alert.c.episode)).scalar_one() == 2
    engine.dispose()
    assert os.path.getsize(here.home.ops_sqlite) > 0
