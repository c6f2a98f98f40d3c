"""From the source to raw: what agrees, what has a reason, and every row that was lost, doubled or altered by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa

from governance.reconcile import Comparison, RowDifference
from ingestion import quarantine
from ingestion.load import load_source, replay_quarantine
from ingestion.reconcile import GROUPS, reconcile_ledger, reconcile_loads
from ingestion.state import SourceMemory
from ingestion.tables import TABLES
from lendloop.clock import Clock
from lendloop.errors import TransientError
from lendloop.settings import Settings
from tests.ingestion.conftest import Ledger, Warehouse
from tests.mariadb import mariadb_over_tcp

MakeSettings = Callable[..., Settings]
LOANS = "raw_ledger.m_loan_transaction"
DAY, NEXT = date(2024, 1, 31), date(2024, 2, 1)
LATER = "2024-02-20 10:00:00"
COLUMNS = "id bigint, transaction_date date, amount decimal(19,6), last_modified_on_utc {time}"


@dataclass
class Books:
    """A ledger of one database with ten transactions, five a day, edited by SQL; `warehouse` edits raw."""

    url: str
    settings: Settings
    clock: Clock

    def begin(self, time: str) -> None:
        """`time` is the database's type of an instant."""
        self.run(f"CREATE TABLE m_loan_transaction ({COLUMNS.format(time=time)})")
        for number in range(1, 11):
            day = DAY if number % 2 else NEXT
            self.run(f"INSERT INTO m_loan_transaction VALUES ({number}, '{day}', {number}.1, '2024-02-02 10:00:00')")
        self.load()

    def run(self, statement: str) -> None:
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def warehouse(self, statement: str) -> None:
        with duckdb.connect(str(self.settings.home.warehouse)) as connection:
            connection.execute(statement)

    def load(self) -> None:
        load_source("ledger", self.settings, self.clock)

    def compare(self, *, whole: bool = True, on: date | None = None, clock: Clock | None = None) -> Comparison:
        found = reconcile_ledger(self.settings, clock or self.clock, whole=whole, on=on)
        [mine] = [one for one in found if one.right == LOANS]
        return mine


def differences(comparison: Comparison) -> set[RowDifference]:
    return {row for day in comparison.unexplained for row in day.differences}


@pytest.fixture(scope="module")
def mariadb() -> Iterator[str]:
    with mariadb_over_tcp() as url:
        yield url


@pytest.fixture
def in_sqlite(ledger: Ledger, make_settings: MakeSettings, clock: Clock) -> Books:
    """A ledger in SQLite, loaded."""
    books = Books(ledger.url, make_settings(ledger_url=ledger.url), clock)
    books.begin("text")
    return books


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def books(request: pytest.FixtureRequest, make_settings: MakeSettings, clock: Clock) -> Iterator[Books]:
    """Each kind of ledger, loaded."""
    if request.param == "sqlite":
        yield request.getfixturevalue("in_sqlite")
        return
    server = request.getfixturevalue(request.param)
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE books")
    url = server.rsplit("/", 1)[0] + "/books"
    books = Books(url, make_settings(ledger_url=url), clock)
    try:
        for name in ("m_client", "m_loan"):
            books.run(f"CREATE TABLE {name} (id bigint primary key)")
        books.begin("timestamp")
        yield books
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql("DROP DATABASE books" + (" WITH (FORCE)" if request.param == "postgres" else ""))
        admin.dispose()


def test_a_load_agrees_with_its_source(books: Books) -> None:
    comparison = books.compare()
    assert [(day.day, day.state, day.left.rows) for day in comparison.days] == [(DAY, "agreed", 5), (NEXT, "agreed", 5)]
    assert comparison.days[0].left.sums == comparison.days[0].right.sums


def test_a_row_lost_doubled_or_altered_on_the_way_is_named(books: Books) -> None:
    for change, difference in (
        ("DELETE FROM {t} WHERE id = 3", RowDifference("3", "lost")),
        ("INSERT INTO {t} SELECT * FROM {t} WHERE id = 4", RowDifference("4", "doubled")),
        ("UPDATE {t} SET amount = 0 WHERE id = 5", RowDifference("5", "altered", ("amount",))),
        ("INSERT INTO {t} SELECT * REPLACE (77 AS id) FROM {t} WHERE id = 6", RowDifference("77", "added")),
    ):
        books.warehouse(f"CREATE OR REPLACE TABLE before AS FROM {LOANS}")
        books.warehouse(change.format(t=LOANS))
        comparison = books.compare()
        assert differences(comparison) == {difference}
        assert f"{difference.kind} {difference.key}" in comparison.faults()[0]
        books.warehouse(f"DELETE FROM {LOANS}; INSERT INTO {LOANS} FROM before")
    assert books.compare().unexplained == []


def test_what_the_source_changed_since_it_was_read_is_explained(books: Books) -> None:
    books.run(f"UPDATE m_loan_transaction SET amount = 500, last_modified_on_utc = '{LATER}' WHERE id = 1")
    books.run(f"INSERT INTO m_loan_transaction VALUES (11, '{DAY}', 1, '{LATER}')")
    comparison = books.compare()
    assert comparison.unexplained == []
    assert comparison.days[0].explained == {"changed_since_read": 2}
    books.load()
    assert [day.state for day in books.compare().days] == ["agreed", "agreed"]


