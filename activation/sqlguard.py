"""The front door of a zone: what SQL of a definition may say.

One SELECT over tables of the trusted and kpi zones, and nothing that reaches around them: no file,
no other catalogue, no setting, no wall clock. Belongs here: parsing and refusing. Not here: running.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lendloop.errors import ConfigurationError

READABLE_SCHEMAS = ("trusted", "kpi")

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORBIDDEN_NODES = (exp.DML, exp.DDL, exp.Command, exp.Attach, exp.Pragma, exp.Set, exp.Into, exp.Copy, exp.Describe)
_CLOCK_NODES = (exp.CurrentDate, exp.CurrentTime, exp.CurrentTimestamp, exp.CurrentDatetime)
_CLOCK_NAMES = {
    "now", "today", "get_current_timestamp", "get_current_time", "transaction_timestamp", "current_date",
    "current_timestamp", "current_time", "localtimestamp", "localtime", "current_localtimestamp", "current_localtime",
    "current_datetime",
}  # fmt: skip
_FORBIDDEN_NAMES = re.compile(
    r"(read_.*|.*_scan|glob|sniff_csv|parquet_.*|query|query_table|duckdb_.*|pragma_.*|getenv|getvariable|current_setting"
    r"|set_config|json_execute_serialized_sql|from_substrait.*|which_secret|rand|random|gen_random_uuid|uuid|uuidv4|uuidv7|nextval|currval|txid_current)"
)


@dataclass(frozen=True)
class GuardedQuery:
    """SQL that passed. `tables` as `schema.table`, sorted; `parameters` named in it, without `$`.

    `columns` are the names of the outermost SELECT, empty when a star hides them.
    """

    sql: str
    tables: tuple[str, ...]
    parameters: tuple[str, ...]
    columns: tuple[str, ...]


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
    any; `catalogue` is the known `schema.table` names, None skips that check. Raises ConfigurationError.
    """
    try:
        statements = [statement for statement in sqlglot.parse(sql, dialect="duckdb") if statement is not None]
    except (SqlglotError, RecursionError) as error:
        raise ConfigurationError(f"{where}: not SQL that DuckDB reads: {_first_line(error)}") from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Select | exp.SetOperation):
        raise ConfigurationError(f"{where}: exactly one SELECT is allowed here")
    tree = statements[0]
    local = {cte.alias for cte in tree.find_all(exp.CTE)}
    for name in local:
        if not _PLAIN_NAME.fullmatch(name):
            raise ConfigurationError(f"{where}: the name {name!r} of a WITH query must be a plain word")
    tables: set[str] = set()
    named: set[str] = set()
    for node in tree.walk():
        if isinstance(node, exp.Table):
            table = _table(node, local, where, schemas)
            if table:
                tables.add(table)
        elif isinstance(node, exp.Placeholder | exp.Parameter | exp.SessionParameter):
            named.add(_parameter(node, where, parameters))
        else:
            _refuse(node, where)
    if catalogue is not None and (unknown := sorted(tables - set(catalogue))):
        raise ConfigurationError(f"{where}: no such table: {', '.join(unknown)}")
    columns = () if tree.is_star else tuple(tree.named_selects)
    return GuardedQuery(sql.strip().rstrip(";"), tuple(sorted(tables)), tuple(sorted(named)), columns)


def _table(node: exp.Table, local: set[str], where: str, schemas: Collection[str]) -> str | None:
    if not isinstance(node.this, exp.Identifier):
        raise ConfigurationError(
            f"{where}: {node.this.sql(dialect='duckdb')} is a table function; read tables of {_any(schemas)} only"
        )
    name, schema = node.name, node.db
    if node.catalog or len(node.parts) > 2:
        raise ConfigurationError(f"{where}: {node.sql(dialect='duckdb')} names another catalogue; write schema.table")
    if not _PLAIN_NAME.fullmatch(name) or (schema and not _PLAIN_NAME.fullmatch(schema)):
        raise ConfigurationError(f"{where}: {name!r} is no plain table name")
    if not schema:
        if name.lower() in {known.lower() for known in local}:
            return None
        raise ConfigurationError(f"{where}: table {name} has no schema; read tables of {_any(schemas)} only")
    if schema.lower() not in schemas:
        raise ConfigurationError(f"{where}: {schema}.{name} is not in {_any(schemas)}, the only zones to read here")
    return f"{schema.lower()}.{name.lower()}"


def _parameter(node: exp.Expr, where: str, known: Collection[str] | None) -> str:
    name = str(node.name or "")
    if not isinstance(node, exp.Placeholder) and not _PLAIN_NAME.fullmatch(name):
        raise ConfigurationError(f"{where}: {node.sql(dialect='duckdb')} is no parameter; name it like $as_of")
    if not _PLAIN_NAME.fullmatch(name):
        raise ConfigurationError(f"{where}: parameters have names, like $as_of")
    if known is not None and name not in known:
        raise ConfigurationError(
            f"{where}: unknown parameter ${name}; known: {', '.join('$' + k for k in sorted(known))}"
        )
    return name


def _refuse(node: exp.Expr, where: str) -> None:
    if isinstance(node, _FORBIDDEN_NODES):
        raise ConfigurationError(f"{where}: {type(node).__name__.upper()} is not allowed; one SELECT only")
    name = ""
    if isinstance(node, exp.Anonymous):
        name = str(node.this).lower()
    elif isinstance(node, exp.Func):
        name = node.sql_name().lower()
    elif isinstance(node, exp.Column) and not node.table and node.name.lower() in _CLOCK_NAMES:
        name = node.name.lower()
    if isinstance(node, _CLOCK_NODES) or name in _CLOCK_NAMES:
        raise ConfigurationError(f"{where}: the wall clock ({name or 'current_date'}) is not allowed; use $as_of")
    if name and _FORBIDDEN_NAMES.fullmatch(name):
        raise ConfigurationError(f"{where}: function {name} is not allowed in a definition")


def _any(schemas: Collection[str]) -> str:
    return " and ".join(schemas)


def _first_line(error: Exception) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()[0] if str(error) else type(error).__name__
