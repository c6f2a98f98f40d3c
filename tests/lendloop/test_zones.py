"""When a build is made, and what it says of itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from lendloop import zones
from lendloop.clock import parse_clock
from lendloop.settings import load_settings
from lendloop.zones import without_values


@pytest.mark.parametrize(
    "statement",
    [
        "select cast('Ada Obi' as integer)",
        "create table t (name varchar primary key); insert into t values ('Ada Obi'), ('Ada Obi')",
        "select strptime('Ada Obi', '%Y-%m-%d')",
        "select 'Ada Obi'::json",
        "select date 'Ada Obi'",
    ],
)
def test_what_a_build_says_of_a_row_at_fault_quotes_no_value_of_it(statement: str) -> None:
    with duckdb.connect() as connection, pytest.raises(duckdb.Error) as raised:
        connection.execute(statement)
    assert "Ada" in str(raised.value)
    assert "Ada" not in without_values(f"Runtime Error in model fct_loan (models/fct_loan.sql)\n  {raised.value}")


def test_what_a_build_says_of_sql_at_fault_stays_whole() -> None:
    message = 'Binder Error: Referenced column "loan_idd" not found in FROM clause!'
    assert without_values(message) == message
    assert without_values("Got 3 results, configured to fail if != 0") == "Got 3 results, configured to fail if != 0"


def test_a_ledger_that_is_read_at_last_on_a_day_is_a_reason_to_build(tmp_path: Path) -> None:
    settings, clock = load_settings(LENDLOOP_HOME=tmp_path), parse_clock("2026-03-31T12:00:00Z")
    moments = (None, datetime(2026, 3, 30, 12, tzinfo=UTC), datetime(2026, 3, 31, 4, tzinfo=UTC), clock.as_of)
    with duckdb.connect() as connection:
        never, yesterday, today, now = (zones._inputs(connection, settings, clock, moment) for moment in moments)
    assert yesterday != today
    assert never == today == now
