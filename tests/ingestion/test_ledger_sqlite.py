from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from ingestion.load import check, load_source, prepare_raw
from ingestion.tables import TABLES, TECHNICAL_COLUMNS
from lendloop.clock import Clock, parse_clock
from lendloop.errors import ConfigurationError, LockTimeoutError, PermanentError
from lendloop.settings import Settings
from lendloop.source_status import read_status
from lendloop.warehouse import warehouse_lock
from tests.ingestion.conftest import Ledger, Warehouse

MakeSettings = Callable[..., Settings]


@pytest.fixture
def settings(ledger: Ledger, make_settings: MakeSettings) -> Settings:
    return make_settings(ledger_url=ledger.url)


def test_prepare_raw_makes_every_declared_table_and_column_and_may_run_again(
    make_settings: MakeSettings, warehouse: Warehouse
) -> None:
    prepare_raw(make_settings())
    prepare_raw(make_settings())
    found = set(warehouse.rows("SELECT schema_name, table_name, column_name FROM duckdb_columns()"))
    for tables in TABLES.values():
        for table in tables:
            for column in {**table.columns, **TECHNICAL_COLUMNS}:
                assert (table.schema, table.name, column) in found


def test_a_source_that_is_not_configured_is_said_so_and_no_error(make_settings: MakeSettings, clock: Clock) -> None:
    settings = make_settings()
    report = load_source("crm", settings, clock)
    assert not report.configured
    assert not report.changed
    assert not read_status(settings.home)["crm"].configured


