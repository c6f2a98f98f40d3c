"""The loan ledger, read from its SQL database into Arrow.

What belongs here: finding what the database has, and reading it by column. What does not: what the
rows are compared with. PostgreSQL over TCP goes through connectorx; every other dialect through
its driver's cursor, in blocks that become Arrow columns. Naive timestamps are UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from ingestion.columns import column_of
from ingestion.tables import LEDGER, ColumnType, RawTable
from lendloop.errors import ConfigurationError, PermanentError, TransientError
from lendloop.settings import Settings

REQUIRED = ("m_client", "m_loan")
BLOCK_ROWS = 100_000
KEYS_PER_QUERY = 500
EXACT_SCALE = 10
"""connectorx gives NUMERIC as decimal128(38,10)."""


class LedgerReader:
    """The ledger's tables as far as the database has them. Open it with `with LedgerReader.open(settings)`."""

    lists_keys = True

    def __init__(self, engine: sa.Engine, schema: str | None) -> None:
        self.engine = engine
        self.schema = schema
        self.columns: dict[str, dict[str, sa.types.TypeEngine[Any]]] = {}
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
        except DBAPIError as error:
            reason = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else str(error.orig)
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
            found = {str(column["name"]): column["type"] for column in inspector.get_columns(table.name, self.schema)}
            if any(key not in found for key in table.key):
                raise ConfigurationError(f"{table.name} at {self._where} lacks its key {', '.join(table.key)}")
            self.columns[table.name] = found
            if lacking := [name for name in table.columns if name not in found]:
                self.notes.append(f"{table.name}: not in the ledger, NULL: {', '.join(lacking)}")
            if table.cursor and table.cursor not in found:
                self.notes.append(f"{table.name}: no {table.cursor}, so it is read whole every time")

    def has(self, table: RawTable) -> bool:
        return table.name in self.columns

    def follows_cursor(self, table: RawTable) -> bool:
        """Whether changes can be found by the table's cursor."""
        return table.cursor is not None and table.cursor in self.columns.get(table.name, {})

    def compare_every_days(self, table: RawTable) -> int | None:
        """A hard deletion leaves no trace for a cursor: keys are compared daily. Mirrored tables need none."""
        return 1 if self.follows_cursor(table) else None

    def read(self, table: RawTable, floor: datetime | int | None) -> Iterator[tuple[pa.Table, bool]]:
        """Batches of the rows from `floor` on (rows without a cursor value too); all of them without one."""
        condition = ""
        if floor is not None:
            cursor = self._quote(str(table.cursor))
            condition = f" WHERE {cursor} >= {self._moment(table, floor)} OR {cursor} IS NULL"
        for batch in self._select(table, condition):
            yield batch, False

    def weight(self, table: RawTable) -> int | None:
        """The sum of `ingestion.contract.weight` over the rows that the source has now; None where keys are no numbers."""
        key = table.key[0]
        if not isinstance(self.columns[table.name][key], sa.Integer):
            return None
        statement = f"SELECT coalesce(sum({self._quote(key)}), 0) + count(*) FROM {self._name(table)}"
        with self._translating(f"counting {table.name}"), self.engine.connect() as connection:
            return int(connection.exec_driver_sql(statement).scalar_one())

    def keys(self, table: RawTable) -> Iterator[pa.Table]:
        """The key columns of every row."""
        yield from self._select(table, "", columns=table.key)

    def by_key(self, table: RawTable, keys: pa.Table) -> Iterator[pa.Table]:
        """The rows with these keys (the first key column must be the only one)."""
        name = table.key[0]
        values = keys.column(name).to_pylist()
        for start in range(0, len(values), KEYS_PER_QUERY):
            wanted = ", ".join(
                str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"
                for value in values[start : start + KEYS_PER_QUERY]
            )
            yield from self._select(table, f" WHERE {self._quote(name)} IN ({wanted})")

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

    def _select(self, table: RawTable, condition: str, columns: tuple[str, ...] | None = None) -> Iterator[pa.Table]:
        names = columns or tuple(self.columns[table.name])
        with self._translating(f"reading {table.name}"):
            if self.engine.dialect.name == "postgresql" and self.engine.url.host:
                yield from self._by_connectorx(table, names, condition)
            else:
                yield from self._by_cursor(table, names, condition)

    def _by_cursor(self, table: RawTable, names: tuple[str, ...], condition: str) -> Iterator[pa.Table]:
        listed = ", ".join(self._quote(name) for name in names)
        statement = f"SELECT {listed} FROM {self._name(table)}{condition}".replace("%", "%%" if self._doubles else "%")
        dynamic = self.engine.dialect.name == "sqlite"
        wanted = [None if name in table.columns or not dynamic else pa.string() for name in names]
        with self.engine.connect().execution_options(stream_results=True, max_row_buffer=BLOCK_ROWS) as connection:
            result = connection.exec_driver_sql(statement)
            while rows := result.cursor.fetchmany(BLOCK_ROWS) if result.cursor is not None else []:
                blocks = zip(*rows, strict=True)
                yield pa.table(
                    [column_of(list(values), kind) for values, kind in zip(blocks, wanted, strict=True)],
                    names=list(names),
                )

    @property
    def _doubles(self) -> bool:
        return self.engine.dialect.paramstyle in ("format", "pyformat")

    def _by_connectorx(self, table: RawTable, names: tuple[str, ...], condition: str) -> Iterator[pa.Table]:
        kinds = self.columns[table.name]
        natural = [
            self._quote(name) if _is_exact(kinds[name], table.columns.get(name)) else self._as_text(name)
            for name in names
        ]
        try:
            for batch in self._stream(f"SELECT {', '.join(natural)} FROM {self._name(table)}{condition}"):
                yield _narrowed(batch, kinds)
        except BaseException as error:
            # a panic inside connectorx arrives as PanicException, which is no Exception
            if not (isinstance(error, RuntimeError | pa.ArrowException) or type(error).__name__ == "PanicException"):
                raise
            self._raise_if_unreachable(table)
            self.notes.append(f"{table.name}: read again as text, since a value in it has no Arrow form")
            texts = ", ".join(self._as_text(name) for name in names)
            yield from self._stream(f"SELECT {texts} FROM {self._name(table)}{condition}")

    def _raise_if_unreachable(self, table: RawTable) -> None:
        """Tell a value that connectorx can't take from a database that went away."""
        with self._translating(f"reading {table.name}"), self.engine.connect() as connection:
            connection.exec_driver_sql(f"SELECT 1 FROM {self._name(table)} WHERE false")

    def _as_text(self, name: str) -> str:
        return f"CAST({self._quote(name)} AS text) AS {self._quote(name)}"

    def _stream(self, statement: str) -> Iterator[pa.Table]:
        import connectorx

        url = self.engine.url.set(drivername="postgresql")
        reader = connectorx.read_sql(
            url.render_as_string(hide_password=False), statement, return_type="arrow_stream", batch_size=BLOCK_ROWS
        )
        for batch in reader:
            yield pa.Table.from_batches([batch])


