"""What a build says of itself."""

from __future__ import annotations

import duckdb
import pytest

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
