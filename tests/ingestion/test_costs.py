"""The file of costs into raw: the whole file is the truth, lines about the same add up, what is no money stays out."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from ingestion.doctor import check_costs
from ingestion.load import load_source
from ingestion.reconcile import reconcile_costs
from ingestion.tables import COSTS
from lendloop.clock import Clock
from lendloop.errors import ConfigurationError
from lendloop.settings import Settings
from tests.ingestion.conftest import Warehouse

HEADER = "month,market,currency,product,kind,amount\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "costs.csv"


def test_lines_are_spelt_one_way_and_lines_about_the_same_are_both_kept(
    file: Path, make_settings: Callable[..., Settings], clock: Clock, warehouse: Warehouse
) -> None:
    file.write_text(
        "﻿Kind , month,market,currency,amount,note\n"
        " Funding,2024-01,ng,ngn,10.50,first invoice\nfunding,2024-01-01,NG,NGN,2,second invoice\n,,,,,\n"
    )
    report = load_source("costs", make_settings(costs_file=file), clock)
    assert (report.new, report.quarantined, report.notes) == (2, 0, [])
    assert warehouse.rows(
        "SELECT month::varchar, market, currency, product, kind, amount FROM raw_costs.cost ORDER BY amount"
    ) == [
        ("2024-01-01", "NG", "NGN", None, "funding", 2),
        ("2024-01-01", "NG", "NGN", None, "funding", 10.5),
    ]


def test_the_whole_file_is_the_truth_each_time(
    file: Path, make_settings: Callable[..., Settings], clock: Clock, warehouse: Warehouse
) -> None:
    settings = make_settings(costs_file=file)
    file.write_text(HEADER + "2024-01,NG,NGN,D14,funding,10\n2024-01,NG,NGN,,servicing,3\n")
    assert load_source("costs", settings, clock).new == 2
    assert not load_source("costs", settings, clock).changed
    file.write_text(HEADER + "2024-01,NG,NGN,D14,funding,11\n")
    report = load_source("costs", settings, clock)
    assert (report.new, report.rows_changed, report.deleted) == (0, 1, 1)
    assert warehouse.rows("SELECT kind, amount FROM raw_costs.cost WHERE _deleted_at IS NULL") == [("funding", 11)]


@pytest.mark.parametrize(
    "line", ["2024-01,NG,NGN,,funding,1,234.50", "2024-13,NG,NGN,,funding,5", "2024-01,NG,NGN,,funding,ten"]
)
def test_a_line_that_is_no_cost_goes_to_quarantine_whole(
    line: str, file: Path, make_settings: Callable[..., Settings], clock: Clock, warehouse: Warehouse
) -> None:
    file.write_text(f"{HEADER}{line}\n2024-01,NG,NGN,,servicing,3\n")
    report = load_source("costs", make_settings(costs_file=file), clock)
    assert (report.new, report.quarantined) == (1, 1)
    assert warehouse.rows("SELECT kind FROM raw_costs.cost") == [("servicing",)]


def test_a_kind_that_nobody_knows_is_told(file: Path, make_settings: Callable[..., Settings], clock: Clock) -> None:
    file.write_text(HEADER + "2024-01,NG,NGN,,aquisition,3\n")
    (note,) = load_source("costs", make_settings(costs_file=file), clock).notes
    assert note.startswith("1 line(s) of a kind that is none of acquisition, ")


def test_a_file_that_is_not_there_lacks_a_column_or_has_one_twice_is_named(
    file: Path, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    settings = make_settings(costs_file=file)
    with pytest.raises(ConfigurationError, match=r"costs\.csv, which does not exist"):
        load_source("costs", settings, clock)
    file.write_text("month;market;currency;kind;amount\n")
    with pytest.raises(ConfigurationError, match="has no column month, market"):
        load_source("costs", settings, clock)
    assert [finding.state for finding in check_costs(settings)] == ["failure"]
    file.write_text("month,market,currency,kind,amount,Amount \n2024-01,NG,NGN,funding,5,6\n")
    with pytest.raises(ConfigurationError, match="has more than one column amount; leave one"):
        load_source("costs", settings, clock)


def test_without_a_file_raw_has_an_empty_table(
    make_settings: Callable[..., Settings], clock: Clock, warehouse: Warehouse
) -> None:
    report = load_source("costs", make_settings(), clock)
    assert not report.configured
    assert warehouse.one("SELECT count(*) FROM raw_costs.cost") == 0
    assert check_costs(make_settings())[0].state != "failure"


def test_money_is_whole_or_not_at_all() -> None:
    assert not COSTS[0].keeps_rows


def lines_that_differ(settings: Settings, on: date | None = None) -> list[tuple[str, str, tuple[str, ...]]]:
    comparison = reconcile_costs(settings, on)
    assert comparison.not_compared == ""
    return [(row.kind, row.key, row.columns) for day in comparison.unexplained for row in day.differences]


def test_the_file_is_compared_with_raw_month_by_month_and_each_line_that_differs_is_named(
    file: Path, make_settings: Callable[..., Settings], clock: Clock, warehouse: Warehouse
) -> None:
    settings = make_settings(costs_file=file)
    assert reconcile_costs(settings).not_compared.endswith("which does not exist")
    lines = "2024-01,NG,NGN,,funding,10\n2024-01,NG,NGN,,funding,2.5\n2024-02,NG,NGN,,servicing,3\n"
    file.write_text(f"{HEADER}{lines}2024-03-20,NG,NGN,,servicing,4\n")
    assert reconcile_costs(settings).not_compared == "nothing was loaded yet"
    os.utime(file, (0, 0))
    load_source("costs", settings, clock)
    comparison = reconcile_costs(settings)
    assert [(day.day, day.state, day.left.rows, day.left.sums) for day in comparison.days] == [
        (date(2024, 1, 1), "agreed", 2, (Decimal("12.5"),)),
        (date(2024, 2, 1), "agreed", 1, (Decimal(3),)),
        (date(2024, 3, 20), "agreed", 1, (Decimal(4),)),
    ]
    assert [day.left.rows for day in reconcile_costs(settings, date(2024, 3, 15)).days] == [1]
    first, second, other = (
        "2024-01-01|NG|NGN||funding|1",
        "2024-01-01|NG|NGN||funding|2",
        "2024-02-01|NG|NGN||servicing|1",
    )
    warehouse.rows(f"DELETE FROM raw_costs.cost WHERE id = '{first}'")
    warehouse.rows(f"UPDATE raw_costs.cost SET amount = 4 WHERE id = '{second}'")
    warehouse.rows(f"INSERT INTO raw_costs.cost SELECT * FROM raw_costs.cost WHERE id = '{other}'")
    warehouse.rows(f"INSERT INTO raw_costs.cost SELECT * REPLACE ('x' AS id) FROM raw_costs.cost WHERE id = '{second}'")
    january = [("lost", first, ()), ("altered", second, ("amount",)), ("added", "x", ())]
    assert lines_that_differ(settings) == [*january, ("doubled", other, ())]
    assert lines_that_differ(settings, date(2024, 1, 15)) == january


def test_lines_in_quarantine_or_of_a_file_that_changed_since_are_explained(
    file: Path, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    settings = make_settings(costs_file=file)
    file.write_text(HEADER + "2024-01,NG,NGN,,funding,10\n2024-01,NG,NGN,,servicing,ten\n")
    os.utime(file, (0, 0))
    load_source("costs", settings, clock)
    assert [day.explained for day in reconcile_costs(settings).days] == [{"quarantined": 1}]
    file.write_text(HEADER + "2024-01,NG,NGN,,funding,11\n2024-01,NG,NGN,,servicing,ten\n")
    [day] = reconcile_costs(settings).days
    assert (day.state, day.explained) == ("explained", {"changed_since_read": 1, "quarantined": 1})
    os.utime(file, (0, 0))
    assert [kind for kind, *_ in lines_that_differ(settings)] == ["altered"]
