"""The contract of a raw column, as SQL: how a value becomes the declared type, and when it can't.

What belongs here: pure text of DuckDB expressions. What does not: running them.

A cast never loses anything: a value that the declared type can't hold exactly is a fault. What
becomes of its row says judging. Dates lie between 1900 and 2200; text holds no NUL.
"""

from __future__ import annotations

import re

import pyarrow as pa

from ingestion.tables import MONEY_PRECISION, MONEY_SCALE, TECHNICAL_COLUMNS, ColumnType, RawTable

MONEY = f"DECIMAL({MONEY_PRECISION},{MONEY_SCALE})"
SQL_TYPES: dict[ColumnType, str] = {
    "text": "VARCHAR",
    "bigint": "BIGINT",
    "money": MONEY,
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "bool": "BOOLEAN",
    "json": "VARCHAR",
}
LOAD_COLUMNS = ("_dlt_load_id",)
"""Columns that the loader adds itself."""
RESERVED = frozenset({*TECHNICAL_COLUMNS, *LOAD_COLUMNS})

_INTEGER = r"[+-]?\d{1,19}(\.0+)?"
_MONEY = r"[+-]?(\d+(\.\d{0,6}0*)?|\.\d{1,6}0*)"
_DATE = r"\d{4}-\d{2}-\d{2}([T ]00:00(:00(\.0+)?)?(Z|[+-]00(:?00)?)?)?"
_TIMESTAMP = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)? ?(Z|[+-]\d{2}(:\d{2})?)?)?"
_DATE_RANGE = "BETWEEN DATE '1900-01-01' AND DATE '2199-12-31'"
_TIME_RANGE = "BETWEEN TIMESTAMPTZ '1900-01-01 00:00:00+00' AND TIMESTAMPTZ '2199-12-31 23:59:59.999999+00'"


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def column_name(vendor_name: str) -> str:
    """A vendor's column name as raw spells it: snake_case; one that is reserved gets `x` in front."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", vendor_name)
    name = re.sub(r"[^0-9a-z]+", "_", spaced.lower()).strip("_") or "column"
    if vendor_name.lower() in RESERVED or name[0].isdigit():
        name = f"x_{name}"
    return name


def type_of_arrow(kind: pa.DataType) -> ColumnType:
    """The type that an undeclared column of this Arrow type gets; text where nothing else is exact."""
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "bigint"
    if pa.types.is_date(kind):
        return "date"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if (
        pa.types.is_decimal(kind)
        and 0 <= kind.scale <= MONEY_SCALE
        and kind.precision - kind.scale <= MONEY_PRECISION - MONEY_SCALE
    ):
        return "money"
    return "text"


def type_of_sql(name: str) -> ColumnType:
    """The contract type of an existing raw column, from DuckDB's name of its type."""
    for kind, sql in SQL_TYPES.items():
        if name.upper() == sql:
            return kind
    return "text"


def cast(value: str, kind: pa.DataType, target: ColumnType) -> tuple[str, bool]:
    """SQL that turns `value`, of the Arrow type `kind`, into `target`; NULL where that is not exact.

    The flag says whether it can fail at all: where it can't, nothing needs to be compared.
    """
    if pa.types.is_null(kind):
        return f"CAST(NULL AS {SQL_TYPES[target]})", False
    if not _is_plain(kind):
        value, kind = f"CAST({value} AS VARCHAR)", pa.string()
    if target in ("text", "json"):
        return _to_text(value, kind, target)
    if target == "bigint":
        return _to_bigint(value, kind)
    if target == "money":
        return _to_money(value, kind)
    if target == "bool":
        return _to_bool(value, kind)
    return _to_date(value, kind) if target == "date" else _to_timestamp(value, kind)


