from __future__ import annotations

import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ingestion import quarantine
from ingestion.load import load_source
from ingestion.report import SourceReport
from lendloop.settings import SOURCES, Settings
from sandbox.serve import Options, open_lender, running
from tests.ingestion.conftest import Warehouse

pytestmark = pytest.mark.slow


def load_all(settings: Settings) -> dict[str, SourceReport]:
    clock = settings.clock()
    return {source: load_source(source, settings, clock) for source in SOURCES}


def refused_keys(settings: Settings, source: str, table: str) -> set[str]:
    return set(quarantine.waiting(settings.home, source, table).column("key").to_pylist())


def test_the_pretend_lender_arrives_in_full_day_by_day_and_a_pass_without_change_writes_nothing(
    tmp_path: Path, make_settings: Callable[..., Settings], warehouse: Warehouse
) -> None:
    folder = tmp_path / "sandbox"
    folder.mkdir()
    lender: Any = open_lender(Options(folder, customers=120))
    with running(Options(folder, customers=120), lender) as sandbox:
        fields = {name.removeprefix("LENDLOOP_").lower(): value for name, value in sandbox.settings.items()}
        settings = make_settings(**fields)
        for days in (0, 4):
            if days:
                lender.tick(days)
            # so few people do not answer surveys every day
            assert all(report.changed for source, report in load_all(settings).items() if source != "survey")
            assert not any(report.changed for report in load_all(settings).values())
            _assert_ledger_is_mirrored(settings, lender.ledger_url.removeprefix("sqlite:///"), warehouse)
            contacts = lender.table("crm_contacts").to_pylist()
            live = {row["id"] for row in contacts if not row["archived"]}
            held = {row[0] for row in warehouse.rows("SELECT id FROM raw_crm.contacts WHERE _deleted_at IS NULL")}
            assert held <= live
            assert live - held <= refused_keys(settings, "crm", "contacts")


def _assert_ledger_is_mirrored(settings: Settings, path: str, warehouse: Warehouse) -> None:
    with sqlite3.connect(path) as connection:
        for table, key, amount in (
            ("m_client", "id", "0"),
            ("m_loan", "id", "principal_outstanding_derived"),
            ("m_loan_transaction", "id", "amount"),
            ("m_loan_arrears_aging", "loan_id", "total_overdue_derived"),
        ):
            theirs = {
                str(identifier): value
                for identifier, value in connection.execute(f"SELECT {key}, CAST({amount} AS TEXT) FROM {table}")
            }
            ours = dict(
                warehouse.rows(
                    f"SELECT {key}::VARCHAR, {amount}::VARCHAR FROM raw_ledger.{table} WHERE _deleted_at IS NULL"
                )
            )
            refused = refused_keys(settings, "ledger", table)
            assert ours.keys() <= theirs.keys()
            assert theirs.keys() - ours.keys() <= refused
            for identifier in ours.keys() - refused:
                assert Decimal(ours[identifier] or 0) == Decimal(theirs[identifier] or 0)
    connection.close()
