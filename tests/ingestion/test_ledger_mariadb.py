"""What MySQL and MariaDB have of their own; what every ledger must do is tested on the others too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
import sqlalchemy as sa

from ingestion import ledger_ranges, quarantine
from ingestion.ledger import LedgerReader
from ingestion.load import load_source
from ingestion.stream import Stream
from ingestion.tables import LEDGER
from lendloop.clock import Clock
from lendloop.settings import Settings
from tests.ingestion.conftest import Warehouse, taken_whole
from tests.mariadb import mariadb_over_tcp

MakeSettings = Callable[..., Settings]

CLIENTS = (
    "CREATE TABLE m_client (id bigint NOT NULL PRIMARY KEY, firstname varchar(50), date_of_birth date, status_enum tinyint, "
    "reference bigint unsigned, note longtext, photo blob, seen_at timestamp(6) NULL, last_modified_on_utc datetime(6)) "
    "CHARACTER SET utf8mb4"
)
LOANS = (
    "CREATE TABLE m_loan (id bigint unsigned PRIMARY KEY, is_npa tinyint(1), is_topup bit(1), "
    "principal_amount decimal(19,6), disbursedon_date date, `order by` int, last_modified_on_utc timestamp(6) NULL)"
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with mariadb_over_tcp() as url:
        yield url


@pytest.fixture
def ledger(server: str) -> Iterator[Callable[..., None]]:
    """Runs SQL on the server, in an empty database `ledger`, in a session far from UTC."""
    engine = sa.create_engine(server)

    def run(*statements: str) -> None:
        with engine.begin() as connection:
            for statement in ("SET sql_mode = '', time_zone = '+03:00'", *statements):
                connection.exec_driver_sql(statement)

    run("DROP DATABASE ledger", "CREATE DATABASE ledger", "USE ledger", CLIENTS, LOANS)
    engine.dispose()
    yield run
    engine.dispose()


def test_values_arrive_exactly_with_times_in_utc(
    server: str, ledger: Callable[..., None], make_settings: MakeSettings, clock: Clock, warehouse: Warehouse
) -> None:
    ledger(
        "INSERT INTO m_client VALUES (1, 'Zoë 🎉 100%%', '1990-01-02', 3, 18446744073709551615, 'n', x'ff00', "
        "'2024-01-01 13:00:00.5', '2024-01-01 10:00:00.123456'), (2, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        "INSERT INTO m_loan VALUES (1, 1, b'1', 9999999999999.999999, '2024-01-31', 5, '2024-01-02 13:00:00'), "
        "(2, 0, b'0', -0.000001, NULL, NULL, NULL)",
    )
    settings = make_settings(ledger_url=server)
    report = load_source("ledger", settings, clock)
    assert (report.new, report.quarantined) == (4, 0)
    assert warehouse.rows(
        "SELECT firstname, date_of_birth, status_enum, reference, note, photo, seen_at, last_modified_on_utc "
        "FROM raw_ledger.m_client ORDER BY id"
    ) == [
        (
            "Zoë 🎉 100%",
            date(1990, 1, 2),
            3,
            "18446744073709551615",
            "n",
            "FF00",
            "2024-01-01 10:00:00.500000",
            datetime(2024, 1, 1, 10, 0, 0, 123456, UTC),
        ),
        ("", *[None] * 7),
    ]
    assert warehouse.rows(
        "SELECT is_npa, is_topup, principal_amount, order_by, last_modified_on_utc FROM raw_ledger.m_loan ORDER BY id"
    ) == [
        (True, 1, Decimal("9999999999999.999999"), 5, datetime(2024, 1, 2, 10, tzinfo=UTC)),
        (False, 0, Decimal("-0.000001"), None, None),
    ]
    assert not load_source("ledger", settings, clock).changed


def test_dates_that_are_none_go_to_quarantine_and_the_load_goes_on(
    server: str, ledger: Callable[..., None], make_settings: MakeSettings, clock: Clock, warehouse: Warehouse
) -> None:
    ledger(
        "INSERT INTO m_loan (id, disbursedon_date) VALUES (1, '0000-00-00'), (2, '2024-00-00'), (3, '2024-01-01')",
        "INSERT INTO m_client (id, last_modified_on_utc) VALUES (1, '0000-00-00 00:00:00')",
    )
    settings = make_settings(ledger_url=server)
    assert load_source("ledger", settings, clock).quarantined == 3
    assert set(quarantine.waiting(settings.home, "ledger", "m_loan").column("key").to_pylist()) == {"1", "2"}
    assert warehouse.rows("SELECT id FROM raw_ledger.m_loan") == [(3,)]
    assert not load_source("ledger", settings, clock).changed


def test_changes_deletions_and_late_rows_arrive_also_from_another_database_of_the_server(
    server: str, ledger: Callable[..., None], make_settings: MakeSettings, clock: Clock, warehouse: Warehouse
) -> None:
    ledger(
        "INSERT INTO m_client (id, last_modified_on_utc) VALUES (1, '2024-01-01'), (2, '2024-02-01'), (3, '2024-02-02')",
        "INSERT INTO m_loan (id, last_modified_on_utc) VALUES (1, '2024-02-01 13:00:00'), (2, '2024-02-01 10:00:00')",
    )
    settings = make_settings(ledger_url=server.replace("/ledger", "/mysql"), ledger_schema="ledger")
    assert load_source("ledger", settings, clock).new == 5
    ledger(
        "UPDATE m_loan SET is_npa = 1, last_modified_on_utc = '2024-02-01 13:00:01' WHERE id = 1",
        "DELETE FROM m_client WHERE id = 1",
        "INSERT INTO m_client (id, last_modified_on_utc) VALUES (9, '2020-01-01')",
    )
    report = load_source("ledger", settings, clock)
    assert (report.new, report.rows_changed, report.deleted) == (1, 1, 1)
    assert warehouse.rows("SELECT id FROM raw_ledger.m_client WHERE _deleted_at IS NULL ORDER BY 1") == [
        (2,),
        (3,),
        (9,),
    ]
    assert not load_source("ledger", settings, clock).changed


def test_a_row_that_changes_while_its_table_is_read_in_ranges_comes_with_the_next_load(
    server: str, ledger: Callable[..., None], make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_ranges, "RANGE_ROWS", 100)
    ledger(
        "INSERT INTO m_client (id, firstname, last_modified_on_utc) SELECT seq * 10, 'as it was', "
        "if(seq %% 3, '2024-01-01 10:00:00.5', NULL) FROM seq_1_to_1000"
    )
    client = next(table for table in LEDGER if table.name == "m_client")
    batches = []
    with LedgerReader.open(make_settings(ledger_url=server)) as reader:
        for stream, _ in reader.read(client, None):
            assert isinstance(stream, Stream)
            taken = stream.open()
            assert taken is not None
            batches.append(taken.read_next_batch())
            ledger(
                "UPDATE m_client SET firstname = 'later', last_modified_on_utc = '2024-01-01 10:00:01' WHERE id > 9000",
                "INSERT INTO m_client (id, last_modified_on_utc) VALUES (5, '2024-01-01 10:00:02')",
            )
            batches += list(taken)
        rows = pa.Table.from_batches(batches).select(["id", "firstname"]).to_pydict()
        assert rows["id"] == [n * 10 for n in range(1, 901)]
        assert set(rows["firstname"]) == {"as it was"}
        assert max(batch.num_rows for batch in batches) <= 100
        latest = datetime(2024, 1, 1, 10, 0, 0, 500_000, UTC)
        found = pa.concat_tables(taken_whole(stream) for stream, _ in reader.read(client, latest))
    assert {5, *range(9010, 10_001, 10)} <= set(found["id"].to_pylist())


def test_a_row_that_changes_while_keys_are_listed_is_not_taken_for_gone(
    server: str, ledger: Callable[..., None], make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_ranges, "RANGE_ROWS", 100)
    ledger("INSERT INTO m_client (id, last_modified_on_utc) SELECT seq, '2024-01-01 10:00:00' FROM seq_1_to_1000")
    client = next(table for table in LEDGER if table.name == "m_client")
    found: list[int] = []
    with LedgerReader.open(make_settings(ledger_url=server)) as reader:
        for stream in reader.keys(client):
            assert isinstance(stream, Stream)
            taken = stream.open()
            assert taken is not None
            found += taken.read_next_batch().column("id").to_pylist()
            ledger("UPDATE m_client SET last_modified_on_utc = '2024-01-01 10:00:01' WHERE id > 900")
            found += [key for batch in taken for key in batch.column("id").to_pylist()]
    assert found == list(range(1, 1001))