def _is_plain(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or _is_text(kind)
        or pa.types.is_date(kind)
        or pa.types.is_timestamp(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _matching(value: str, pattern: str, result: str) -> str:
    return f"CASE WHEN regexp_full_match(trim({value}), {literal(pattern)}) THEN {result} END"


def _to_text(value: str, kind: pa.DataType, target: ColumnType) -> tuple[str, bool]:
    text = value if _is_text(kind) else f"CAST({value} AS VARCHAR)"
    if target == "json":
        return f"CASE WHEN json_valid({text}) THEN {text} END", True
    if not _is_text(kind):
        return text, False
    return f"CASE WHEN NOT contains({text}, chr(0)) THEN {text} END", True


def text_list(text: str) -> str:
    """SQL of a text where it is a JSON list of texts, else NULL."""
    return (
        f"CASE WHEN json_valid({text}) THEN CASE WHEN json_type({text}) = 'ARRAY' THEN CASE WHEN "
        f"len(list_filter(json_extract({text}, '$[*]'), lambda one: json_type(one) <> 'VARCHAR')) = 0 THEN {text} END END END"
    )


def _to_bigint(value: str, kind: pa.DataType) -> tuple[str, bool]:
    if _is_text(kind):
        bare = f"regexp_replace(trim({value}), '\\.0+$', '')"
        return _matching(value, _INTEGER, f"TRY_CAST({bare} AS BIGINT)"), True
    if pa.types.is_integer(kind):
        return f"TRY_CAST({value} AS BIGINT)", kind == pa.uint64()
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return f"CASE WHEN {value} = trunc({value}) THEN TRY_CAST({value} AS BIGINT) END", True
    return "CAST(NULL AS BIGINT)", True


def _to_money(value: str, kind: pa.DataType) -> tuple[str, bool]:
    if pa.types.is_floating(kind):
        value, kind = f"CAST({value} AS VARCHAR)", pa.string()
    if _is_text(kind):
        return _matching(value, _MONEY, f"TRY_CAST(trim({value}) AS {MONEY})"), True
    if pa.types.is_decimal(kind) and kind.scale > MONEY_SCALE:
        return f"CASE WHEN TRY_CAST({value} AS {MONEY}) = {value} THEN TRY_CAST({value} AS {MONEY}) END", True
    if pa.types.is_decimal(kind) or pa.types.is_integer(kind):
        return f"TRY_CAST({value} AS {MONEY})", True
    return f"CAST(NULL AS {MONEY})", True


def _to_bool(value: str, kind: pa.DataType) -> tuple[str, bool]:
    if pa.types.is_boolean(kind):
        return value, False
    if _is_text(kind):
        return (
            f"CASE WHEN lower(trim({value})) IN ('true', 't', '1', 'yes') THEN true "
            f"WHEN lower(trim({value})) IN ('false', 'f', '0', 'no') THEN false END",
            True,
        )
    if pa.types.is_integer(kind):
        return f"CASE {value} WHEN 1 THEN true WHEN 0 THEN false END", True
    return "CAST(NULL AS BOOLEAN)", True


def _to_date(value: str, kind: pa.DataType) -> tuple[str, bool]:
    if _is_text(kind):
        date = _matching(value, _DATE, f"TRY_CAST(left(trim({value}), 10) AS DATE)")
    elif pa.types.is_date(kind):
        date = f"CAST({value} AS DATE)"
    elif pa.types.is_timestamp(kind):
        date = f"CASE WHEN {value} = date_trunc('day', {value}) THEN CAST({value} AS DATE) END"
    else:
        return "CAST(NULL AS DATE)", True
    return f"CASE WHEN {date} {_DATE_RANGE} THEN {date} END", True


def _to_timestamp(value: str, kind: pa.DataType) -> tuple[str, bool]:
    """Naive times are UTC: so the ledger writes them."""
    if _is_text(kind):
        moment = _matching(value, _TIMESTAMP, f"TRY_CAST(trim({value}) AS TIMESTAMPTZ)")
    elif pa.types.is_timestamp(kind) and kind.tz is not None:
        moment = f"CAST({value} AS TIMESTAMPTZ)"
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        moment = f"(CAST({value} AS TIMESTAMP) AT TIME ZONE 'UTC')"
    else:
        return "CAST(NULL AS TIMESTAMPTZ)", True
    return f"CASE WHEN {moment} {_TIME_RANGE} THEN {moment} END", True


def weight(table: RawTable) -> str:
    """SQL of what one row weighs when two sides are compared by one number: a whole-number key itself, so that a row
    that went and another that came do not cancel out; else 1."""
    if len(table.key) == 1 and table.columns[table.key[0]] == "bigint":
        return f"({quoted(table.key[0])}::HUGEINT + 1)"
    return "1::HUGEINT"


def row_hash(columns: dict[str, ColumnType]) -> str:
    """SQL of `_row_hash`: md5 over the named, non-NULL values, so that a new column without a value changes nothing."""
    parts = []
    for name in sorted(columns):
        value = quoted(name)
        text = f"CAST(epoch_us({value}) AS VARCHAR)" if columns[name] == "timestamp" else f"CAST({value} AS VARCHAR)"
        parts.append(f"{literal(name + '=')} || {text} || chr(30)")
    return f"md5(concat({', '.join(parts)}))"
