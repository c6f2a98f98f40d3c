"""The loan ledger, read from its SQL database into Arrow.

What belongs here: finding what the database has, and reading it by column. What does not: what the
rows are compared with. PostgreSQL, MySQL and MariaDB over TCP go through connectorx, as streams of ranges
(`ledger_ranges`); every other dialect through its driver's cursor, in blocks that become Arrow columns.
Naive timestamps are UTC.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from ingestion.columns import column_of
from ingestion.ledger_ranges import BLOCK_ROWS, RangedBatches, Ranges, Selection
from ingestion.stream import Stream
from ingestion.tables import LEDGER, MONEY_PRECISION, MONEY_SCALE, RawTable
from lendloop.errors import ConfigurationError, PermanentError, TransientError
from lendloop.settings import Settings

REQUIRED = ("m_client", "m_loan")
KEYS_PER_QUERY = 500


@dataclass(frozen=True)
class SourceRow:
    """A row as it is compared with raw's. `changed_us`: its cursor, microseconds since 1970 in UTC; `key` may be empty."""

    key: str
    day: date | None
    amounts: tuple[Decimal | None, ...]
    changed_us: int | None


class LedgerReader:
    """The ledger's tables as far as the database has them. Open it with `with LedgerReader.open(settings)`."""

    lists_keys = True

    def __init__(self, engine: sa.Engine, schema: str | None) -> None:
        self.engine = engine
        self.schema = schema
        self.columns: dict[str, dict[str, sa.types.TypeEngine[Any]]] = {}
        self._keys_may_be_null: set[str] = set()
        self.notes: list[str] = []

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[LedgerReader]:
        """Connect and look what is there.

        Raises ConfigurationError (the URL, a required table), TransientError (no answer).
        """
        reader = cls(_engine(settings.secret("ledger_url")), settings.ledger_schema)
        try:
            with reader._translating("reading the ledger's tables"):
                reader._reflect()
            yield reader
        finally:
            reader.engine.dispose()

    @property
    def _where(self) -> str:
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def _translating(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, self.engine.dialect.loaded_dbapi.Error) as error:
            said = str(getattr(error, "orig", error)).strip()
            reason = said.splitlines()[0] if said else type(error).__name__
            raise TransientError(f"{doing} at {self._where} failed: {reason}; check LENDLOOP_LEDGER_URL") from error
        except SQLAlchemyError as error:
            raise PermanentError(f"{doing} at {self._where} failed: {error}") from error

    def _reflect(self) -> None:
        inspector = sa.inspect(self.engine)
        present = {*inspector.get_table_names(self.schema), *inspector.get_view_names(self.schema)}
        if missing := [name for name in REQUIRED if name not in present]:
            raise ConfigurationError(
                f"the ledger at {self._where} has no {' and no '.join(missing)}"
                f"{f' in schema {self.schema}' if self.schema else ''}: check LENDLOOP_LEDGER_URL and LENDLOOP_LEDGER_SCHEMA"
            )
        if absent := [table.name for table in LEDGER if table.name not in present]:
            self.notes.append(f"not in the ledger, stay empty: {', '.join(absent)}")
        for table in LEDGER:
            if table.name not in present:
                continue
            described = inspector.get_columns(table.name, self.schema)
            found = {str(column["name"]): column["type"] for column in described}
            if any(key not in found for key in table.key):
                raise ConfigurationError(f"{table.name} at {self._where} lacks its key {', '.join(table.key)}")
            self.columns[table.name] = found
            if any(column["nullable"] for column in described if column["name"] == table.key[0]):
                self._keys_may_be_null.add(table.name)
            if lacking := self.lacks(table):
                self.notes.append(f"{table.name}: not in the ledger, NULL: {', '.join(lacking)}")
            if table.cursor and table.cursor not in found:
                self.notes.append(f"{table.name}: no {table.cursor}, so it is read whole every time")

    def has(self, table: RawTable) -> bool:
        return table.name in self.columns

    def lacks(self, table: RawTable) -> list[str]:
        return [name for name in table.columns if name not in self.columns[table.name]]

    def follows_cursor(self, table: RawTable) -> bool:
        """Whether changes can be found by the table's cursor."""
        return table.cursor is not None and table.cursor in self.columns.get(table.name, {})

    def compare_every_days(self, table: RawTable) -> int | None:
        """A hard deletion leaves no trace for a cursor: keys are compared daily. Mirrored tables need none."""
        return 1 if self.follows_cursor(table) else None

    def read(self, table: RawTable, floor: datetime | int | None) -> Iterator[tuple[pa.Table | Stream, bool]]:
        """Batches of the rows from `floor` on (rows without a cursor value too); all of them without one."""
        condition = ""
        if floor is not None:
            cursor = self._quote(str(table.cursor))
            condition = f"{cursor} >= {self._moment(table, floor)} OR {cursor} IS NULL"
        for batch in self._select(table, condition):
            yield batch, False

    def weight(self, table: RawTable) -> int | None:
        """The sum of `ingestion.contract.weight` over the rows that the source has now; None where keys are no numbers."""
        key = table.key[0]
        if not isinstance(self.columns[table.name][key], sa.Integer):
            return None
        name = self._quote(key)
        # by halves, since the sum of SQLite fails where it is no 64-bit number
        halves = (f"{name} >> 32", f"{name} & 4294967295") if self._is_sqlite else ("0", name)
        sums = ", ".join(f"coalesce(sum({half}), 0)" for half in halves)
        with self._translating(f"counting {table.name}"), self.engine.connect() as connection:
            found: Any = connection.exec_driver_sql(f"SELECT {sums}, count(*) FROM {self._name(table)}").one()
        high, low, rows = map(int, found)
        return (high << 32) + low + rows

    def keys(self, table: RawTable) -> Iterator[pa.Table | Stream]:
        """The key columns of every row."""
        yield from self._select(table, "", columns=table.key)

    def by_key(self, table: RawTable, keys: pa.Table) -> Iterator[pa.Table | Stream]:
        """The rows with these keys (the first key column must be the only one)."""
        name = table.key[0]
        values = keys.column(name).to_pylist()
        for start in range(0, len(values), KEYS_PER_QUERY):
            wanted = ", ".join(
                str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"
                for value in values[start : start + KEYS_PER_QUERY]
            )
            yield from self._select(table, f"{self._quote(name)} IN ({wanted})", ranged=False)

    def totals_by_day(
        self, table: RawTable, day: str, amounts: Sequence[str], days: Sequence[date | None] | None
    ) -> Iterator[tuple[date | None, int, tuple[Decimal, ...]]]:
        """Of each day: how many rows the source has now, and the sum of each amount; of these days, or of all."""
        sums = "".join(f", sum({self._money(name)})" for name in amounts)
        grouped = f"SELECT {self._day(day)} AS day_, count(*){sums} FROM {self._name(table)}{self._of_days(day, days)} GROUP BY 1"
        with self._translating(f"adding up {table.name}"), self.engine.connect() as connection:
            found: Any
            rows: Any
            for found, rows, *totals in connection.exec_driver_sql(grouped):
                yield _as_day(found), int(rows), tuple(self._amount(total) or Decimal(0) for total in totals)

    def rows_of_days(
        self, table: RawTable, day: str, amounts: Sequence[str], days: Sequence[date | None]
    ) -> Iterator[SourceRow]:
        """The rows of these days, as they are compared."""
        cursor = self._quote(str(table.cursor)) if self.follows_cursor(table) else "NULL"
        listed = ", ".join(
            [self._quote(table.key[0]), self._day(day), cursor, *(self._money(name) for name in amounts)]
        )
        statement = f"SELECT {listed} FROM {self._name(table)}{self._of_days(day, days)}"
        with self._translating(f"reading days of {table.name}"), self.engine.connect() as connection:
            for key, found, changed, *values in connection.exec_driver_sql(statement):
                named = "" if key is None else str(key)
                yield SourceRow(named, _as_day(found), tuple(map(self._amount, values)), _as_us(changed))

    def _of_days(self, day: str, days: Sequence[date | None] | None) -> str:
        if days is None:
            return ""
        listed = ", ".join(f"'{one}'" for one in days if one is not None)
        conditions = [f"{self._day(day)} IN ({listed})"] if listed else []
        conditions += [f"{self._day(day)} IS NULL"] if None in days else []
        return f" WHERE {' OR '.join(conditions) or '1 = 0'}"

    def _day(self, name: str) -> str:
        """A column's day; NULL where it holds none."""
        column = self._quote(name)
        if self._is_sqlite:
            return f"date(substr({column}, 1, 10))"
        if self.engine.dialect.name in ("mysql", "mariadb"):
            return f"CASE WHEN year({column}) > 0 THEN CAST({column} AS date) END"
        return f"CAST({column} AS date)"

    def _money(self, name: str) -> str:
        """An amount that adds up without loss.

        SQLite reckons with floats: there it is in whole millionths, exact up to nine billion.
        """
        column = self._quote(name)
        return f"CAST(round({column} * 1000000) AS integer)" if self._is_sqlite else f"CAST({column} AS decimal(19, 6))"

    def _amount(self, value: Any) -> Decimal | None:
        if value is None:
            return None
        amount = Decimal(value).scaleb(-MONEY_SCALE) if self._is_sqlite else Decimal(value)
        return amount.quantize(Decimal(1).scaleb(-MONEY_SCALE))

    def _quote(self, name: str) -> str:
        return str(self.engine.dialect.identifier_preparer.quote_identifier(name))

    def _name(self, table: RawTable) -> str:
        name = self._quote(table.name)
        return f"{self._quote(self.schema)}.{name}" if self.schema else name

    def _moment(self, table: RawTable, floor: datetime | int) -> str:
        """The floor as an SQL literal; whole seconds, so that text with and without fractions compares right."""
        if not isinstance(floor, datetime):
            return str(floor)
        kind = self.columns[table.name][str(table.cursor)]
        utc = floor.astimezone(UTC)
        if isinstance(kind, sa.DateTime) and kind.timezone:
            return f"'{utc:%Y-%m-%d %H:%M:%S}+00:00'"
        return f"'{utc:%Y-%m-%d %H:%M:%S}'"

    def _select(
        self, table: RawTable, condition: str, columns: tuple[str, ...] | None = None, *, ranged: bool = True
    ) -> Iterator[pa.Table | Stream]:
        names = columns or tuple(self.columns[table.name])
        selection = self._selection(table, condition, columns, ranged=ranged)
        with self._translating(f"reading {table.name}"):
            if url := bulk_url(self.engine.url):
                with Ranges.open(self.engine, selection) as ranges:
                    yield from self._by_connectorx(url, table, names, ranges)
            else:
                yield from self._by_cursor(table, names, selection)

    def _selection(
        self, table: RawTable, condition: str, columns: tuple[str, ...] | None, *, ranged: bool
    ) -> Selection:
        key = table.key[0]
        # a row that changes keeps its key: a list of keys without it would say that it is gone
        follows = columns is None and self.follows_cursor(table)
        return Selection(
            self._name(table),
            condition,
            key=self._quote(key) if ranged and isinstance(self.columns[table.name][key], sa.Integer) else None,
            key_may_be_null=table.name in self._keys_may_be_null,
            cursor=self._quote(str(table.cursor)) if follows else None,
        )

    def _by_cursor(self, table: RawTable, names: tuple[str, ...], selection: Selection) -> Iterator[pa.Table]:
        listed = ", ".join(self._quote(name) for name in names)
        statement = f"SELECT {listed} FROM {selection.table}{selection.where()}"
        statement = statement.replace("%", "%%" if self._doubles else "%")
        kinds = self.columns[table.name]
        binary = [name not in table.columns and isinstance(kinds[name], sa.LargeBinary) for name in names]
        wanted = [None if name in table.columns or not self._is_sqlite else pa.string() for name in names]
        with self.engine.connect().execution_options(stream_results=True, max_row_buffer=BLOCK_ROWS) as connection:
            result = connection.exec_driver_sql(statement)
            while rows := result.cursor.fetchmany(BLOCK_ROWS) if result.cursor is not None else []:
                columns = [
                    column_of([_hex(value) for value in values] if is_binary else list(values), kind)
                    for values, kind, is_binary in zip(zip(*rows, strict=True), wanted, binary, strict=True)
                ]
                yield pa.table(columns, names=list(names))

    @property
    def _is_sqlite(self) -> bool:
        return bool(self.engine.dialect.name == "sqlite")

    @property
    def _doubles(self) -> bool:
        return self.engine.dialect.paramstyle in ("format", "pyformat")

    def _by_connectorx(self, url: sa.URL, table: RawTable, names: tuple[str, ...], ranges: Ranges) -> Iterator[Stream]:
        """One stream, typed by column; where a value has no Arrow form, a second in which all is text.

        connectorx waits half a minute for a database that is not there: the ranges ask before it does.
        """
        forms = STREAMED[self.engine.dialect.name]
        kinds = self.columns[table.name]
        typed = [forms(self._quote(name), kinds[name]) for name in names]
        money = {
            name: decimal for name, form in zip(names, typed, strict=True) if (decimal := form.decimal) is not None
        }
        stream = self._stream(url, [form.sql for form in typed], names, ranges, money)
        yield stream
        if stream.error is None:
            return
        if isinstance(stream.error, DBAPIError):
            raise stream.error
        if LOST.search(str(stream.error)):
            raise self._broken_off(table, stream.error)
        self.notes.append(f"{table.name}: read again as text, since a value in it has no Arrow form")
        texts = [forms(self._quote(name), kinds[name]).text for name in names]
        stream = self._stream(url, texts, names, ranges, {})
        yield stream
        if stream.error is not None:
            raise self._broken_off(table, stream.error)

    def _broken_off(self, table: RawTable, error: BaseException) -> TransientError:
        what = "the connection was lost" if LOST.search(str(error)) else "the database refused"
        reason = " ".join(str(error).split())[:200]
        return TransientError(
            f"reading {table.name} at {self._where} broke off, {what}: {reason}; check LENDLOOP_LEDGER_URL"
        )

    def _stream(
        self,
        url: sa.URL,
        expressions: list[str],
        names: tuple[str, ...],
        ranges: Ranges,
        money: dict[str, pa.DataType],
    ) -> Stream:
        import connectorx

        listed = ", ".join(f"{sql} AS {self._quote(name)}" for sql, name in zip(expressions, names, strict=True))
        in_utc = IN_UTC[self.engine.dialect.name]

        def read(where: str, before: tuple[str, ...]) -> pa.RecordBatchReader:
            return connectorx.read_sql(
                url.render_as_string(hide_password=False),
                f"SELECT {listed} FROM {ranges.selection.table}{where}",
                return_type="arrow_stream",
                batch_size=BLOCK_ROWS,
                pre_execution_query=[in_utc, *before],
            )

        def with_money(batch: pa.RecordBatch) -> pa.RecordBatch:
            for name, kind in money.items():
                position = batch.schema.get_field_index(name)
                batch = batch.set_column(position, name, batch.column(position).cast(kind))
            return batch

        return Stream(lambda: RangedBatches(ranges, read), with_money)