def _narrowed(batch: pa.Table, kinds: dict[str, sa.types.TypeEngine[Any]]) -> pa.Table:
    """connectorx gives every NUMERIC ten decimals: back to those that the column has."""
    for position, column in enumerate(batch.schema):
        kind = kinds[column.name]
        if pa.types.is_decimal(column.type) and isinstance(kind, sa.Numeric) and kind.precision is not None:
            narrow = pa.decimal128(kind.precision, kind.scale or 0)
            batch = batch.set_column(position, column.name, batch.column(position).cast(narrow))
    return batch


def _is_exact(kind: sa.types.TypeEngine[Any], target: ColumnType | None) -> bool:
    """Whether connectorx hands this PostgreSQL type over without loss; the rest is read as text."""
    if isinstance(kind, sa.Float):
        return False
    if isinstance(kind, sa.Numeric):
        fits = kind.precision is not None and kind.precision <= 28
        return fits and (kind.scale or 0) <= EXACT_SCALE and target in (None, "money")
    return isinstance(kind, sa.Integer | sa.Date | sa.DateTime | sa.Boolean) or type(kind) in (sa.VARCHAR, sa.TEXT)


def _engine(text: str) -> sa.Engine:
    try:
        url = sa.make_url(text)
        if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
            raise ConfigurationError(f"LENDLOOP_LEDGER_URL names {url.database}, which does not exist")
        return sa.create_engine(url, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigurationError(
            f"LENDLOOP_LEDGER_URL is no SQLAlchemy URL that works here ({type(error).__name__}): "
            "for example postgresql://user:password@host:5432/fineract"
        ) from error