def test_a_row_in_quarantine_is_explained(in_sqlite: Books) -> None:
    books = in_sqlite
    books.run(f"INSERT INTO m_loan_transaction VALUES (12, '{DAY}', 'much', '{LATER}')")
    books.run(f"INSERT INTO m_loan_transaction VALUES (13, 'someday', 1, '{LATER}')")
    books.load()
    comparison = books.compare()
    assert comparison.unexplained == []
    assert {day.day: day.explained for day in comparison.days if day.explained} == {
        DAY: {"quarantined": 1},
        None: {"quarantined": 1},
    }


def test_a_row_that_was_mended_in_quarantine_is_explained(in_sqlite: Books) -> None:
    books = in_sqlite
    books.run(f"INSERT INTO m_loan_transaction VALUES (12, '{DAY}', 'much', '{LATER}')")
    books.load()
    [file] = quarantine.folder(books.settings.home, "ledger", "m_loan_transaction").glob("*.parquet")
    mended = file.with_suffix(".mended")
    books.warehouse(
        f"COPY (SELECT * REPLACE (replace(raw_text, 'much', '5') AS raw_text) FROM read_parquet('{file}'))"
        f" TO '{mended}' (FORMAT parquet)"
    )
    mended.replace(file)
    replay_quarantine("ledger", books.settings, books.clock)
    assert [day.explained for day in books.compare().days] == [{"mended": 1}, {}]


def test_a_ledger_that_was_never_loaded_is_not_compared(
    ledger: Ledger, make_settings: MakeSettings, clock: Clock
) -> None:
    settings = make_settings(ledger_url=ledger.url)
    assert {one.not_compared for one in reconcile_ledger(settings, clock, whole=False)} == {"nothing was loaded yet"}
    assert SourceMemory.read(settings.home, "ledger").reconciled_on is None, "all days are still to be compared"


def test_where_the_warehouse_is_gone_every_row_is_lost(in_sqlite: Books) -> None:
    in_sqlite.settings.home.warehouse.unlink()
    assert [day.unexplained for day in in_sqlite.compare().days] == [5, 5]


def test_rows_are_searched_on_as_many_days_as_may_be_held_at_once(
    in_sqlite: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = in_sqlite
    monkeypatch.setattr("governance.reconcile.SEARCHED_ROWS", 5)
    books.warehouse(f"UPDATE {LOANS} SET amount = 0")
    first, second = books.compare().days
    assert (first.unexplained, first.differences) == (1, []), "one at least"
    assert (second.unexplained, len(second.differences)) == (5, 5)


def test_within_a_pass_only_days_that_changed_or_differed_are_asked_for(in_sqlite: Books, clock: Clock) -> None:
    books = in_sqlite
    assert len(books.compare(whole=False).days) == 2, "the first of a business date looks at all"
    books.run(f"UPDATE m_loan_transaction SET amount = 7, last_modified_on_utc = '{LATER}' WHERE id = 1")
    books.load()
    assert [day.day for day in books.compare(whole=False).days] == [DAY]

    books.warehouse(f"UPDATE {LOANS} SET amount = 0 WHERE id = 2")
    assert [day.day for day in books.compare(on=NEXT).unexplained] == [NEXT]
    assert books.compare(whole=False).unexplained == [], "nothing was loaded there"
    tomorrow = Clock(clock.as_of + timedelta(days=1))
    assert [day.day for day in books.compare(whole=False, clock=tomorrow).unexplained] == [NEXT]
    again = books.compare(whole=False, clock=tomorrow)
    assert [day.day for day in again.unexplained] == [NEXT], "a day stays in question until it agrees"


def test_every_source_has_a_group_for_which_its_differences_count() -> None:
    assert set(GROUPS) == set(TABLES)


def test_a_ledger_that_does_not_answer_is_an_error(make_settings: MakeSettings, clock: Clock) -> None:
    settings = make_settings(ledger_url="postgresql://nobody:nothing@127.0.0.1:1/none")
    with pytest.raises(TransientError):
        reconcile_ledger(settings, clock, whole=True)


def test_of_a_source_over_http_raw_is_compared_with_what_its_loads_counted(
    ledger: Ledger, make_settings: MakeSettings, clock: Clock, warehouse: Warehouse
) -> None:
    settings: Any = make_settings(ledger_url=ledger.url)
    ledger.add_client(1)
    ledger.add_loan(1)
    load_source("ledger", settings, clock)
    by_table = {one.right: one for one in reconcile_loads(settings, ["ledger"])}
    assert by_table["raw_ledger.m_loan"].faults() == []
    warehouse.rows("DELETE FROM raw_ledger.m_loan")
    by_table = {one.right: one for one in reconcile_loads(settings, ["ledger"])}
    assert by_table["raw_ledger.m_loan"].unexplained[0].unexplained == 1
