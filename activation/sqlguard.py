"""The front door of a zone: what SQL of a definition may say.

One SELECT over tables of the trusted and kpi zones that names its columns and calls functions that are known to look
at their arguments only: no file, no other catalogue, no setting, no clock, no chance. The text is read by DuckDB's own
parser, which will read it again when it runs, and what is not allowed here is refused. Belongs here: parsing and
refusing. Not here: which column a definition may use (`door`), running.
"""

from __future__ import annotations

import atexit
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import duckdb

from lendloop.errors import ConfigurationError

READABLE_SCHEMAS = ("trusted", "kpi")

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUERIES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_RELATIONS = {"BASE_TABLE", "SUBQUERY", "JOIN", "EMPTY", "EXPRESSION_LIST"}
_EXPRESSIONS = {
    "BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "LAMBDA",
    "OPERATOR", "PARAMETER", "SUBQUERY", "TYPE", "WINDOW",
}  # fmt: skip
_PARTS = {"ORDER_MODIFIER", "DISTINCT_MODIFIER", "LIMIT_MODIFIER", "ORDER_DEFAULT", "ASCENDING", "DESCENDING"}
_REFUSED = {
    "STAR": "a star hides which columns it reads; name them",
    "POSITIONAL_REFERENCE": "a column by its position; name it",
    "TABLE_FUNCTION": "a table function",
    "SHOW_REF": "DESCRIBE, SHOW or SUMMARIZE",
    "PIVOT": "PIVOT; write CASE and GROUP BY",
}
_CLOCK_NAMES = {
    "now", "today", "get_current_timestamp", "get_current_time", "transaction_timestamp", "current_date",
    "current_timestamp", "current_time", "localtimestamp", "localtime", "current_localtimestamp", "current_localtime",
    "current_datetime", "ago",
}  # fmt: skip
_SESSION_NAMES = {"user", "session_user", "current_user", "current_role", "current_catalog", "current_schema"}
_FUNCTIONS: dict[str, str] = {
    "operators": """
        + - * / // % ^ ** & | || ! ~ ~~ !~~ ~~* !~~* ~~~ -> ->> @> <@ && ^@ like_escape not_like_escape ilike_escape
        not_ilike_escape row list_value struct_pack map array_value
    """,
    "numbers": """
        abs ceil ceiling cbrt even exp floor fmod greatest least ln log log10 log2 mod pi pow power round round_even sign
        sqrt trunc add subtract multiply divide isnan isinf isfinite gcd lcm
    """,
    "text": """
        ascii bar chr concat concat_ws contains ends_with format format_bytes instr jaccard jaro_similarity
        jaro_winkler_similarity damerau_levenshtein levenshtein lcase left len length lower lpad ltrim nfc_normalize
        position prefix printf regexp_extract regexp_full_match regexp_matches regexp_replace regexp_split_to_array repeat
        replace reverse right rpad rtrim split split_part starts_with str_split string_split strip_accents strlen strpos
        substr substring suffix translate trim ucase upper md5 sha256 hash
    """,
    "time": """
        century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname
        dayofmonth dayofweek dayofyear days_in_month decade epoch epoch_ms hour isodow isoyear julian last_day make_date
        make_time make_timestamp make_timestamptz minute month monthname quarter second strftime strptime try_strptime
        time_bucket timezone to_days to_hours to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp
        to_weeks to_years week weekday weekofyear year yearweek normalized_interval
    """,
    "choices and nested values": """
        coalesce constant_or_null if ifnull nullif array_contains array_length cardinality element_at flatten
        generate_series range unnest list_concat list_contains list_distinct list_extract list_filter list_has list_max
        list_min list_position list_slice list_sort list_sum list_transform list_unique map_contains map_entries
        map_extract map_extract_value map_from_entries map_keys map_values struct_extract struct_extract_at json_array
        json_array_length json_contains json_exists json_extract json_extract_path json_extract_path_text
        json_extract_string json_keys json_object json_type json_valid json_value to_json
    """,
    "aggregates and windows": """
        any_value approx_count_distinct approx_quantile arbitrary arg_max arg_min argmax argmin array_agg avg bit_and
        bit_or bool_and bool_or corr count count_if count_star countif covar_pop covar_samp favg first fsum group_concat
        kurtosis last list listagg mad max max_by mean median min min_by mode product quantile quantile_cont
        quantile_disc regr_intercept regr_r2 regr_slope skewness stddev stddev_pop stddev_samp string_agg sum var_pop
        var_samp variance cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank
        row_number
    """,
}
"""Functions whose answer follows from their arguments, and what operators, casts and literals become.

One that is missing is added here once that was looked at.
"""
_ALLOWED = frozenset(" ".join(_FUNCTIONS.values()).split())


