from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.contract import cast, column_name, row_hash, type_of_arrow
from ingestion.tables import ColumnType


def converted_all(values: pa.Array, target: ColumnType) -> list[Any]:
    """What the contract makes of a column's values; None where it refuses one."""
    with duckdb.connect() as connection:
        connection.execute("SET timezone = 'UTC'")
        connection.register("batch", pa.table({"v": values}))
        expression, _ = cast('"v"', values.type, target)
        return [row[0] for row in connection.execute(f"SELECT {expression} FROM batch").fetchall()]


def converted(value: pa.Array, target: ColumnType) -> Any:
    """What the contract makes of a column's first value."""
    return converted_all(value, target)[0]


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ("42", "bigint", 42),
        (" -7 ", "bigint", -7),
        ("12.0", "bigint", 12),
        ("1.5", "bigint", None),
        ("1e3", "bigint", None),
        ("9223372036854775808", "bigint", None),
        ("", "bigint", None),
        ("100.123456", "money", Decimal("100.123456")),
        ("100.1234560000", "money", Decimal("100.123456")),
        ("100.1234567", "money", None),
        ("-0.000001", "money", Decimal("-0.000001")),
        ("9999999999999.999999", "money", Decimal("9999999999999.999999")),
        ("10000000000000", "money", None),
        ("1,000.00", "money", None),
        ("NaN", "money", None),
        ("2024-02-29", "date", date(2024, 2, 29)),
        ("2024-02-29T00:00:00Z", "date", date(2024, 2, 29)),
        ("2024-02-29 10:00:00", "date", None),
        ("2024-02-30", "date", None),
        ("29/02/2024", "date", None),
        ("1899-12-31", "date", None),
        ("2200-01-01", "date", None),
        ("infinity", "date", None),
        ("2024-01-01 10:00:00.5", "timestamp", datetime(2024, 1, 1, 10, 0, 0, 500000, UTC)),
        ("2024-01-01T10:00:00.123Z", "timestamp", datetime(2024, 1, 1, 10, 0, 0, 123000, UTC)),
        ("2024-01-01T10:00:00+02:00", "timestamp", datetime(2024, 1, 1, 8, 0, tzinfo=UTC)),
        ("2024-01-01", "timestamp", datetime(2024, 1, 1, tzinfo=UTC)),
        ("yesterday", "timestamp", None),
        ("9999-12-31T00:00:00Z", "timestamp", None),
        ("true", "bool", True),
        ("0", "bool", False),
        ("maybe", "bool", None),
        ('{"a": 1}', "json", '{"a": 1}'),
        ("{", "json", None),
        ("Zoë 🎉", "text", "Zoë 🎉"),
        ("a\x00b", "text", None),
    ],
)
def test_a_text_becomes_the_declared_type_exactly_or_not_at_all(text: str, target: ColumnType, expected: Any) -> None:
    assert converted(pa.array([text]), target) == expected


@pytest.mark.parametrize(
    ("value", "target", "expected"),
    [
        (pa.array([1]), "bool", True),
        (pa.array([2]), "bool", None),
        (pa.array([0.1]), "money", Decimal("0.1")),
        (pa.array([1.5]), "bigint", None),
        (pa.array([2.0]), "bigint", 2),
        (pa.array([Decimal("1.0000000001")], pa.decimal128(38, 10)), "money", None),
        (pa.array([Decimal("1.1000000000")], pa.decimal128(38, 10)), "money", Decimal("1.1")),
        (pa.array([Decimal("99999999999999")], pa.decimal128(38, 0)), "money", None),
        (
            pa.array([datetime(2024, 1, 1, 10, tzinfo=UTC)], pa.timestamp("us")),
            "timestamp",
            datetime(2024, 1, 1, 10, tzinfo=UTC),
        ),
        (pa.array([datetime(2024, 1, 1, 10, tzinfo=UTC)], pa.timestamp("us")), "date", None),
        (pa.array([True]), "text", "true"),
        (pa.array([5]), "text", "5"),
        (pa.array([True]), "money", None),
        (pa.array([None]), "date", None),
    ],
)
def test_an_arrow_value_becomes_the_declared_type_exactly_or_not_at_all(
    value: pa.Array, target: ColumnType, expected: Any
) -> None:
    assert converted(value, target) == expected


AMOUNTS = st.decimals(min_value=-9_999_999_999_999, max_value=9_999_999_999_999, places=6)


@settings(deadline=None, max_examples=10)
@given(st.lists(AMOUNTS, min_size=10, max_size=30))
def test_money_survives_as_text_and_as_decimal(amounts: list[Decimal]) -> None:
    assert converted_all(pa.array([f"{amount:f}" for amount in amounts]), "money") == amounts
    assert converted_all(pa.array(amounts, pa.decimal128(38, 10)), "money") == amounts


def test_an_undeclared_column_gets_a_type_that_holds_it_exactly() -> None:
    assert type_of_arrow(pa.decimal128(19, 6)) == "money"
    assert type_of_arrow(pa.decimal128(38, 10)) == "text"
    assert type_of_arrow(pa.float64()) == "text"
    assert type_of_arrow(pa.int32()) == "bigint"


def test_names_become_snake_case_and_never_a_reserved_one() -> None:
    assert column_name("brandNew Column") == "brand_new_column"
    assert column_name("_row_hash") == "x_row_hash"
    assert column_name("2fa") == "x_2fa"


def test_a_new_column_without_a_value_leaves_the_hash_as_it_was() -> None:
    with duckdb.connect() as connection:
        before = connection.execute(f"SELECT {row_hash({'a': 'text'})} FROM (SELECT 'x' AS a)").fetchall()
        after = connection.execute(
            f"SELECT {row_hash({'a': 'text', 'b': 'text'})} FROM (SELECT 'x' AS a, NULL::VARCHAR AS b)"
        ).fetchall()
    assert before == after
