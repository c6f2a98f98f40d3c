"""Where the columns of one SELECT come from, read from its SQL: values apart from what only decides which rows there are.

Belongs here: one statement and the columns of the tables it names. Not here: the graph of many (`lineage`), any rule on
what may be read (`access`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify

from lendloop.errors import ConfigurationError


class Kind(IntEnum):
    """How a column is made of another, along a path the strongest of its steps."""

    IDENTITY = 0
    """The value itself, renamed or cast."""
    TRANSFORM = 1
    """Computed row by row."""
    AGGREGATE = 2
    """Computed over many rows."""


class Leaves(IntEnum):
    """What of the other column can be read off the result: along a path the least of its steps."""

    NOTHING = 0
    """A truth, a count: no single value."""
    HASH = 1
    """A hash, the same for the same value."""
    VALUE = 2
    """A value, or a part or spelling of it."""


class Way(StrEnum):
    """How a column decides which rows there are, without being in them."""

    FILTER = "filter"
    JOIN = "join"
    GROUP = "group"


@dataclass(frozen=True)
class Use:
    """How one column makes another."""

    kind: Kind = Kind.IDENTITY
    leaves: Leaves = Leaves.VALUE

    def then(self, later: Use) -> Use:
        """This step and a later one."""
        return Use(max(self.kind, later.kind), min(self.leaves, later.leaves))

    def or_else(self, other: Use) -> Use:
        """Two ways beside each other: the more direct one tells."""
        return Use(min(self.kind, other.kind), max(self.leaves, other.leaves))


Uses = dict[str, Use]
"""By `schema.table.column`."""


@dataclass
class Traced:
    """`columns` in the order of the SELECT, each with what it is made of; `rows`: what decides which rows there are."""

    columns: dict[str, Uses] = field(default_factory=dict)
    rows: dict[str, set[Way]] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    """Every name of a column that the statement writes anywhere, its own aliases included."""

    def read(self) -> set[str]:
        """Every column that is read, for whatever purpose."""
        return {*self.rows, *(ref for uses in self.columns.values() for ref in uses)}


COMPUTED = Use(Kind.TRANSFORM, Leaves.VALUE)
JUDGED = Use(Kind.TRANSFORM, Leaves.NOTHING)
HASHED = Use(Kind.TRANSFORM, Leaves.HASH)
COUNTED = Use(Kind.AGGREGATE, Leaves.NOTHING)
PICKED = Use(Kind.AGGREGATE, Leaves.VALUE)

_COUNTING = (exp.ApproxDistinct, exp.Count, exp.CountIf, exp.LogicalAnd, exp.LogicalOr)
"""A sum, a mean or a deviation is none of them: over one row, or one beside a constant, it is the value."""
_BY_ORDER = (exp.ArgMax, exp.ArgMin)
_RANKING = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile)
_NEIGHBOURS = (exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue)
_HASHING = (exp.MD5, exp.MD5Digest, exp.SHA, exp.SHA2)
_HASHING_NAMES = {"hash", "hmac", "sha1", "sha256", "md5_number", "md5_number_lower", "md5_number_upper"}
_MEASURING = (exp.Length,)
_UNREADABLE: dict[type[exp.Expr], str] = {
    exp.ToMap: "MAP {...} can't be followed here; write map([keys], [values])",
    exp.Columns: "COLUMNS(...) can't be followed here; name the columns",
}


def trace(sql: str, tables: Mapping[str, Iterable[str]], where: str) -> Traced:
    """Where the columns of one SELECT of DuckDB's dialect come from.

    `tables`: columns by `schema.table`. A table that is not among them may be read as long as it is plain whose its
    columns are: named `table.column`, or the only table there. The name of a catalogue is passed over. Raises
    ConfigurationError, opened by `where`, for SQL that can't be read or followed, and for a column that no table has.
    """
    schema: dict[str, dict[str, dict[str, str]]] = {}
    for key, columns in tables.items():
        zone, _, name = key.partition(".")
        schema.setdefault(zone, {})[name] = dict.fromkeys(columns, "unknown")
    try:
        tree: exp.Expr = sqlglot.parse_one(sql, dialect="duckdb")
        for table in tree.find_all(exp.Table):
            table.set("catalog", None)
        _complete(tree, schema)
        known: dict[str, object] = {**schema}
        tree = qualify(
            tree, dialect="duckdb", schema=known, infer_schema=False, quote_identifiers=False, identify=False
        )
    except (SqlglotError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigurationError(f"{where}: {first}") from None
    if not isinstance(tree, exp.Query):
        raise ConfigurationError(f"{where}: not a SELECT")
    names = _names(tree)
    traced = _Reader(schema, where).query(tree, {}, {})
    traced.names = names
    return traced


def _complete(tree: exp.Expr, schema: dict[str, dict[str, dict[str, str]]]) -> None:
    """Give a table that is not known the columns that the SELECT around it names, when no other can have them."""
    for table in tree.find_all(exp.Table):
        if not table.db or table.name.lower() in schema.get(table.db.lower(), {}):
            continue
        select = table.parent_select
        if not isinstance(select, exp.Select):
            continue
        alone = len(list(select.find_all(exp.Table))) == 1
        named = {
            column.name.lower(): "unknown"
            for column in select.find_all(exp.Column)
            if column.table == table.alias_or_name or (alone and not column.table)
        }
        schema.setdefault(table.db.lower(), {})[table.name.lower()] = named


def _names(tree: exp.Expr) -> frozenset[str]:
    nodes = tree.find_all(exp.Column, exp.Alias, exp.TableAlias, exp.Lambda, exp.Dot)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, exp.TableAlias):
            found.update(column.name.lower() for column in node.columns)
        elif isinstance(node, exp.Lambda):
            found.update(parameter.name.lower() for parameter in node.expressions)
        else:
            found.add((node.expression if isinstance(node, exp.Dot) else node).alias_or_name.lower())
    return frozenset(found)


class _Reader:
    """Evaluates a qualified tree from the inside out: every relation is what `Traced` says of it."""

    def __init__(self, schema: Mapping[str, Mapping[str, Mapping[str, str]]], where: str) -> None:
        self.schema, self.where = schema, where

    def query(self, node: exp.Expr, named: Mapping[str, Traced], around: Mapping[str, Traced]) -> Traced:
        """`named`: WITH queries in reach, by name; `around`: sources of the queries around this one, by alias."""
        while isinstance(node, exp.Subquery | exp.Paren) and not node.args.get("with_"):
            node = node.this
        named = self._with(node, named, around)
        if isinstance(node, exp.Subquery):
            return self.query(node.this, named, around)
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, named, around)
        if isinstance(node, exp.Select):
            return self._select(node, named, around)
        raise self.fault(f"{node.key.upper()} can't be read here")

    def _with(self, node: exp.Expr, named: Mapping[str, Traced], around: Mapping[str, Traced]) -> Mapping[str, Traced]:
        clause = node.args.get("with_")
        if not clause:
            return named
        known = dict(named)
        for cte in clause.expressions:
            name = cte.alias.lower()
            if clause.args.get("recursive") and any(
                table.name.lower() == name and not table.db for table in cte.this.find_all(exp.Table)
            ):
                known[name] = self._recursive(cte, name, known, around)
            else:
                known[name] = _renamed(self.query(cte.this, known, around), cte)
        return known

    def _recursive(self, cte: exp.CTE, name: str, named: Mapping[str, Traced], around: Mapping[str, Traced]) -> Traced:
        """A query over itself: from nothing, until another turn adds nothing."""
        columns = [column.name for column in cte.args["alias"].columns] or cte.this.named_selects
        now = Traced({column.lower(): {} for column in columns})
        while True:
            again = _renamed(self.query(cte.this, {**named, name: now}, around), cte)
            if again == now:
                return now
            now = again

    def _set_operation(
        self, node: exp.SetOperation, named: Mapping[str, Traced], around: Mapping[str, Traced]
    ) -> Traced:
        left, right = self.query(node.left, named, around), self.query(node.right, named, around)
        result = Traced({name: dict(uses) for name, uses in left.columns.items()}, _copied(left.rows))
        _add_rows(result.rows, right.rows)
        if not isinstance(node, exp.Union):
            for uses in right.columns.values():
                _decide(result.rows, uses, Way.FILTER)
            return result
        if node.args.get("by_name"):
            for name, uses in right.columns.items():
                _add(result.columns.setdefault(name, {}), uses)
        elif len(left.columns) != len(right.columns):
            raise self.fault(f"a {node.key.upper()} of {len(left.columns)} and {len(right.columns)} columns")
        else:
            for name, uses in zip(result.columns, right.columns.values(), strict=True):
                _add(result.columns[name], uses)
        return result

    def _select(self, node: exp.Select, named: Mapping[str, Traced], around: Mapping[str, Traced]) -> Traced:
        result = Traced()
        sources: dict[str, Traced] = dict(around)
        scope = _Scope(self, named, sources, result.rows)
        joins = node.args.get("joins") or []
        laterals = node.args.get("laterals") or []
        start = node.args.get("from_")
        for relation in [*([start.this] if start else []), *(join.this for join in joins), *laterals]:
            if relation.args.get("pivots"):
                raise self.fault("PIVOT can't be followed here; write CASE and GROUP BY")
            alias, traced = self._relation(relation, scope)
            _add_rows(result.rows, traced.rows)
            sources[alias] = traced
        for join in joins:
            scope.decide(join.args.get("on"), Way.JOIN)
            for column in join.args.get("using") or []:
                for source in sources.values():
                    _decide(result.rows, source.columns.get(column.name.lower(), {}), Way.JOIN)
        scope.windows = {window.name.lower(): window for window in node.args.get("windows") or []}
        for position, projection in enumerate(node.expressions):
            if projection.is_star:
                raise self.fault("a star that no schema explains; name the columns")
            name = (projection.alias_or_name or f"column{position}").lower()
            if name in result.columns:
                name = f"{name}:{position}"
            result.columns[name] = scope.uses(projection)
            scope.aliases[name] = result.columns[name]
        for clause in ("where", "having", "qualify"):
            if part := node.args.get(clause):
                scope.decide(part.this, Way.FILTER)
        if group := node.args.get("group"):
            for part in group.expressions:
                scope.decide(part, Way.GROUP)
        if distinct := node.args.get("distinct"):
            scope.decide(distinct.args.get("on"), Way.GROUP)
        if (order := node.args.get("order")) and node.args.get("limit"):
            scope.decide(order, Way.FILTER)
        return result

    def _relation(self, node: exp.Expr, scope: _Scope) -> tuple[str, Traced]:
        alias = node.alias_or_name.lower()
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            name = node.name.lower()
            if not node.db and name in scope.named:
                return alias, _renamed(scope.named[name], node)
            columns = self.schema.get(node.db.lower(), {}).get(name)
            if columns is None:
                raise self.fault(f"no such table: {node.sql(dialect='duckdb')}")
            key = f"{node.db.lower()}.{name}"
            return alias, _renamed(Traced({column: {f"{key}.{column}": Use()} for column in columns}), node)
        if isinstance(node, exp.Subquery):
            return alias, _renamed(self.query(node, scope.named, scope.sources), node)
        if isinstance(node, exp.Lateral) and isinstance(node.this, exp.Subquery):
            return alias, _renamed(self.query(node.this, scope.named, scope.sources), node)
        if isinstance(node, exp.Values):
            return alias, self._values(node, scope)
        uses = scope.uses(node.this if isinstance(node, exp.Lateral | exp.Table) else node, COMPUTED)
        names = _alias_columns(node) or [alias]
        return alias, Traced({name: dict(uses) for name in names})

    def _values(self, node: exp.Values, scope: _Scope) -> Traced:
        rows = [row.expressions if isinstance(row, exp.Tuple) else [row] for row in node.expressions]
        names = _alias_columns(node) or [f"col{index}" for index in range(len(rows[0]))]
        result = Traced({name: {} for name in names})
        for row in rows:
            if len(row) != len(names):
                raise self.fault(f"VALUES of {len(names)} and {len(row)} columns")
            for name, cell in zip(names, row, strict=True):
                _add(result.columns[name], scope.uses(cell))
        return result

    def fault(self, text: str) -> ConfigurationError:
        return ConfigurationError(f"{self.where}: {text}")


class _Scope:
    """The names that an expression of one SELECT may use. `bound` are parameters of the lambdas around it."""

    def __init__(
        self,
        reader: _Reader,
        named: Mapping[str, Traced],
        sources: dict[str, Traced],
        rows: dict[str, set[Way]],
        bound: frozenset[str] = frozenset(),
    ) -> None:
        self.reader, self.named, self.sources, self.rows, self.bound = reader, named, sources, rows, bound
        self.aliases: dict[str, Uses] = {}
        self.windows: dict[str, exp.Expr] = {}

    def decide(self, node: exp.Expr | None, way: Way) -> None:
        if node is not None:
            _decide(self.rows, self.uses(node), way)

    def uses(self, node: exp.Expr | None, by: Use | None = None) -> Uses:
        """What an expression is made of, each taken one step further by `by`."""
        found = self._uses(node) if node is not None else {}
        return {ref: use.then(by) for ref, use in found.items()} if by else found

    def _uses(self, node: exp.Expr) -> Uses:
        if isinstance(node, exp.Column):
            return self._column(node)
        if isinstance(node, exp.Identifier | exp.Literal | exp.DataType):
            return {}
        if isinstance(node, exp.Query) or (isinstance(node, exp.Subquery) and isinstance(node.this, exp.Query)):
            traced = self.reader.query(node, self.named, self.sources)
            return _merged([*traced.columns.values(), dict.fromkeys(traced.rows, JUDGED)])
        if isinstance(node, exp.Alias | exp.Paren):
            return self.uses(node.this)
        if isinstance(node, exp.Cast):
            return self.uses(node.this)
        if isinstance(node, exp.Lambda):
            inner = _Scope(
                self.reader,
                self.named,
                self.sources,
                self.rows,
                self.bound | {parameter.name.lower() for parameter in node.expressions},
            )
            inner.aliases, inner.windows = self.aliases, self.windows
            return inner.uses(node.this, COMPUTED)
        if isinstance(node, exp.Case | exp.If):
            return self._choice(node)
        if isinstance(node, exp.Coalesce):
            return self._each([node.this, *node.expressions], COMPUTED)
        if isinstance(node, exp.Nullif):
            return _merged([self.uses(node.this, COMPUTED), self.uses(node.expression, JUDGED)])
        if isinstance(node, exp.Filter):
            return _merged([self.uses(node.this), self.uses(node.expression.this, COUNTED)])
        if isinstance(node, exp.Window):
            return self._window(node)
        return self._computed(node)

    def _computed(self, node: exp.Expr) -> Uses:
        if text := _UNREADABLE.get(type(node)):
            raise self.reader.fault(text)
        parts = list(node.iter_expressions())
        if isinstance(node, exp.Predicate | exp.Connector | exp.Not | exp.Exists | exp.In | exp.Between):
            return self._each(parts, JUDGED)
        if isinstance(node, _COUNTING):
            return self._each(parts, COUNTED)
        if isinstance(node, _BY_ORDER):
            return _merged([self.uses(node.this, PICKED), *(self.uses(part, COUNTED) for part in parts[1:])])
        if isinstance(node, (*_RANKING, *_MEASURING)):
            return self._each(parts, JUDGED)
        if isinstance(node, _NEIGHBOURS):
            return self._each(parts, COMPUTED)
        if isinstance(node, exp.AggFunc):
            return self._each(parts, PICKED)
        name = str(node.this).lower() if isinstance(node, exp.Anonymous) else ""
        if isinstance(node, _HASHING) or name in _HASHING_NAMES:
            return self._each(parts, HASHED)
        return self._each(parts, COMPUTED)

    def _column(self, node: exp.Column) -> Uses:
        table, name = node.table.lower(), node.name.lower()
        if table in self.sources and name in self.sources[table].columns:
            return dict(self.sources[table].columns[name])
        if not table and name in self.aliases:
            return dict(self.aliases[name])
        if (table or name) in self.bound:
            return {}
        raise self.reader.fault(f"no such column: {node.sql(dialect='duckdb')}")

    def _choice(self, node: exp.Case | exp.If) -> Uses:
        parts: list[Uses] = []
        if isinstance(node, exp.Case):
            parts.append(self.uses(node.this, JUDGED))
            for branch in node.args.get("ifs") or []:
                parts += [self.uses(branch.this, JUDGED), self.uses(branch.args.get("true"), COMPUTED)]
            parts.append(self.uses(node.args.get("default"), COMPUTED))
        else:
            parts += [self.uses(node.this, JUDGED), self.uses(node.args.get("true"), COMPUTED)]
            parts.append(self.uses(node.args.get("false"), COMPUTED))
        return _merged(parts)

    def _window(self, node: exp.Window) -> Uses:
        parts = [self.uses(node.this, COMPUTED)]
        named = node.args.get("alias")
        for frame in (node, self.windows.get(named.name.lower()) if named else None):
            if frame:
                parts += [self.uses(part, JUDGED) for part in frame.args.get("partition_by") or []]
                parts.append(self.uses(frame.args.get("order"), JUDGED))
        return _merged(parts)

    def _each(self, nodes: Sequence[exp.Expr], by: Use) -> Uses:
        return _merged(self.uses(node, by) for node in nodes)


def _merged(many: Iterable[Uses]) -> Uses:
    result: Uses = {}
    for uses in many:
        _add(result, uses)
    return result


def _add(target: Uses, more: Uses) -> None:
    for ref, use in more.items():
        target[ref] = target[ref].or_else(use) if ref in target else use


def _decide(rows: dict[str, set[Way]], uses: Uses, way: Way) -> None:
    for ref in uses:
        rows.setdefault(ref, set()).add(way)


def _add_rows(rows: dict[str, set[Way]], more: Mapping[str, set[Way]]) -> None:
    for ref, ways in more.items():
        rows.setdefault(ref, set()).update(ways)


def _copied(rows: Mapping[str, set[Way]]) -> dict[str, set[Way]]:
    return {ref: set(ways) for ref, ways in rows.items()}


def _alias_columns(node: exp.Expr) -> list[str]:
    alias = node.args.get("alias")
    return [column.name.lower() for column in alias.columns] if isinstance(alias, exp.TableAlias) else []


def _renamed(traced: Traced, node: exp.Expr) -> Traced:
    """With the column names that an alias `t(a, b)` gives; fewer names than columns leave the rest."""
    names = iter(_alias_columns(node))
    return Traced({next(names, name): uses for name, uses in traced.columns.items()}, traced.rows)