def test_a_first_load_brings_every_row_with_money_exact_and_a_second_writes_nothing(
    ledger: Ledger, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    for number in range(1, 6):
        ledger.add_client(number)
        ledger.add_loan(number, f"{number}.100001")
    first = load_source("ledger", settings, clock)
    assert (first.new, first.changed) == (10, True)
    assert warehouse.one("SELECT sum(principal_amount) FROM raw_ledger.m_loan") == Decimal("15.500005")
    assert warehouse.rows("SELECT schema_name FROM duckdb_schemas() WHERE schema_name LIKE '%staging%'") == []
    packages = settings.home.dlt / "pipelines"
    assert packages.stat().st_mode & 0o777 == 0o700
    assert not list(packages.rglob("*.parquet"))
    loaded = warehouse.path.read_bytes()
    second = load_source("ledger", settings, clock)
    assert not second.changed
    assert (second.new, second.rows_changed, second.deleted, second.unchanged) == (0, 0, 0, 10)
    assert warehouse.path.read_bytes() == loaded
    assert read_status(settings.home)["ledger"].rows["m_loan"] == 5


@pytest.mark.parametrize(
    ("statement", "named"),
    [("ALTER TABLE m_loan DROP COLUMN is_npa", r"m_loan\.is_npa"), ("DROP TABLE m_loan_arrears_aging", "m_loan_arrears_aging")],
)  # fmt: skip
def test_what_the_ledger_has_no_more_is_refused_until_somebody_allows_it(
    statement: str, named: str, ledger: Ledger, make_settings: MakeSettings, clock: Clock, warehouse: Warehouse
) -> None:
    settings = make_settings(ledger_url=ledger.url)
    ledger.add_client(1)
    ledger.add_loan(1)
    ledger.run("INSERT INTO m_loan_arrears_aging VALUES (1, '5')")
    load_source("ledger", settings, clock)
    ledger.run(statement)
    with pytest.raises(PermanentError, match=f"ledger has no {named} any more, where raw has values"):
        load_source("ledger", settings, clock)
    assert warehouse.rows("SELECT is_npa FROM raw_ledger.m_loan") == [(False,)]
    load_source("ledger", make_settings(ledger_url=ledger.url, shrink_limit=0), clock)
    assert warehouse.rows("SELECT is_npa FROM raw_ledger.m_loan") == [(None if "npa" in named else False,)]
    late = "SELECT count(*) FROM raw_ledger.m_loan_arrears_aging WHERE _deleted_at IS NULL"
    assert warehouse.one(late) == (1 if "npa" in named else 0)
    assert not load_source("ledger", settings, clock).changed


def test_only_what_changed_is_written_again(
    ledger: Ledger, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    for number in range(1, 6):
        ledger.add_client(number)
        ledger.add_loan(number)
    load_source("ledger", settings, clock)
    ledger.run("UPDATE m_client SET firstname = 'Kofi', last_modified_on_utc = '2024-02-02 10:00:00' WHERE id = 3")
    report = load_source("ledger", settings, clock)
    assert (report.new, report.rows_changed) == (0, 1)
    assert warehouse.rows("SELECT id FROM raw_ledger.m_client ORDER BY _loaded_at DESC LIMIT 1") == [(3,)]
    assert warehouse.one("SELECT count(DISTINCT _loaded_at) FROM raw_ledger.m_client") == 2
    assert warehouse.one("SELECT firstname FROM raw_ledger.m_client WHERE id = 3") == "Kofi"


def test_late_commits_arrive_within_the_lag_and_beyond_it(
    ledger: Ledger, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    ledger.add_client(1, "2024-02-01 10:00:00")
    ledger.add_loan(1)
    load_source("ledger", settings, clock)
    ledger.add_client(2, "2024-02-01 09:30:00")
    ledger.add_client(3, "2023-01-01 00:00:00")
    report = load_source("ledger", settings, clock)
    assert report.new == 2
    assert warehouse.rows("SELECT id FROM raw_ledger.m_client ORDER BY id") == [(1,), (2,), (3,)]
    assert not load_source("ledger", settings, clock).changed


def test_a_hard_deletion_is_found_and_a_row_that_comes_back_lives_again(
    ledger: Ledger, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    for number in range(1, 4):
        ledger.add_client(number, f"2024-02-0{number} 10:00:00")
    ledger.add_loan(1)
    load_source("ledger", settings, clock)
    ledger.run("DELETE FROM m_client WHERE id = 1")
    report = load_source("ledger", settings, clock)
    assert (report.deleted, report.rows["m_client"]) == (1, 2)
    assert warehouse.rows("SELECT id, _deleted_at FROM raw_ledger.m_client WHERE _deleted_at IS NOT NULL") == [
        (1, clock.as_of)
    ]
    assert not load_source("ledger", settings, clock).changed
    ledger.add_client(1, "2024-02-01 10:00:00")
    report = load_source("ledger", settings, clock)
    assert (report.rows_changed, report.rows["m_client"]) == (1, 3)
    assert warehouse.one("SELECT count(*) FROM raw_ledger.m_client WHERE _deleted_at IS NOT NULL") == 0


def test_a_deletion_is_found_when_another_row_came_at_the_same_time(
    ledger: Ledger, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    for number in range(1, 4):
        ledger.add_client(number, "2024-01-01 10:00:00")
    ledger.add_client(4, "2024-02-01 10:00:00")
    ledger.add_loan(1)
    load_source("ledger", settings, clock)
    ledger.run("DELETE FROM m_client WHERE id = 2")
    ledger.add_client(5, "2024-02-01 10:00:00")
    report = load_source("ledger", settings, clock)
    assert (report.new, report.deleted, report.rows["m_client"]) == (1, 1, 4)
    assert warehouse.rows("SELECT id FROM raw_ledger.m_client WHERE _deleted_at IS NULL ORDER BY id") == [
        (1,),
        (3,),
        (4,),
        (5,),
    ]


def test_a_rebuilt_table_is_mirrored_and_only_differences_are_written(
    ledger: Ledger, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    ledger.add_client(1)
    ledger.add_loan(1)
    for number in range(1, 4):
        ledger.run("INSERT INTO m_loan_arrears_aging VALUES (?, '10.5')", number)
    load_source("ledger", settings, clock)
    ledger.run("DELETE FROM m_loan_arrears_aging")
    for number, amount in ((2, "10.5"), (3, "99"), (4, "1")):
        ledger.run("INSERT INTO m_loan_arrears_aging VALUES (?, ?)", number, amount)
    counts = load_source("ledger", settings, clock).tables["m_loan_arrears_aging"]
    assert (counts.new, counts.changed, counts.deleted, counts.unchanged) == (1, 1, 1, 1)
    assert warehouse.one("SELECT count(DISTINCT _loaded_at) FROM raw_ledger.m_loan_arrears_aging") == 2
    ledger.run("DELETE FROM m_loan_arrears_aging")
    assert load_source("ledger", settings, clock).deleted == 3


def test_rows_without_a_cursor_value_are_read_and_not_written_again(
    ledger: Ledger, settings: Settings, clock: Clock
) -> None:
    ledger.add_client(1)
    ledger.add_loan(1)
    ledger.run("INSERT INTO m_client (id, firstname) VALUES (9, 'Nobody')")
    load_source("ledger", settings, clock)
    assert not load_source("ledger", settings, clock).changed
    ledger.run("UPDATE m_client SET firstname = 'Somebody' WHERE id = 9")
    assert load_source("ledger", settings, clock).rows_changed == 1


def test_a_cursor_in_the_far_future_does_not_blind_later_reads(
    ledger: Ledger, settings: Settings, clock: Clock
) -> None:
    ledger.add_client(1)
    ledger.add_client(2, "2150-01-01 00:00:00")
    ledger.add_loan(1)
    load_source("ledger", settings, clock)
    ledger.add_client(3, "2024-02-20 00:00:00")
    report = load_source("ledger", settings, clock)
    assert (report.new, report.rows_changed) == (1, 0)


def test_missing_tables_and_columns_are_reported_and_null(
    ledger: Ledger, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    ledger.add_client(1)
    ledger.add_loan(1)
    notes = "\n".join(load_source("ledger", settings, clock).notes)
    assert "m_office" in notes
    assert "email_address" in notes
    assert warehouse.one("SELECT email_address FROM raw_ledger.m_client") is None
    assert warehouse.one("SELECT count(*) FROM raw_ledger.m_office") == 0


def test_a_ledger_without_its_loans_is_refused_by_name(tmp_path: Path, make_settings: MakeSettings) -> None:
    ledger = Ledger(tmp_path / "other.sqlite")
    ledger.run("DROP TABLE m_loan")
    settings = make_settings(ledger_url=ledger.url)
    with pytest.raises(ConfigurationError, match="m_loan"):
        load_source("ledger", settings, parse_clock("2024-03-01"))
    assert "m_loan" in str(read_status(settings.home)["ledger"].error)


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.sqlite", "no url", "oracle+none://x/y"])
def test_a_ledger_url_that_leads_nowhere_is_a_configuration_error(
    url: str, make_settings: MakeSettings, clock: Clock
) -> None:
    with pytest.raises(ConfigurationError, match="LENDLOOP_LEDGER_URL"):
        load_source("ledger", make_settings(ledger_url=url), clock)


def test_a_new_column_is_taken_as_it_comes_and_reported_once(
    ledger: Ledger, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    ledger.add_client(1)
    ledger.add_loan(1)
    load_source("ledger", settings, clock)
    ledger.run("ALTER TABLE m_client ADD COLUMN riskBand text")
    ledger.run("UPDATE m_client SET riskBand = 'B', last_modified_on_utc = '2024-02-03 00:00:00'")
    report = load_source("ledger", settings, clock)
    assert any("risk_band" in note for note in report.notes)
    assert warehouse.one("SELECT risk_band FROM raw_ledger.m_client") == "B"
    second = load_source("ledger", settings, clock)
    assert not second.changed
    assert not any("risk_band" in note for note in second.notes)


def test_a_source_that_shrinks_to_a_fraction_is_refused_and_nothing_of_it_applied(
    ledger: Ledger, settings: Settings, clock: Clock, make_settings: MakeSettings, warehouse: Warehouse
) -> None:
    for number in range(120):
        ledger.add_client(number)
    ledger.add_loan(1)
    load_source("ledger", settings, clock)
    ledger.run("DELETE FROM m_client WHERE id > 10")
    ledger.add_loan(2)
    with pytest.raises(PermanentError, match="m_client has 11 rows where raw holds 120"):
        load_source("ledger", settings, clock)
    assert warehouse.one("SELECT count(*) FROM raw_ledger.m_client WHERE _deleted_at IS NULL") == 120
    assert warehouse.one("SELECT count(*) FROM raw_ledger.m_loan") == 1
    allowed = make_settings(ledger_url=ledger.url, shrink_limit=0)
    assert load_source("ledger", allowed, clock).deleted == 109


def test_keys_are_compared_once_a_business_day_even_when_the_totals_agree(
    ledger: Ledger, settings: Settings, clock: Clock
) -> None:
    for number in (1, 2, 3, 4):
        ledger.add_client(number, "2024-01-01 10:00:00")
    ledger.add_client(9, "2024-02-01 10:00:00")
    ledger.add_loan(1)
    load_source("ledger", settings, clock)
    ledger.run("DELETE FROM m_client WHERE id IN (1, 4)")
    ledger.add_client(6, "2023-01-01 10:00:00")
    assert not load_source("ledger", settings, clock).changed
    report = load_source("ledger", settings, parse_clock("2024-03-02T12:00:00Z"))
    assert (report.new, report.deleted, report.rows["m_client"]) == (1, 2, 4)


def test_the_warehouse_lock_is_free_after_a_load_and_a_busy_one_is_named(
    ledger: Ledger, settings: Settings, clock: Clock, make_settings: MakeSettings
) -> None:
    ledger.add_client(1)
    ledger.add_loan(1)
    load_source("ledger", settings, clock)
    hurried = make_settings(ledger_url=ledger.url, lock_timeout_s=0.2)
    with warehouse_lock(settings.home, "a long build", 1), pytest.raises(LockTimeoutError, match="a long build"):
        load_source("ledger", hurried, clock)
    assert "a long build" in str(read_status(settings.home)["ledger"].error)
    assert load_source("ledger", settings, clock).rows["m_client"] == 1
    assert read_status(settings.home)["ledger"].error is None


def test_the_declarations_hold_together(make_settings: MakeSettings) -> None:
    assert check(make_settings()) == []
    assert "contacts.nothing" in check(make_settings(crm_properties={"contacts.nothing": "x"}))[0]


def test_an_unforeseen_failure_is_in_the_status_too(
    ledger: Ledger, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.add_client(1)
    ledger.add_loan(1)

    def break_down(*_: object) -> None:
        raise ValueError("nobody thought of this")

    with monkeypatch.context() as patched:
        patched.setattr("ingestion.load.write_rows", break_down)
        with pytest.raises(ValueError, match="nobody thought"):
            load_source("ledger", settings, clock)
    assert "nobody thought of this" in str(read_status(settings.home)["ledger"].error)
    assert load_source("ledger", settings, clock).new == 2
