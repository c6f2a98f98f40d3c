"""The loan ledger into raw: a load beside connectorx and DuckDB alone, and beside dlt's own way with its defaults.

Every run is a fresh process with what it needs imported; its seconds go from the connection to the commit. The bare peer
keeps the same columns with money as decimals, but no hash, no quarantine, no totals and no way to be repeated.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import connectorx
import duckdb
import pytest
import sqlalchemy as sa

from benchmarks.harness import ROUNDS, Peer, Row, Size, Timing, timed_call
from ingestion.contract import MONEY
from ingestion.load import load_source
from ingestion.pipeline import dlt_for
from ingestion.tables import LEDGER
from lendloop.clock import parse_clock
from lendloop.settings import load_settings
from tests.mariadb import mariadb_over_tcp
from tests.postgres import postgres_over_tcp

TITLE = "The loan ledger into raw: loads beside connectorx and DuckDB alone"
POSTGRESQL_ROWS: dict[Size, int] = {"small": 200_000, "full": 2_000_000}
MARIADB_ROWS: dict[Size, int] = {"small": 50_000, "full": 500_000}
DEFAULTS_ROWS: dict[Size, int] = {"small": 20_000, "full": 200_000}
"""As many rows go dlt's default way, a tenth of all: all of them would take many minutes."""
FIRST_LOAD_AIM = 1.67
AS_OF = "2024-03-01T00:00:00Z"
TABLE = next(table for table in LEDGER if table.name == "m_loan_transaction")
NAMES = tuple(TABLE.columns)
OTHERS = (
    "CREATE TABLE m_client (id bigint PRIMARY KEY, firstname varchar(50))",
    "CREATE TABLE m_loan (id bigint PRIMARY KEY, client_id bigint, principal_amount decimal(19,6))",
)
TRANSACTIONS = (
    "CREATE TABLE m_loan_transaction (id bigint PRIMARY KEY, loan_id bigint NOT NULL, is_reversed {bool} NOT NULL, "
    "reversed_on_date date, transaction_type_enum smallint NOT NULL, transaction_date date NOT NULL, "
    "amount decimal(19,6) NOT NULL, principal_portion_derived decimal(19,6), interest_portion_derived decimal(19,6), "
    "fee_charges_portion_derived decimal(19,6), penalty_charges_portion_derived decimal(19,6), "
    "outstanding_loan_balance_derived decimal(19,6), created_on_utc {time} NOT NULL, last_modified_on_utc {time} NOT NULL)"
)
FILL = (
    "INSERT INTO m_loan_transaction SELECT n, n % 200000 + 1, {no}, NULL, 1 + n % 4, {day}, n % 100000 + 0.123456, "
    "n % 90000 + 0.12, n % 10000 + 0.003456, CASE WHEN n % 3 = 0 THEN 5.5 END, NULL, n % 500000 + 0.25, {moment}, {moment} "
    "FROM {numbers}"
)


def measure(size: Size) -> Iterator[Row]:
    rounds = 1 if size == "small" else ROUNDS
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        with postgres_over_tcp() as url:
            _fill_postgresql(url, POSTGRESQL_ROWS[size], DEFAULTS_ROWS[size])
            yield from _postgresql(url, POSTGRESQL_ROWS[size], DEFAULTS_ROWS[size], folder / "postgresql", rounds)
        try:
            with mariadb_over_tcp() as url:
                _fill_mariadb(url, MARIADB_ROWS[size])
                first, bare = _first_loads(url, folder / "mariadb", rounds)
                yield Row("MariaDB: first load", first, [bare], amount=MARIADB_ROWS[size])
        except pytest.skip.Exception as reason:
            yield Row(f"MariaDB: not measured, {reason.msg}", [Timing(0.0, 0.0)])
    finally:
        shutil.rmtree(folder)