@dataclass(frozen=True)
class _Form:
    """How a column is asked for: `sql` as it is read, `text` when all must be text. `decimal`: what the text becomes."""

    sql: str
    text: str
    decimal: pa.DataType | None = None


def _postgresql(name: str, kind: sa.types.TypeEngine[Any]) -> _Form:
    """connectorx hands whole numbers, dates, times, booleans and text over without loss; NUMERIC is read as text, which
    costs less than its own form."""
    text = f"CAST({name} AS text)"
    if _is_money(kind):
        return _Form(text, text, _decimal(kind))
    natural = isinstance(kind, sa.Integer | sa.Date | sa.DateTime | sa.Boolean) or type(kind) in (sa.VARCHAR, sa.TEXT)
    return _Form(name if natural else text, text)


def _mysql(name: str, kind: sa.types.TypeEngine[Any]) -> _Form:
    """Dates and times are read as text, since `0000-00-00` is a value there."""
    text = f"CAST({name} AS CHAR)"
    if isinstance(kind, mysql.BIT):
        return _Form(f"CAST({name} AS SIGNED)", f"CAST(CAST({name} AS UNSIGNED) AS CHAR)")
    if isinstance(kind, sa.LargeBinary):
        text = f"HEX({name})"
    elif isinstance(kind, sa.Integer) and not getattr(kind, "unsigned", False):
        return _Form(f"CAST({name} AS SIGNED)", text)
    return _Form(text, text, _decimal(kind) if _is_money(kind) else None)


