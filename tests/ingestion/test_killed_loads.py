from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ingestion.load import load_source
from ingestion.pipeline import Loader, has_leftovers
from lendloop.clock import Clock
from lendloop.settings import Settings
from tests.ingestion.conftest import Ledger, Warehouse

CHECKOUT = Path(__file__).resolve().parents[2]
KILLS = 6
ROWS = 150


def kill_a_load(home: Path, url: str, after_s: float) -> bool:
    """Start a load, kill it after so many seconds of work; whether it was still running."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("killed_load.py")), str(home), url],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    finally:
        process.stdout.close()
    return False


def change_everything(ledger: Ledger, turn: int) -> None:
    """New rows, changed rows, deletions, a rebuilt table and a row that does not cast."""
    stamp = f"2024-02-{turn + 1:02d} 10:00:00"
    values = [(turn * ROWS + n, f"{turn}.{n:06d}", stamp) for n in range(ROWS)]
    with sqlite3.connect(ledger.path) as connection:
        connection.executemany("INSERT INTO m_loan VALUES (?, 1, ?, 0, '2024-01-31', ?)", values)
        connection.executemany(
            "INSERT INTO m_client VALUES (?, ?, '0803', '1990-01-01', ?, ?)",
            [(identifier, amount, moment, moment) for identifier, amount, moment in values],
        )
        if turn:
            first = (turn - 1) * ROWS
            connection.execute("DELETE FROM m_loan WHERE id = ?", (first + 3,))
            connection.execute(
                "UPDATE m_client SET firstname = ?, last_modified_on_utc = ? WHERE id % 7 = 0", (str(turn), stamp)
            )
        connection.execute("UPDATE m_loan SET principal_amount = 'many' WHERE id = ?", (turn * ROWS + 5,))
        connection.execute("DELETE FROM m_loan_arrears_aging")
        connection.executemany(
            "INSERT INTO m_loan_arrears_aging VALUES (?, ?)", [(n, f"{turn}.5") for n in range(turn, turn + 50)]
        )
    connection.close()


@pytest.mark.slow
def test_loads_killed_at_any_moment_are_finished_by_the_next_without_a_row_lost_or_doubled(
    ledger: Ledger, make_settings: Callable[..., Settings], clock: Clock, warehouse: Warehouse, tmp_path: Path
) -> None:
    settings = make_settings(ledger_url=ledger.url)
    moments = random.Random(7)
    killed = 0
    longest_s = 0.0
    for turn in range(KILLS):
        change_everything(ledger, turn)
        killed += kill_a_load(tmp_path / "home", ledger.url, moments.uniform(0.05, max(2.0, longest_s)))
        if turn % 3 == 2:
            started = time.monotonic()
            load_source("ledger", settings, clock)
            longest_s = max(longest_s, time.monotonic() - started)
    load_source("ledger", settings, clock)
    assert killed >= KILLS // 3
    with sqlite3.connect(ledger.path) as connection:
        loans = connection.execute(
            "SELECT id, principal_amount FROM m_loan WHERE principal_amount <> 'many' ORDER BY id"
        ).fetchall()
        clients = connection.execute("SELECT id, firstname FROM m_client ORDER BY id").fetchall()
        arrears = connection.execute(
            "SELECT loan_id, total_overdue_derived FROM m_loan_arrears_aging ORDER BY 1"
        ).fetchall()
    connection.close()
    live = "WHERE _deleted_at IS NULL ORDER BY 1"
    assert warehouse.rows(f"SELECT id, principal_amount::VARCHAR FROM raw_ledger.m_loan {live}") == loans
    assert warehouse.rows(f"SELECT id, firstname FROM raw_ledger.m_client {live}") == clients
    assert (
        warehouse.rows(
            f"SELECT loan_id, regexp_replace(total_overdue_derived::VARCHAR, '0+$', '') FROM raw_ledger.m_loan_arrears_aging {live}"
        )
        == arrears
    )
    for table, key in (("m_loan", "id"), ("m_client", "id"), ("m_loan_arrears_aging", "loan_id")):
        assert warehouse.one(f"SELECT count(*) - count(DISTINCT {key}) FROM raw_ledger.{table}") == 0
    assert not load_source("ledger", settings, clock).changed


def test_a_load_that_was_ready_is_finished_by_the_next(
    ledger: Ledger,
    make_settings: Callable[..., Settings],
    clock: Clock,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = make_settings(ledger_url=ledger.url)
    for number in range(1, 4):
        ledger.add_client(number)
        ledger.add_loan(number)

    def die(loader: Loader) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Loader, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            load_source("ledger", settings, clock)
    assert has_leftovers(settings.home, "ledger")
    report = load_source("ledger", settings, clock)
    assert any("finished the load" in note for note in report.notes)
    assert (report.changed, report.rows["m_loan"]) == (True, 3)
    assert not has_leftovers(settings.home, "ledger")
    assert not load_source("ledger", settings, clock).changed
    assert warehouse.one("SELECT count(*) FROM raw_ledger.m_loan") == 3


def test_a_leftover_that_no_longer_loads_is_thrown_away_and_its_rows_read_again(
    ledger: Ledger,
    make_settings: Callable[..., Settings],
    clock: Clock,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = make_settings(ledger_url=ledger.url)
    ledger.add_client(1)
    ledger.add_loan(1)

    def die(loader: Loader) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Loader, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            load_source("ledger", settings, clock)
    [file] = (settings.home.dlt / "pipelines" / "ledger" / "load" / "normalized").rglob("m_loan.*.csv")
    file.write_bytes(b"cut off")
    report = load_source("ledger", settings, clock)
    assert any("threw away" in note for note in report.notes)
    assert warehouse.one("SELECT count(*) FROM raw_ledger.m_loan") == 1
    assert report.rows["m_client"] == 1


def test_what_a_killed_load_wrote_is_told_by_the_next_report(
    ledger: Ledger, make_settings: Callable[..., Settings], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(ledger_url=ledger.url)
    ledger.add_client(1)
    ledger.add_loan(1)

    def die(loader: Loader) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Loader, "tidy", die)
        with pytest.raises(KeyboardInterrupt):
            load_source("ledger", settings, clock)
    report = load_source("ledger", settings, clock)
    assert (report.changed, report.new, report.unchanged) == (True, 0, 2)
    assert not load_source("ledger", settings, clock).changed
