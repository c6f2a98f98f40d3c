from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from ingestion import ledger_ranges, quarantine
from ingestion.ledger import LedgerReader, bulk_url
from ingestion.load import load_source
from ingestion.stream import Stream
from ingestion.tables import LEDGER
from lendloop.clock import Clock, parse_clock
from lendloop.errors import TransientError
from lendloop.settings import Settings
from tests.ingestion.bank import BANK_FOLDER, create_bank, fill_from_files, fill_made_up
from tests.ingestion.conftest import Warehouse, taken_whole

MakeSettings = Callable[..., Settings]
YEAR_END = parse_clock("1998-12-31")
SOON_S = 20
CLIENT = next(table for table in LEDGER if table.name == "m_client")


@pytest.fixture
def bank(postgres: str) -> Iterator[str]:
    """An empty bank, in a database of its own."""
    admin = sa.create_engine(postgres, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS bank")
        connection.exec_driver_sql("CREATE DATABASE bank")
    url = postgres.rsplit("/", 1)[0] + "/bank"
    create_bank(url)
    yield url
    with admin.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE bank WITH (FORCE)")
    admin.dispose()


def run(url: str, statement: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_rows_in_the_banks_shape_arrive_exactly(bank: str, make_settings: MakeSettings, warehouse: Warehouse) -> None:
    fill_made_up(bank, 300)
    settings = make_settings(ledger_url=bank)
    report = load_source("ledger", settings, YEAR_END)
    assert report.new == 300 * 5 + 2
    assert report.quarantined == 0
    assert any("installment_amount" in note for note in report.notes)
    engine = sa.create_engine(bank)
    with engine.connect() as connection:
        expected = connection.exec_driver_sql(
            "SELECT id, amount, transaction_date, created_on_utc FROM m_savings_account_transaction ORDER BY id"
        ).all()
    engine.dispose()
    assert warehouse.rows(
        "SELECT id, amount, transaction_date, created_on_utc::TIMESTAMP FROM raw_ledger.m_savings_account_transaction "
        "ORDER BY id"
    ) == [tuple(row) for row in expected]
    assert warehouse.one("SELECT typeof(installment_amount) FROM raw_ledger.m_loan LIMIT 1") == "DECIMAL(19,6)"
    assert not load_source("ledger", settings, YEAR_END).changed


def test_changes_deletions_and_late_rows_arrive(bank: str, make_settings: MakeSettings, warehouse: Warehouse) -> None:
    fill_made_up(bank, 50)
    settings = make_settings(ledger_url=bank)
    load_source("ledger", settings, YEAR_END)
    run(bank, "UPDATE m_loan SET is_npa = true, last_modified_on_utc = '1998-12-30 10:00:00' WHERE id = 7")
    run(bank, "DELETE FROM m_client WHERE id = 3")
    run(bank, "INSERT INTO m_client (id, last_modified_on_utc) VALUES (900, '1990-01-01')")
    report = load_source("ledger", settings, YEAR_END)
    assert (report.new, report.rows_changed, report.deleted) == (1, 1, 1)
    assert warehouse.rows("SELECT id FROM raw_ledger.m_loan WHERE is_npa") == [(7,)]
    assert not load_source("ledger", settings, YEAR_END).changed


def test_types_that_have_no_exact_arrow_form_are_read_as_text_and_judged_by_the_contract(
    bank: str, make_settings: MakeSettings, warehouse: Warehouse
) -> None:
    run(bank, "ALTER TABLE m_client ADD note jsonb, ADD tags text[], ADD ref uuid, ADD ratio double precision")
    run(bank, "ALTER TABLE m_loan ALTER principal_amount TYPE numeric")
    values = "300, 'F', '1990-01-01', '1998-01-01'"
    run(
        bank,
        "INSERT INTO m_client (id, status_enum, gender, date_of_birth, last_modified_on_utc, note, tags, ratio) "
        f"VALUES (1, {values}, '{{\"a\": 1}}', ARRAY['x'], 0.1)",
    )
    run(bank, "INSERT INTO m_loan (id, principal_amount) VALUES (1, 12.000001), (2, 12.00000000001), (3, 'NaN')")
    settings = make_settings(ledger_url=bank)
    report = load_source("ledger", settings, YEAR_END)
    assert warehouse.rows("SELECT note, tags, ref, ratio FROM raw_ledger.m_client") == [
        ('{"a": 1}', "{x}", None, "0.1")
    ]
    assert warehouse.rows("SELECT id, principal_amount FROM raw_ledger.m_loan") == [(1, Decimal("12.000001"))]
    assert report.quarantined == 2
    assert set(quarantine.waiting(settings.home, "ledger", "m_loan").column("key").to_pylist()) == {"2", "3"}


def test_values_that_no_type_holds_go_to_quarantine_and_the_load_goes_on(
    bank: str, make_settings: MakeSettings, warehouse: Warehouse
) -> None:
    run(
        bank,
        "INSERT INTO m_loan (id, principal_amount, closedon_date) VALUES (1, 'NaN', NULL), (2, 5, 'infinity'), (3, 7, NULL)",
    )
    report = load_source("ledger", make_settings(ledger_url=bank), YEAR_END)
    assert report.quarantined == 2
    assert warehouse.rows("SELECT id, principal_amount FROM raw_ledger.m_loan") == [(3, Decimal(7))]


def test_another_schema_is_a_setting(bank: str, make_settings: MakeSettings, warehouse: Warehouse) -> None:
    run(bank, "CREATE SCHEMA core")
    for table in ("m_client", "m_loan"):
        run(bank, f"ALTER TABLE {table} SET SCHEMA core")
    run(bank, "INSERT INTO core.m_client (id) VALUES (5)")
    load_source("ledger", make_settings(ledger_url=bank, ledger_schema="core"), YEAR_END)
    assert warehouse.rows("SELECT id FROM raw_ledger.m_client") == [(5,)]


def test_a_database_that_does_not_answer_is_a_transient_error_without_its_password(
    make_settings: MakeSettings, clock: Clock
) -> None:
    settings = make_settings(ledger_url="postgresql://somebody:hidden@127.0.0.1:1/none")
    with pytest.raises(TransientError, match="LENDLOOP_LEDGER_URL") as caught:
        load_source("ledger", settings, clock)
    assert "hidden" not in str(caught.value)


def test_a_table_is_read_in_ranges_that_show_one_moment_whatever_is_written_meanwhile(
    bank: str, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_ranges, "RANGE_ROWS", 100)
    run(bank, "INSERT INTO m_client (id, status_enum) SELECT n * n, 300 FROM generate_series(1, 1000) AS n")
    batches = []
    with LedgerReader.open(make_settings(ledger_url=bank)) as reader:
        for stream, _ in reader.read(CLIENT, None):
            assert isinstance(stream, Stream)
            taken = stream.open()
            assert taken is not None
            batches.append(taken.read_next_batch())
            run(bank, "UPDATE m_client SET status_enum = 600 WHERE id > 400000")
            run(bank, "DELETE FROM m_client WHERE id BETWEEN 250000 AND 300000")
            run(bank, "INSERT INTO m_client (id) VALUES (2), (500001), (2000000)")
            batches += list(taken)
        assert not any("as text" in note for note in reader.notes)
    rows = pa.Table.from_batches(batches).select(["id", "status_enum"]).to_pydict()
    assert rows["id"] == [n * n for n in range(1, 1001)]
    assert set(rows["status_enum"]) == {300}
    assert max(batch.num_rows for batch in batches) <= 100


def test_ranges_leave_out_no_row_where_keys_repeat_or_are_absent(
    bank: str, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_ranges, "RANGE_ROWS", 10)
    run(bank, "DROP TABLE m_client")
    run(
        bank,
        "CREATE TABLE m_client AS SELECT nullif(n / 7, 3)::bigint AS id, n AS status_enum FROM generate_series(1, 100) AS n",
    )
    with LedgerReader.open(make_settings(ledger_url=bank)) as reader:
        found = pa.concat_tables(taken_whole(stream) for stream, _ in reader.read(CLIENT, None))
    assert sorted(found["status_enum"].to_pylist()) == list(range(1, 101))


@contextmanager
def relay(url: str, limit: int, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The URL by way of a relay that cuts, a process of its own since connectorx lets no thread of this one run."""
    address = sa.make_url(url)
    script = str(Path(__file__).with_name("cutting_relay.py"))
    with subprocess.Popen(
        [sys.executable, script, str(address.port), str(limit), *options], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            yield str(address.set(port=int(process.stdout.readline()))), process
        finally:
            process.kill()


@pytest.mark.parametrize("way_out", [(), ("gone",)], ids=["cut", "gone"])
def test_a_connection_lost_in_the_middle_of_a_table_is_told_soon_and_nothing_is_half_applied(
    way_out: tuple[str, ...], bank: str, make_settings: MakeSettings, warehouse: Warehouse
) -> None:
    fill_made_up(bank, 10)
    load_source("ledger", make_settings(ledger_url=bank), YEAR_END)
    stamp = "'1998-06-01' FROM generate_series"
    run(bank, f"INSERT INTO m_client (id, last_modified_on_utc) SELECT n, {stamp}(1001, 1500) AS n")
    run(
        bank,
        f"INSERT INTO m_loan_transaction (id, amount, last_modified_on_utc) SELECT n, 1.5, {stamp}(1, 250000) AS n",
    )
    past_a_batch = 10_000_000
    with relay(bank, past_a_batch, *way_out) as (url, process):
        began = time.monotonic()
        with pytest.raises(TransientError, match="m_loan_transaction") as caught:
            load_source("ledger", make_settings(ledger_url=url), YEAR_END)
        assert time.monotonic() - began < SOON_S
        assert process.stdout
        assert process.stdout.readline() == "cut\n"
    assert "connection was lost" in str(caught.value)
    assert warehouse.one("SELECT count(*) FROM raw_ledger.m_client") == 10
    assert warehouse.one("SELECT count(*) FROM raw_ledger.m_loan_transaction") == 0
    report = load_source("ledger", make_settings(ledger_url=bank), YEAR_END)
    assert (report.new, report.quarantined) == (250_500, 0)
    assert not any("as text" in note for note in report.notes)


@pytest.mark.slow
def test_the_whole_bank_gives_its_known_answers(bank: str, make_settings: MakeSettings, warehouse: Warehouse) -> None:
    if not BANK_FOLDER.exists():
        pytest.skip(f"the bank's files are not at {BANK_FOLDER}")
    fill_from_files(bank, BANK_FOLDER)
    report = load_source("ledger", make_settings(ledger_url=bank), YEAR_END)
    assert report.quarantined == 0
    assert (report.rows["m_client"], report.rows["m_savings_account_transaction"]) == (5_369, 49_102)
    assert warehouse.rows(
        "SELECT loan_status_id, count(*), sum(principal_disbursed_derived), sum(principal_outstanding_derived) "
        "FROM raw_ledger.m_loan GROUP BY 1 ORDER BY 1"
    ) == [(300, 448, 80_296_176, 47_096_724), (600, 203, 18_603_216, 0), (601, 31, 4_362_348, 0)]
    assert warehouse.one("SELECT count(*) FROM raw_ledger.m_savings_account_transaction WHERE amount > 50000") == 194


@pytest.mark.parametrize(
    ("asked", "mode"),
    [
        ("postgresql://u:p@host/db?application_name=hub", None),
        ("postgresql+psycopg://u:p@host/db?sslmode=require", "require"),
        ("mysql+pymysql://u:p@host/db", None),
    ],
)
def test_encryption_that_the_url_asks_for_holds_for_the_bulk_read_too(asked: str, mode: str | None) -> None:
    read = bulk_url(sa.make_url(asked))
    assert read is not None
    assert read.query.get("sslmode") == mode
    assert "application_name" not in read.query


@pytest.mark.parametrize(
    "asked",
    [
        "postgresql://u:p@host/db?sslmode=verify-full&sslrootcert=/ca.pem",
        "postgresql://u:p@host/db?sslmode=require&sslrootcert=/ca.pem",
        "postgresql:///db?host=/run/postgresql",
        "mysql+pymysql://u:p@host/db?ssl_ca=/ca.pem",
    ],
)
def test_what_only_a_driver_can_verify_is_read_by_the_driver(asked: str) -> None:
    assert bulk_url(sa.make_url(asked)) is None