def _is_money(kind: sa.types.TypeEngine[Any]) -> bool:
    return isinstance(kind, sa.Numeric) and not isinstance(kind, sa.Float) and _decimal(kind) is not None


def _decimal(kind: Any) -> pa.DataType | None:
    """The decimal type of a column that fits raw's money; None where it may not."""
    if kind.precision is None or not 0 <= (kind.scale or 0) <= MONEY_SCALE:
        return None
    whole = kind.precision - (kind.scale or 0)
    return pa.decimal128(kind.precision, kind.scale or 0) if whole <= MONEY_PRECISION - MONEY_SCALE else None


STREAMED: dict[str, Callable[[str, sa.types.TypeEngine[Any]], _Form]] = {
    "postgresql": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
}
"""Dialects that connectorx reads over TCP, and how each asks for a column."""
IN_UTC = {
    "postgresql": "SET TIME ZONE 'UTC'",
    "mysql": "SET time_zone = '+00:00'",
    "mariadb": "SET time_zone = '+00:00'",
}
"""What makes a session show and take times in UTC."""


CONNECT_TIMEOUT_S = 5
ALIVE = {"connect_timeout": CONNECT_TIMEOUT_S, "keepalives_idle": 5, "keepalives_interval": 3}
"""PostgreSQL's options of a connection: a host that is gone without a word is noticed within a quarter of a minute."""
PATIENCE: dict[str, dict[str, int]] = {
    "psycopg2": ALIVE | {"keepalives_count": 3},
    "psycopg": ALIVE | {"keepalives_count": 3},
    "pymysql": {"connect_timeout": CONNECT_TIMEOUT_S},
}
"""By driver, how long a connection waits, unless the URL says otherwise."""
LOST = re.compile(
    r"kind: (Io|Closed|Connect|Timeout)\b|severity: \"FATAL\"|timed out waiting|error connecting|error communicating|"
    r"connection (closed|reset|refused)|server disconnected|broken pipe|unexpected ?(end of file|eof)|io ?error|os error|bytes remaining on stream",
    re.IGNORECASE,
)
"""What connectorx says when it was the connection that failed and no value."""


