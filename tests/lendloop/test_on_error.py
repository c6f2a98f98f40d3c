"""Which answer counts for a check, which rows a failed test means, and what is kept of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lendloop import on_error
from lendloop.home import Home
from lendloop.on_error import FailedTest, OnError, answer_to, kept_file, rows_that_fail, take_out

MOMENT = datetime(2026, 6, 30, tzinfo=UTC)
CLASSES = {"loan_id": "none", "person_key": "pseudonym", "phone": "contact", "amount": "none"}


def project(test: dict[str, Any], *, dataset: str = "quarantine", **config: Any) -> dict[str, Any]:
    """dbt's manifest of one dataset and one test on it."""
    model = {
        "unique_id": "model.l.fct_loan", "resource_type": "model", "schema": "trusted", "alias": "fct_loan",
        "config": {"materialized": "table", "meta": {"key": ["loan_id"], "on_error": dataset}} | config,
        "columns": {name: {"config": {"meta": {"pii": pii}}} for name, pii in CLASSES.items()},
    }  # fmt: skip
    node = {
        "unique_id": "test.l.one", "resource_type": "test", "name": "one", "config": {"meta": {}},
        "attached_node": "model.l.fct_loan", "depends_on": {"nodes": ["model.l.fct_loan"]},
    }  # fmt: skip
    return {"nodes": {"model.l.fct_loan": model, "test.l.one": node | test}}


@pytest.fixture
def warehouse() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("create schema trusted")
    connection.execute(
        "create table trusted.fct_loan as select * from (values (1, 'p1', '+2341', 5), (2, 'p2', null, 6),"
        " (3, 'p2', '+2343', null)) as t(loan_id, person_key, phone, amount)"
    )
    return connection


@pytest.mark.parametrize(
    ("test", "config", "expected"),
    [
        ({}, {}, OnError.QUARANTINE),
        ({"config": {"meta": {"on_error": "halt"}}}, {}, OnError.HALT),
        ({"config": {"meta": {}, "severity": "warn"}}, {}, OnError.WARN),
        ({"config": {"meta": {"on_error": "halt"}, "severity": "warn"}}, {}, OnError.HALT),
        ({}, {"materialized": "view"}, OnError.SERVE_STALE),
        ({}, {"materialized": "incremental", "full_refresh": False}, OnError.SERVE_STALE),
    ],
)
def test_the_answer_to_a_failed_test(test: dict[str, Any], config: dict[str, Any], expected: OnError) -> None:
    assert answer_to(project(test, **config), "test.l.one") is expected


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [("halt", OnError.HALT), ("quarantine", OnError.SERVE_STALE), ("warn", OnError.SERVE_STALE)],
)
def test_a_table_that_was_not_made_can_only_halt_or_stay_stale(dataset: str, expected: OnError) -> None:
    assert answer_to(project({}, dataset=dataset), "model.l.fct_loan") is expected


@pytest.mark.parametrize(
    ("kind", "column", "sql", "expected"),
    [
        ("not_null", "amount", "select * from trusted.fct_loan where amount is null", [3]),
        ("unique", "person_key", "select person_key, count(*) as row_count from trusted.fct_loan group by 1 having count(*) > 1", [2, 3]),
        ("accepted_values", "amount", "select amount as value_field, 1 as n_records from trusted.fct_loan where amount = 6", [2]),
        ("relationships", "person_key", "select person_key as from_field from trusted.fct_loan where person_key = 'p1'", [1]),
        ("", None, "-- by hand\nselect loan_id, amount from trusted.fct_loan where amount > 5 -- the end", [2]),
    ],
)  # fmt: skip
def test_the_rows_that_a_test_means(
    warehouse: duckdb.DuckDBPyConnection, kind: str, column: str | None, sql: str, expected: list[int]
) -> None:
    manifest = project({"column_name": column, "test_metadata": {"name": kind} if kind else None})
    condition = rows_that_fail(warehouse, manifest, FailedTest("test.l.one", sql))
    found = warehouse.execute(f"select loan_id from trusted.fct_loan as t where {condition} order by 1").fetchall()
    assert [key for (key,) in found] == expected


def test_a_result_without_the_key_names_no_rows(warehouse: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    test = FailedTest("test.l.one", "select count(*) as wrong from trusted.fct_loan")
    assert rows_that_fail(warehouse, project({}), test) is None
    assert take_out(warehouse, Home(tmp_path), project({}), [test], MOMENT) == {}
    assert warehouse.execute("select count(*) from trusted.fct_loan").fetchall() == [(3,)]


def test_what_is_taken_out_is_kept_without_personal_data_and_bounded(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_error, "KEPT_ROWS", 1)
    test = FailedTest("test.l.one", "select loan_id from trusted.fct_loan where loan_id > 1")
    home = Home(tmp_path).prepare()
    assert take_out(warehouse, home, project({"column_name": "amount"}), [test], MOMENT) == {"test.l.one": 2}
    assert warehouse.execute("select loan_id from trusted.fct_loan").fetchall() == [(1,)]
    path = kept_file(home, "trusted", "fct_loan")
    assert path.stat().st_mode & 0o077 == 0
    [(name, column, key, shown, as_of)] = duckdb.execute(
        f"select test, column_name, key, shown, as_of from read_parquet('{path}')"
    ).fetchall()
    assert (name, column, as_of) == ("one", "amount", MOMENT)
    assert (json.loads(key), json.loads(shown)) == ({"loan_id": 2}, {"loan_id": 2, "amount": 6})
