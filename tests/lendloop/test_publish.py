from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from lendloop.doctor.files import check_published
from lendloop.home import Home
from lendloop.publish import (
    Catalog,
    GroupState,
    PublishableTable,
    collect_retired,
    publish,
    read_catalog,
    write_catalog,
)
from lendloop.settings import load_settings
from lendloop.zones import follow_home

AS_OF = datetime(2026, 6, 30, 18, tzinfo=UTC)
LOAN = PublishableTable(schema_name="trusted", name="fct_loan", group="portfolio", description="Loans, it's all")
TRANSACTION = PublishableTable(
    schema_name="trusted", name="fct_transaction", group="portfolio", partition_column="paid_on"
)
TICKET = PublishableTable(schema_name="trusted", name="fct_ticket", group="support")
CONTACT = PublishableTable(schema_name="contacts", name="customer_contact", group="portfolio", contact_data=True)
TABLES = [LOAN, TRANSACTION, TICKET, CONTACT]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").prepare()


@pytest.fixture
def warehouse() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("create schema trusted; create schema contacts")
    connection.execute(
        "create table trusted.fct_loan as select i as loan_id, 100.5::decimal(19,6) as amount from range(10) t(i)"
    )
    connection.execute(
        "create table trusted.fct_transaction as"
        " select i as id, date '2026-01-15' + (i % 3) * interval 31 day as paid_on from range(30) t(i)"
    )
    connection.execute("alter table trusted.fct_transaction alter paid_on type date")
    connection.execute("create table trusted.fct_ticket as select 1 as ticket_id")
    connection.execute(
        "create table contacts.customer_contact as select 'p1' as person_key, '+2348031234567' as address"
    )
    return connection


def publish_all(warehouse: duckdb.DuckDBPyConnection, home: Home, **states: str) -> tuple[Catalog, dict[str, int]]:
    groups = {
        name: GroupState(state=states.get(name, "fresh"), reason="a test failed" if name in states else None)
        for name in ("portfolio", "support")
    }
    return publish(warehouse, home, TABLES, groups, inputs="x", as_of=AS_OF, checks={}, grace_s=0)