def bulk_url(url: sa.URL) -> sa.URL | None:
    """The ledger's URL as connectorx takes it; None when there is no host or it asks of encryption what only drivers do."""
    tls = {name: str(value) for name, value in url.query.items() if name.startswith("ssl")}
    if not url.host or url.get_backend_name() not in STREAMED:
        return None
    if url.get_backend_name() != "postgresql":
        return None if tls else url.set(drivername="mysql", query={})
    if tls.keys() - {"sslmode"} or tls.get("sslmode", "prefer") not in ("disable", "prefer", "require"):
        return None
    alive = {name: str(value) for name, value in ALIVE.items()} | {"keepalives_retries": "3"}
    return url.set(drivername="postgresql", query=alive | tls)


def _engine(text: str) -> sa.Engine:
    try:
        url = sa.make_url(text)
        if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
            raise ConfigurationError(f"LENDLOOP_LEDGER_URL names {url.database}, which does not exist")
        patience = PATIENCE.get(url.get_dialect().driver, {})
        limits = {name: value for name, value in patience.items() if name not in url.query}
        engine = sa.create_engine(url, pool_pre_ping=True, connect_args=limits)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigurationError(
            f"LENDLOOP_LEDGER_URL is no SQLAlchemy URL that works here ({type(error).__name__}): "
            "for example postgresql://user:password@host:5432/fineract or mysql+pymysql://user:password@host:3306/fineract"
        ) from error
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", lambda connection, _: setattr(connection, "text_factory", _text))
    if statement := IN_UTC.get(engine.dialect.name):
        sa.event.listen(engine, "connect", lambda connection, _: _execute(connection, statement))
    return engine


def _as_day(value: Any) -> date | None:
    """A day as a driver gives it: SQLite's is text."""
    return date.fromisoformat(value) if isinstance(value, str) else value


def _as_us(value: Any) -> int | None:
    """An instant as a driver gives it, in microseconds; None for what is none."""
    if not isinstance(value, datetime):
        try:
            value = datetime.fromisoformat(str(value))
        except ValueError:
            return None
    moment: datetime = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return round(moment.timestamp() * 1_000_000)


def _text(stored: bytes) -> str:
    """SQLite's text, also what is no UTF-8: as half surrogate pairs, which no column takes."""
    return stored.decode("utf-8", "surrogateescape")


def _hex(value: Any) -> Any:
    return bytes(value).hex().upper() if isinstance(value, bytes | memoryview) else value


def _execute(connection: Any, statement: str) -> None:
    cursor = connection.cursor()
    cursor.execute(statement)
    cursor.close()
    connection.commit()
