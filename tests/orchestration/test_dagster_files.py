from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.event_log.sqlite import sqlite_event_log

from orchestration.dagster_files import KEPT_OPEN, kept_open


def write(path: Path) -> tuple[int, int]:
    """One row as Dagster writes it, by a connection that is closed again: how it syncs, and the rows there are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("create table if not exists event (id integer)"))
        connection.execute(sa.text("insert into event values (1)"))
        synchronous = connection.execute(sa.text("pragma synchronous")).scalar_one()
        rows = connection.execute(sa.text("select count(*) from event")).scalar_one()
    with engine.connect() as connection:
        connection.execute(sa.text("pragma journal_mode = wal"))
    return synchronous, rows


def logs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*-wal"))


def open_files(folder: Path) -> set[str]:
    return {target for fd in os.listdir("/proc/self/fd") if (target := _target(fd)).startswith(str(folder))}


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with kept_open(tmp_path / "dagster"):
        yield tmp_path / "dagster"


def test_a_log_is_not_written_back_at_every_close_and_is_when_the_block_ends(tmp_path: Path) -> None:
    folder = tmp_path / "dagster"
    with kept_open(folder):
        assert [write(folder / "index.db") for _ in range(3)] == [(1, 1), (1, 2), (1, 3)]
        assert logs(folder) == ["index.db-wal"]
    assert logs(folder) == []
    assert write(folder / "index.db") == (2, 4)
    assert open_files(folder) == set()


def test_files_elsewhere_keep_their_care(folder: Path, tmp_path: Path) -> None:
    assert [write(tmp_path / "ops.sqlite") for _ in range(2)] == [(2, 1), (2, 2)]
    assert logs(tmp_path) == []


def test_of_many_runs_only_the_last_files_stay_open(folder: Path) -> None:
    for number in range(3 * KEPT_OPEN):
        write(folder / f"run_{number}.db")
        write(folder / "index.db")
    databases = {path for path in open_files(folder) if path.endswith(".db")}
    assert len(databases) == KEPT_OPEN
    assert str(folder / "index.db") in databases


def test_dagsters_log_of_events_has_one_engine_a_file_that_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    opened: list[object] = []

    def counted(url: str, **options: Any) -> sa.Engine:
        made.append(url)
        engine = sa.create_engine(url, **options)
        sa.event.listen(engine, "connect", lambda connection, _: opened.append(connection))
        return engine

    key = dg.AssetKey("one")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        monkeypatch.setattr(sqlite_event_log, "create_engine", counted)
        with kept_open(tmp_path):
            instance.report_runless_asset_event(dg.AssetMaterialization(key))
            known = len(opened)
            for _ in range(3):
                instance.report_runless_asset_event(dg.AssetMaterialization(key))
            assert instance.get_latest_materialization_event(key) is not None
            assert made
            assert len(made) == len(set(made))
            assert len(opened) == known, "what is open serves the next event too"
        assert sqlite_event_log.create_engine is counted
