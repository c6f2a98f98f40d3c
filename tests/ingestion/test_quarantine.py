from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ingestion import quarantine
from ingestion.load import load_source, replay_quarantine
from lendloop.clock import Clock
from lendloop.errors import ConfigurationError
from lendloop.settings import Settings
from tests.ingestion.conftest import Ledger, Warehouse


@pytest.fixture
def settings(ledger: Ledger, make_settings: Callable[..., Settings]) -> Settings:
    ledger.add_client(1)
    return make_settings(ledger_url=ledger.url)


def edit(path: Path, old: str, new: str) -> None:
    """What a person does who mends a refused row."""
    rows = pq.read_table(path)
    texts = [text.replace(old, new) for text in rows.column("raw_text").to_pylist()]
    pq.write_table(rows.set_column(rows.column_names.index("raw_text"), "raw_text", [texts]), path)


def test_a_wrong_type_goes_to_quarantine_with_all_that_is_known_and_the_load_goes_on(
    ledger: Ledger, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    ledger.add_loan(1, "100")
    ledger.add_loan(2, "a hundred")
    ledger.add_loan(3, "1.1234567")
    report = load_source("ledger", settings, clock)
    assert (report.quarantined, report.rows["m_loan"]) == (2, 1)
    rows = {row["key"]: row for row in quarantine.waiting(settings.home, "ledger", "m_loan").to_pylist()}
    assert set(rows) == {"2", "3"}
    assert rows["2"]["column"] == "principal_amount"
    assert rows["2"]["reason"] == "wrong type: principal_amount does not hold a valid money"
    assert json.loads(rows["2"]["raw_text"])["principal_amount"] == "a hundred"
    assert rows["2"]["load_id"]
    assert rows["2"]["quarantined_at"] is not None
    folder = quarantine.folder(settings.home, "ledger", "m_loan")
    assert [path.stat().st_mode & 0o777 for path in folder.glob("*")] == [0o600]


def test_reading_a_refused_row_again_does_not_double_it(ledger: Ledger, settings: Settings, clock: Clock) -> None:
    ledger.add_loan(1)
    ledger.add_loan(2, "a hundred")
    load_source("ledger", settings, clock)
    report = load_source("ledger", settings, clock)
    assert (report.quarantined, report.changed) == (0, False)
    assert quarantine.waiting(settings.home, "ledger", "m_loan").num_rows == 1


def test_a_row_without_its_key_goes_to_quarantine(ledger: Ledger, settings: Settings, clock: Clock) -> None:
    ledger.add_loan(1)
    ledger.add_loan(None)
    assert load_source("ledger", settings, clock).quarantined == 1
    [row] = quarantine.waiting(settings.home, "ledger", "m_loan").to_pylist()
    assert row["reason"] == "no key: id is empty"
    assert not load_source("ledger", settings, clock).changed


def test_of_rows_with_one_key_the_last_is_kept_and_the_others_go_to_quarantine(
    ledger: Ledger, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    ledger.add_loan(1, "1")
    ledger.add_loan(1, "2")
    report = load_source("ledger", settings, clock)
    assert (report.quarantined, report.rows["m_loan"]) == (1, 1)
    assert warehouse.one("SELECT principal_amount FROM raw_ledger.m_loan") == 2
    assert not load_source("ledger", settings, clock).changed


def test_a_refused_row_is_not_taken_for_deleted(
    ledger: Ledger, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    ledger.add_loan(1, "5")
    ledger.add_loan(2, "6")
    ledger.add_loan(3, "6")
    load_source("ledger", settings, clock)
    ledger.run("UPDATE m_loan SET principal_amount = '?', last_modified_on_utc = '2024-02-05 00:00:00' WHERE id = 1")
    ledger.run("DELETE FROM m_loan WHERE id = 2")
    report = load_source("ledger", settings, clock)
    assert (report.quarantined, report.deleted) == (1, 1)
    assert warehouse.rows(
        "SELECT id, principal_amount FROM raw_ledger.m_loan WHERE _deleted_at IS NULL ORDER BY 1"
    ) == [
        (1, Decimal(5)),
        (3, Decimal(6)),
    ]


def test_replay_loads_what_was_mended_once(
    ledger: Ledger, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    ledger.add_loan(1)
    ledger.add_loan(2, "a hundred")
    ledger.add_loan(3, "what")
    load_source("ledger", settings, clock)
    nothing = replay_quarantine("ledger", settings, clock)
    assert (nothing.changed, nothing.quarantined) == (False, 2)
    [path] = quarantine.folder(settings.home, "ledger", "m_loan").glob("*.parquet")
    edit(path, "a hundred", "100.000001")
    report = replay_quarantine("ledger", settings, clock, "m_loan")
    assert (report.new, report.quarantined, report.rows["m_loan"]) == (1, 1, 2)
    assert warehouse.one("SELECT principal_amount FROM raw_ledger.m_loan WHERE id = 2") == Decimal("100.000001")
    assert [row["key"] for row in quarantine.waiting(settings.home, "ledger", "m_loan").to_pylist()] == ["3"]
    assert not replay_quarantine("ledger", settings, clock).changed
    again = load_source("ledger", settings, clock)
    assert (again.deleted, again.rows["m_loan"], again.quarantined) == (0, 2, 0)


def test_replay_does_not_overwrite_a_newer_row(
    ledger: Ledger, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    ledger.add_loan(1)
    ledger.add_loan(2, "a hundred", "2024-02-01 10:00:00")
    load_source("ledger", settings, clock)
    ledger.run("UPDATE m_loan SET principal_amount = '7', last_modified_on_utc = '2024-02-02 10:00:00' WHERE id = 2")
    load_source("ledger", settings, clock)
    [path] = quarantine.folder(settings.home, "ledger", "m_loan").glob("*.parquet")
    edit(path, "a hundred", "100")
    assert not replay_quarantine("ledger", settings, clock).changed
    assert warehouse.one("SELECT principal_amount FROM raw_ledger.m_loan WHERE id = 2") == 7
    assert quarantine.waiting(settings.home, "ledger", "m_loan").num_rows == 0


def test_replaying_an_unknown_table_names_the_known(settings: Settings, clock: Clock) -> None:
    with pytest.raises(ConfigurationError, match="m_client"):
        replay_quarantine("ledger", settings, clock, "nothing")