class ZoneError(ConfigurationError):
    """A definition names a table outside the zones it may read: `table`, as `schema.table`."""

    def __init__(self, text: str, table: str) -> None:
        super().__init__(text)
        self.table = table


@dataclass(frozen=True)
class GuardedQuery:
    """SQL that passed. `tables` as `schema.table`, sorted; `parameters` named in it, without `$`.

    `columns` are the names of the outermost SELECT; one that has no name of its own is empty. `names` are all
    names of columns that are written anywhere in it, in lower case.
    """

    sql: str
    tables: tuple[str, ...]
    parameters: tuple[str, ...]
    columns: tuple[str, ...]
    names: frozenset[str] = frozenset()


def guard_sql(
    sql: str,
    where: str,
    *,
    parameters: Collection[str] | None = None,
    catalogue: Collection[str] | None = None,
    schemas: Collection[str] = READABLE_SCHEMAS,
) -> GuardedQuery:
    """Let one SELECT over `schemas` through.

    `where` opens each message: the file and field. `parameters` are the known names, None accepts
    any; `catalogue` is the known `schema.table` names, None skips that check. Raises ConfigurationError,
    its subclass ZoneError for a table of another zone.
    """
    node = _parse(sql, where)
    reader = _Reader(where, frozenset(parameters) if parameters is not None else None, tuple(schemas))
    reader.read(node, frozenset())
    if reader.outside:
        raise reader.outside[0]
    if catalogue is not None and (unknown := sorted(reader.tables - set(catalogue))):
        raise ConfigurationError(f"{where}: no such table: {', '.join(unknown)}")
    return GuardedQuery(
        sql=sql.strip().rstrip(";"),
        tables=tuple(sorted(reader.tables)),
        parameters=tuple(sorted(reader.parameters)),
        columns=tuple(_columns(node)),
        names=frozenset(reader.names),
    )


def guard_formula(formula: str, where: str, columns: Collection[str]) -> None:
    """Let one expression over `columns` through: no table, no parameter. Raises ConfigurationError."""
    node = _parse(f"select {formula} as formula", where)
    reader = _Reader(where, frozenset(), ())
    reader.read(node, frozenset())
    if len(node.get("select_list", [])) != 1 or reader.subqueries or node.get("from_table", {}).get("type") != "EMPTY":
        raise ConfigurationError(f"{where}: one expression over {_any(columns)} is allowed here")
    if unknown := sorted(reader.names - set(columns)):
        raise ConfigurationError(f"{where}: {unknown[0]} is none of {_any(columns)}")


def _parse(sql: str, where: str) -> dict[str, Any]:
    """DuckDB's own tree of the one SELECT that a text holds."""
    try:
        options = "skip_null := true, skip_empty := true, skip_default := true"
        rows = _parser().cursor().execute(f"select json_serialize_sql(?, {options})", [sql]).fetchall()
        answer = json.loads(rows[0][0])
    except (duckdb.Error, RecursionError, UnicodeError) as error:
        raise ConfigurationError(f"{where}: not SQL that DuckDB reads: {_first_line(str(error))}") from None
    if answer.get("error_type") == "not implemented" or len(answer.get("statements", [])) > 1:
        raise ConfigurationError(f"{where}: exactly one SELECT is allowed here")
    if answer["error"] or not answer.get("statements"):
        raise ConfigurationError(f"{where}: not SQL that DuckDB reads: {_first_line(answer.get('error_message', ''))}")
    node: dict[str, Any] = answer["statements"][0]["node"]
    return node


@lru_cache(maxsize=1)
def _parser() -> duckdb.DuckDBPyConnection:
    """One for the process, since opening one takes longer than reading a definition; let go of before Python ends."""
    connection = duckdb.connect(":memory:", config={"threads": 1})
    atexit.register(_parser.cache_clear)
    atexit.register(connection.close)
    return connection