def read(home: Home, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(home.published), read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_what_is_published_can_be_read_by_name(warehouse: duckdb.DuckDBPyConnection, home: Home) -> None:
    publish_all(warehouse, home)
    assert read(home, "select count(*), sum(amount) from trusted.fct_loan") == [(10, 1005)]
    assert read(home, "select typeof(amount) from trusted.fct_loan limit 1") == [("DECIMAL(19,6)",)]
    assert read(home, "select version from publication.version") == [(1,)]


def test_contact_data_is_published_apart_and_private(warehouse: duckdb.DuckDBPyConnection, home: Home) -> None:
    publish_all(warehouse, home)
    assert home.contacts.stat().st_mode & 0o777 == 0o600
    files = [path for path in home.contacts_files.rglob("*") if path.is_file()]
    assert files
    assert all(path.stat().st_mode & 0o077 == 0 for path in [home.contacts_files, *files])
    assert read(home, "select count(*) from duckdb_views() where view_name = 'customer_contact'") == [(0,)]
    assert not any("customer_contact" in str(path) for path in home.published_files.rglob("*"))


def test_a_second_publication_without_change_writes_nothing(warehouse: duckdb.DuckDBPyConnection, home: Home) -> None:
    first, _ = publish_all(warehouse, home)
    before = home.published.stat().st_ino
    second, written = publish_all(warehouse, home)
    assert written == {}
    assert second.version == first.version == 1
    assert home.published.stat().st_ino == before


def test_only_the_month_that_changed_is_written_again(warehouse: duckdb.DuckDBPyConnection, home: Home) -> None:
    publish_all(warehouse, home)
    warehouse.execute("insert into trusted.fct_transaction values (99, date '2026-02-20')")
    catalog, written = publish_all(warehouse, home)
    assert written == {"trusted.fct_transaction": 1}
    assert (catalog.files_written, catalog.publish_s > 0) == (1, True)
    assert len(catalog.tables["trusted.fct_transaction"].files) == 3
    assert read(home, "select count(*) from trusted.fct_transaction") == [(31,)]


def test_the_same_rows_in_another_order_are_the_same_table(warehouse: duckdb.DuckDBPyConnection, home: Home) -> None:
    publish_all(warehouse, home)
    warehouse.execute("create or replace table trusted.fct_loan as from trusted.fct_loan order by loan_id desc")
    assert publish_all(warehouse, home)[1] == {}


def test_a_table_doubled_row_by_row_is_another_table(warehouse: duckdb.DuckDBPyConnection, home: Home) -> None:
    publish_all(warehouse, home)
    warehouse.execute("insert into trusted.fct_loan from trusted.fct_loan")
    assert publish_all(warehouse, home)[1] == {"trusted.fct_loan": 1}


def test_a_group_that_failed_its_audit_keeps_yesterday_while_the_others_go_on(
    warehouse: duckdb.DuckDBPyConnection, home: Home
) -> None:
    publish_all(warehouse, home)
    warehouse.execute("delete from trusted.fct_ticket")
    warehouse.execute("insert into trusted.fct_loan values (10, 1)")
    catalog, _ = publish_all(warehouse, home, support="stale")
    assert read(home, "select count(*) from trusted.fct_ticket") == [(1,)]
    assert read(home, "select count(*) from trusted.fct_loan") == [(11,)]
    assert read(home, "select state, version, reason from publication.consistency_group where name = 'support'") == [
        ("stale", 1, "a test failed")
    ]
    assert catalog.groups["portfolio"].version == 2
    publish_all(warehouse, home)
    assert read(home, "select count(*) from trusted.fct_ticket") == [(0,)]
    assert read(home, "select state from publication.consistency_group where name = 'support'") == [("fresh",)]


def test_a_group_that_failed_its_audit_may_be_declared_with_a_column_it_does_not_have_yet(
    warehouse: duckdb.DuckDBPyConnection, home: Home
) -> None:
    publish_all(warehouse, home)
    declared = TICKET.model_copy(update={"columns": {"ticket_id": "Its number", "channel": "How it came"}})
    publish(warehouse, home, [declared], {"support": GroupState(state="stale")}, inputs="", as_of=AS_OF, checks={})
    assert read(home, "select column_name, comment from duckdb_columns() where table_name = 'fct_ticket'") == [
        ("ticket_id", "Its number")
    ]


def test_an_empty_table_is_published_with_its_columns(warehouse: duckdb.DuckDBPyConnection, home: Home) -> None:
    warehouse.execute("delete from trusted.fct_transaction")
    publish_all(warehouse, home)
    assert read(home, "select id, paid_on from trusted.fct_transaction") == []


def test_files_nobody_needs_go_after_the_grace_period(warehouse: duckdb.DuckDBPyConnection, home: Home) -> None:
    publish_all(warehouse, home)
    old = read_catalog(home).tables["trusted.fct_loan"].files[0]
    stray = home.published_files / "trusted" / "fct_loan" / "all-0000.parquet.99.tmp"
    stray.write_text("cut off")
    os.utime(stray, (0, 0))
    warehouse.execute("insert into trusted.fct_loan values (10, 1)")
    publish_all(warehouse, home)
    publish_all(warehouse, home)
    assert not (home.published_files / old).exists()
    assert not stray.exists()


READER = """
import sys, duckdb
path, seen = sys.argv[1], set()
print("reading", flush=True)
while not sys.stdin.readable() or len(seen) < 10_000:
    with duckdb.connect(path, read_only=True) as connection:
        version, loans, transactions = connection.execute(
            "select (select version from publication.version), (select count(*) from trusted.fct_loan),"
            " (select count(*) from trusted.fct_transaction)"
        ).fetchone()
    if loans - 10 != transactions - 30:
        print(f"half a build: {loans} loans, {transactions} transactions", flush=True)
        sys.exit(1)
    seen.add(version)
    if version >= 20:
        print(f"saw {len(seen)} versions", flush=True)
        sys.exit(0)
"""


def test_a_home_that_was_moved_or_copied_reads_its_own_files(
    parsed_environment: pytest.MonkeyPatch, warehouse: duckdb.DuckDBPyConnection, home: Home
) -> None:
    publish_all(warehouse, home)
    warehouse.execute("insert into trusted.fct_loan values (10, 1)")
    publish(warehouse, home, TABLES, {"portfolio": GroupState(state="fresh"), "support": GroupState(state="fresh")},
            inputs="x", as_of=AS_OF, checks={})  # fmt: skip
    copied, moved = (Home(home.root.with_name(name)) for name in ("copied", "moved"))
    shutil.copytree(home.root, copied.root)
    follow_home(load_settings(LENDLOOP_HOME=copied.root))
    home.root.rename(moved.root)
    with pytest.raises(duckdb.IOException):
        read(moved, "from trusted.fct_loan")
    [found] = check_published(load_settings(LENDLOOP_HOME=moved.root))
    assert (found.state, str(home.root) in found.found) == ("warning", True)
    follow_home(load_settings(LENDLOOP_HOME=moved.root))
    for there in (copied, moved):
        assert read(there, "select count(*) from trusted.fct_loan") == [(11,)]
        with duckdb.connect(str(there.contacts), read_only=True) as connection:
            assert connection.execute("from contacts.contacts.customer_contact").fetchall() == [
                ("p1", "+2348031234567")
            ]
        [found] = check_published(load_settings(LENDLOOP_HOME=there.root))
        assert found.state == "ok"
    retired = [path for path in read_catalog(moved).retired if (moved.root / path).exists()]
    assert len(retired) == 1
    catalog = read_catalog(moved)
    of_an_earlier_version = {f"{home.root}/{path}": since for path, since in catalog.retired.items()}
    write_catalog(moved, catalog.model_copy(update={"retired": of_an_earlier_version}))
    assert read_catalog(moved).retired == catalog.retired
    collect_retired(moved, grace_s=0)
    assert [path for path in retired if (moved.root / path).exists()] == []
    before = moved.published.stat().st_ino
    follow_home(load_settings(LENDLOOP_HOME=moved.root))
    assert moved.published.stat().st_ino == before


def test_views_wait_for_a_build_where_a_file_is_missing(home: Home, warehouse: duckdb.DuckDBPyConnection) -> None:
    catalog, _ = publish_all(warehouse, home)
    write_catalog(home, catalog.model_copy(update={"root": "/elsewhere"}))
    before = home.published.stat().st_ino
    (home.published_files / catalog.tables["trusted.fct_ticket"].files[0]).unlink()
    follow_home(load_settings(LENDLOOP_HOME=home.root))
    assert home.published.stat().st_ino == before
    publish_all(warehouse, home)
    assert read(home, "select count(*) from trusted.fct_ticket") == [(1,)]


def test_a_reader_in_another_process_is_never_locked_out_and_never_sees_half_a_build(
    warehouse: duckdb.DuckDBPyConnection, home: Home
) -> None:
    publish(warehouse, home, TABLES, _fresh(), inputs="x", as_of=AS_OF, checks={})
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(home.published)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "reading\n"
    for number in range(1, 20):
        warehouse.execute("insert into trusted.fct_loan values (?, 1)", [100 + number])
        warehouse.execute("insert into trusted.fct_transaction values (?, date '2026-01-15')", [100 + number])
        publish(warehouse, home, TABLES, _fresh(), inputs="x", as_of=AS_OF, checks={})
    output, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0, output


def _fresh() -> dict[str, GroupState]:
    return {"portfolio": GroupState(state="fresh"), "support": GroupState(state="fresh")}
