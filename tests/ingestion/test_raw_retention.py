"""Forgetting what a source deleted long ago, and refused rows; never what still forbids to write to somebody."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ingestion.load import prepare_raw
from ingestion.retention import forgettable_tables, prune_quarantine, prune_raw
from lendloop.clock import Clock
from lendloop.home import DBT_PROJECT
from lendloop.settings import Settings
from tests.ingestion.conftest import Warehouse

STAGING = DBT_PROJECT / "models" / "gray" / "staging"
READ_WHEN_LOADED = {"int_loan_version"}
"""Models that ask a deleted row only when it was loaded, to find what changed since: long ago for what is pruned."""


@pytest.mark.parametrize("table", forgettable_tables(), ids=lambda table: table.name)
def test_no_model_reads_the_deleted_rows_of_a_table_that_is_pruned(table: object) -> None:
    source, name = table.source, table.name  # type: ignore[attr-defined]
    call = f"source('raw_{source}', '{name}')"
    models = [
        path
        for path in (DBT_PROJECT / "models").rglob("*.sql")
        if call in path.read_text() and path.stem not in READ_WHEN_LOADED
    ]
    assert [path.parent for path in models] == [STAGING / source]
    assert "where _deleted_at is null" in " ".join(models[0].read_text().split())


def test_rows_deleted_long_ago_go_and_those_of_people_stay(
    make_settings: Callable[..., Settings], warehouse: Warehouse, clock: Clock
) -> None:
    settings = make_settings(keep_deleted_days=30)
    prepare_raw(settings)
    long_ago, lately = clock.as_of - timedelta(days=31), clock.as_of - timedelta(days=29)
    for number, deleted in ((1, long_ago), (2, lately), (3, None)):
        for name in ("raw_ledger.m_loan", "raw_ledger.m_client"):
            moment = f"timestamptz '{deleted.isoformat()}'" if deleted else "null"
            warehouse.rows(f"insert into {name} (id, _deleted_at) values ({number}, {moment})")
        for name in ("raw_crm.contacts", "raw_support.users"):
            warehouse.rows(f"insert into {name} (id, _deleted_at) values ({number}, {moment})")

    assert [part.removed for part in prune_raw(settings, clock, dry_run=True)] == [1]
    assert [part.removed for part in prune_raw(settings, clock, dry_run=False)] == [1]

    assert warehouse.rows("select id from raw_ledger.m_loan order by id") == [(2,), (3,)]
    for name in ("raw_ledger.m_client", "raw_crm.contacts", "raw_support.users"):
        assert warehouse.one(f"select count(*) from {name}") == 3
    assert [part.removed for part in prune_raw(make_settings(keep_deleted_days=0), clock, dry_run=False)] == [0]


def test_refused_rows_go_after_their_time_but_not_the_note_of_what_was_replayed(
    make_settings: Callable[..., Settings],
) -> None:
    settings, wall = make_settings(keep_quarantine_days=30), datetime.now(UTC)
    folder = settings.home.prepare().quarantine / "ledger" / "m_loan"
    files = {
        folder / "old.parquet": 31,
        folder / "new.parquet": 29,
        folder / "replayed" / "old.parquet": 31,
    }
    for path, days in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"rows")
        moment = (wall - timedelta(days=days)).timestamp()
        os.utime(path, (moment, moment))
    assert prune_quarantine(settings, wall, dry_run=False).removed == 1
    assert sorted(path for path in files if path.exists()) == [
        folder / "new.parquet",
        folder / "replayed" / "old.parquet",
    ]