def _postgresql(url: str, rows: int, some: int, folder: Path, rounds: int) -> Iterator[Row]:
    first, bare = _first_loads(url, folder, rounds)
    defaults = timed_call(load_with_defaults, url, folder / "defaults")
    times = rows // some
    name = f"dlt's sql_table, all defaults: {some:,} rows, seconds times {times}"
    by_defaults = Peer(name, [Timing(defaults.seconds * times, defaults.peak_mb)])
    aimed = Peer(bare.name, bare.timings, aim=FIRST_LOAD_AIM)
    yield Row("PostgreSQL: first load", first, [aimed, by_defaults], amount=rows)
    home, file = folder / f"home-{rounds - 1}", folder / f"bare-{rounds - 1}.duckdb"
    found: dict[Callable[..., float], list[Timing]] = {merge_bare: [], load: [], ask_for_changes: []}
    unchanged: list[Timing] = []
    for number in range(rounds):
        since = f"2024-02-{number + 1:02} 00:00:00+00"
        _run(
            url,
            f"UPDATE m_loan_transaction SET amount = amount + 0.01, last_modified_on_utc = '{since}' WHERE id % 100 = {number}",
            "VACUUM m_loan_transaction",
        )
        found[merge_bare].append(timed_call(merge_bare, url, file, since))
        found[load].append(timed_call(load, url, home, rows // 100))
        found[ask_for_changes].append(timed_call(ask_for_changes, url, since))
        unchanged.append(timed_call(load, url, home, 0))
    merged = Peer("connectorx, then delete and insert", found[merge_bare])
    yield Row("PostgreSQL: 1 % changed", found[load], [merged], amount=rows // 100)
    yield Row("PostgreSQL: nothing changed", unchanged, [Peer("the query for changes", found[ask_for_changes])])


def _first_loads(url: str, folder: Path, rounds: int) -> tuple[list[Timing], Peer]:
    """Into a fresh home (`home-N` of the folder) and into a fresh file (`bare-N.duckdb`), in turns."""
    folder.mkdir()
    loads, bare = [], []
    for number in range(rounds):
        bare.append(timed_call(load_bare, url, folder / f"bare-{number}.duckdb"))
        loads.append(timed_call(load, url, folder / f"home-{number}", None))
    return loads, Peer("connectorx, then CREATE TABLE AS", bare)


def load(url: str, home: Path, changes: int | None) -> float:
    """One load as a pass does it. Raises RuntimeError when it did not write `changes` changed rows (None: it is the first)."""
    settings, clock = load_settings(_env_file=None, LENDLOOP_HOME=home, ledger_url=url), parse_clock(AS_OF)
    if changes != 0:  # what a load imports only when it has rows to write
        dlt_for(settings.home.prepare())
    began = time.perf_counter()
    report = load_source("ledger", settings, clock)
    seconds = time.perf_counter() - began
    if report.quarantined or changes != (report.rows_changed if report.new == 0 else None):
        raise RuntimeError(f"the load did something else than it should: {report}")
    return seconds


def load_bare(url: str, file: Path) -> float:
    """Everything through Arrow into one table."""
    began = time.perf_counter()
    rows = connectorx.read_sql(_plain(url), _selected(), return_type="arrow")
    with duckdb.connect(str(file)) as connection:
        connection.register("rows_read", rows)
        connection.execute(f"CREATE TABLE m_loan_transaction AS SELECT {_with_money()} FROM rows_read")
    return time.perf_counter() - began


def merge_bare(url: str, file: Path, since: str) -> float:
    """What changed through Arrow, over the rows of the same key."""
    began = time.perf_counter()
    rows = connectorx.read_sql(_plain(url), _selected(since), return_type="arrow")
    with duckdb.connect(str(file)) as connection:
        connection.register("rows_read", rows)
        connection.execute("BEGIN")
        connection.execute("DELETE FROM m_loan_transaction AS held USING rows_read WHERE held.id = rows_read.id")
        connection.execute(f"INSERT INTO m_loan_transaction SELECT {_with_money()} FROM rows_read")
        connection.execute("COMMIT")
    return time.perf_counter() - began


def ask_for_changes(url: str, since: str) -> float:
    """The rows from the last known change on, kept nowhere."""
    began = time.perf_counter()
    connectorx.read_sql(_plain(url), _selected(since), return_type="arrow")
    return time.perf_counter() - began


def load_with_defaults(url: str, folder: Path) -> float:
    """The first rows by dlt's own source into its own DuckDB, with nothing set."""
    os.environ["DLT_DATA_DIR"] = str(folder)
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt
    from dlt.sources.sql_database import sql_table

    pipeline = dlt.pipeline(
        "defaults",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.duckdb(str(folder / "defaults.duckdb")),
    )
    began = time.perf_counter()
    pipeline.run(sql_table(credentials=url, table="some_transactions"))
    return time.perf_counter() - began


def _plain(url: str) -> str:
    return url.replace("mysql+pymysql://", "mysql://")


def _selected(since: str | None = None) -> str:
    return f"SELECT {', '.join(NAMES)} FROM m_loan_transaction" + (
        f" WHERE last_modified_on_utc >= '{since}'" if since else ""
    )


def _with_money() -> str:
    return ", ".join(
        f"CAST({name} AS {MONEY}) AS {name}" if kind == "money" else name for name, kind in TABLE.columns.items()
    )


def _run(url: str, *statements: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"))
    engine.dispose()


def _fill_postgresql(url: str, rows: int, some: int) -> None:
    """Also `some_transactions`, for who would take too long over all."""
    _run(
        url,
        *OTHERS,
        TRANSACTIONS.format(bool="boolean", time="timestamp with time zone"),
        FILL.format(
            no="false",
            day="date '2019-01-01' + (n % 1800)::int",
            moment="timestamptz '2019-01-01 00:00:00+00' + n % 1800 * interval '1 day' + n % 86399 * interval '1 second'",
            numbers=f"generate_series(1::bigint, {rows}) AS n",
        ),
        f"CREATE TABLE some_transactions AS SELECT * FROM m_loan_transaction WHERE id <= {some}",
        "VACUUM ANALYZE",
    )


def _fill_mariadb(url: str, rows: int) -> None:
    _run(
        url,
        *OTHERS,
        TRANSACTIONS.format(bool="bit(1)", time="datetime(6)"),
        FILL.format(
            no="b'0'",
            day="'2019-01-01' + INTERVAL n % 1800 DAY",
            moment="'2019-01-01' + INTERVAL n % 1800 DAY + INTERVAL n % 86399 SECOND",
            numbers=f"(SELECT seq AS n FROM seq_1_to_{rows}) AS numbers",
        ),
    )