@dataclass
class _Reader:
    """Walks DuckDB's tree and refuses whatever is not known to be harmless."""

    where: str
    known: frozenset[str] | None
    schemas: tuple[str, ...]
    tables: set[str] = field(default_factory=set)
    parameters: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    """Columns as they are written, without what is before the dot."""
    subqueries: int = 0
    outside: list[ZoneError] = field(default_factory=list)

    def read(self, node: Any, named: frozenset[str]) -> None:
        """`named`: WITH queries in reach, in lower case."""
        if isinstance(node, list):
            for part in node:
                self.read(part, named)
        elif isinstance(node, dict):
            self._node(node, named)

    def _node(self, node: dict[str, Any], named: frozenset[str]) -> None:
        kind = node.get("type")
        if "class" in node:
            if node["class"] not in _EXPRESSIONS:
                raise self._fault(_REFUSED.get(node["class"], node["class"]))
            self._expression(node)
        elif "cte_map" in node:
            if kind not in _QUERIES:
                raise self._fault(f"{str(kind).split('_')[0]}; one SELECT only")
            named = self._with(node, named)
        elif kind in _RELATIONS:
            if kind == "BASE_TABLE":
                self._table(node, named)
        elif isinstance(kind, str) and kind not in _PARTS:
            raise self._fault(_REFUSED.get(kind, kind))
        for refused, text in (("sample", "a sample is drawn by chance"), ("at_clause", "another version of a table")):
            if refused in node:
                raise self._fault(text)
        for name, part in node.items():
            if name == "cte_map" or (name == "expression" and kind in _PARTS and _is_all(part)):
                continue
            self.read(part, named)

    def _with(self, node: dict[str, Any], named: frozenset[str]) -> frozenset[str]:
        for entry in node["cte_map"].get("map", []):
            name = str(entry["key"])
            if not _PLAIN_NAME.fullmatch(name):
                raise ConfigurationError(f"{self.where}: the name {name!r} of a WITH query must be a plain word")
            query = entry["value"]["query_node"]
            itself = {name.lower()} if query.get("type") == "RECURSIVE_CTE_NODE" else set()
            self.read(entry["value"], named | itself)
            named |= {name.lower()}
        return named

    def _table(self, node: dict[str, Any], named: frozenset[str]) -> None:
        path = node["qualified_name"]["path"]
        written = ".".join(path)
        if len(path) > 2:
            raise ConfigurationError(f"{self.where}: {written} names another catalogue; write schema.table")
        if not all(_PLAIN_NAME.fullmatch(part) for part in path):
            raise ConfigurationError(f"{self.where}: {path[-1]!r} is no plain table name")
        if len(path) == 1:
            if path[0].lower() not in named:
                raise ConfigurationError(
                    f"{self.where}: table {written} has no schema; read tables of {_any(self.schemas)} only"
                )
            return
        schema, name = path[0].lower(), path[1].lower()
        if schema not in self.schemas:
            text = f"{self.where}: {schema}.{name} is not in {_any(self.schemas)}, the only zones to read here"
            self.outside.append(ZoneError(text, f"{schema}.{name}"))
            return
        self.tables.add(f"{schema}.{name}")

    def _expression(self, node: dict[str, Any]) -> None:
        kind = node["class"]
        if kind == "PARAMETER":
            self.parameters.add(self._parameter(str(node.get("identifier", ""))))
        elif kind == "COLUMN_REF":
            name = str(node["column_names"][-1]).lower()
            self.names.add(name)
            if len(node["column_names"]) == 1 and name in _CLOCK_NAMES:
                raise self._clock(name)
            if len(node["column_names"]) == 1 and name in _SESSION_NAMES:
                raise self._fault(f"the session's {name}")
        elif kind == "SUBQUERY":
            self.subqueries += 1
        elif kind in ("FUNCTION", "WINDOW"):
            name = str(node.get("function_name", "")).lower()
            if name in _CLOCK_NAMES:
                raise self._clock(name)
            if name not in _ALLOWED or len(node["qualified_name"]["path"]) != 1:
                written = ".".join(node["qualified_name"]["path"])
                raise ConfigurationError(f"{self.where}: function {written} is not allowed in a definition")

    def _parameter(self, name: str) -> str:
        if not _PLAIN_NAME.fullmatch(name):
            raise ConfigurationError(f"{self.where}: parameters have names, like $as_of")
        if self.known is not None and name not in self.known:
            known = ", ".join("$" + one for one in sorted(self.known))
            raise ConfigurationError(f"{self.where}: unknown parameter ${name}; known: {known or 'none'}")
        return name

    def _clock(self, name: str) -> ConfigurationError:
        return ConfigurationError(f"{self.where}: the wall clock ({name}) is not allowed; use $as_of")

    def _fault(self, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self.where}: not allowed in a definition: {what}")


def _is_all(expression: Any) -> bool:
    """Whether this is the `all` of ORDER BY ALL, which means the columns that the SELECT names."""
    return isinstance(expression, dict) and set(expression) == {"class", "type", "columns"} and expression["columns"]


def _columns(node: dict[str, Any]) -> Iterator[str]:
    while "select_list" not in node:
        node = node.get("left") or node["children"][0]
    for column in node["select_list"]:
        yield str(column.get("alias") or (column.get("column_names") or [""])[-1])


def _any(names: Collection[str]) -> str:
    return " and ".join(names)


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else "unreadable"
