"""Reading what is published: the catalogues, their version, and an audience's SQL behind a fence.

Belongs here: opening published data read-only. Not here: deciding who is in, writing anything.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from activation.sqlguard import GuardedQuery
from lendloop.clock import Clock
from lendloop.errors import PermanentError
from lendloop.home import Home

Stamp = tuple[tuple[int, int, int], ...]
BETWEEN_TRIES_S = 0.05
"""The two catalogues are replaced one after the other."""


@dataclass(frozen=True)
class GroupAge:
    """A consistency group that the last pass could not renew: readers see data of `published_as_of`."""

    name: str
    state: str
    published_as_of: datetime | None


@dataclass(frozen=True)
class Snapshot:
    """Which publication a plan rests on. `stamp` changes whenever a catalogue file is replaced."""

    id: str
    stamp: Stamp
    not_fresh: tuple[GroupAge, ...] = ()


def catalogue_stamp(home: Home) -> Stamp:
    """Inode, time and size of the catalogue files; cheap, for noticing a new publication."""
    return tuple(_stat(path) for path in (home.published, home.contacts))


def _stat(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def attach_published(connection: duckdb.DuckDBPyConnection, home: Home) -> Snapshot:
    """Attach `published` and, when it is there, `contacts` of the same publication, read-only.

    Raises PermanentError before any publication, and where one was cut off between the two: whose address it is and who
    said no would be of two moments.
    """
    if not home.published.exists():
        raise PermanentError("nothing is published yet: run `lendloop run` first")
    is_still = False
    for _ in range(20):
        before = catalogue_stamp(home)
        connection.execute(f"attach {quote(home.published)} as published (read_only)")
        if home.contacts.exists():
            connection.execute(f"attach {quote(home.contacts)} as contacts (read_only)")
        is_still, is_one = catalogue_stamp(home) == before, _versions_agree(connection)
        if is_still and is_one:
            return _snapshot(connection, home, before)
        for name in ("published", "contacts"):
            connection.execute(f"detach database if exists {name}")
        time.sleep(BETWEEN_TRIES_S)
    if is_still:
        raise PermanentError("contacts and what is published are of two publications: run `lendloop run` again")
    raise PermanentError("the published catalogue is replaced faster than it can be opened")


def _versions_agree(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether both catalogues are of one publication, as far as they say."""
    told = [name for name in ("published", "contacts") if has_table(connection, name, "publication", "version")]
    versions = {connection.execute(f"select version from {name}.publication.version").fetchone() for name in told}
    return len(versions) <= 1


def _snapshot(connection: duckdb.DuckDBPyConnection, home: Home, stamp: Stamp) -> Snapshot:
    if has_table(connection, "published", "publication", "version"):
        row = connection.execute("select version from published.publication.version").fetchone()
        groups = tuple(
            GroupAge(*row)
            for row in connection.execute(
                "select name, state, published_as_of from published.publication.consistency_group where state <> 'fresh'"
            ).fetchall()
        )
        return Snapshot(f"v{row[0] if row else 0}", stamp, groups)
    catalog = home.published_files / "catalog.json"
    if catalog.exists():
        return Snapshot(f"v{json.loads(catalog.read_text()).get('version', 0)}", stamp)
    return Snapshot(f"f{stamp[0][0]}-{stamp[0][1]}", stamp)


def has_table(connection: duckdb.DuckDBPyConnection, database: str, schema: str, name: str) -> bool:
    """Whether an attached catalogue has a table or view."""
    return bool(
        connection.execute(
            "select count(*) from information_schema.tables"
            " where table_catalog = ? and table_schema = ? and table_name = ?",
            [database, schema, name],
        ).fetchall()[0][0]
    )


def parameter_values(query: GuardedQuery, clock: Clock, markets: dict[str, str]) -> dict[str, Any]:
    """Values of the parameters that a query names. `markets`: time zone by market."""
    values: dict[str, Any] = {
        "as_of": clock.as_of,
        "business_dates": business_dates_value(clock, markets),
    }
    return {name: values[name] for name in query.parameters}


def business_dates(clock: Clock, markets: dict[str, str]) -> dict[str, date]:
    """The business date of each market, and of the unknown market `ZZ` in UTC."""
    return {"ZZ": clock.business_date(), **{name: clock.business_date(zone) for name, zone in markets.items()}}


def business_dates_value(clock: Clock, markets: dict[str, str]) -> duckdb.Value:
    """The same as a query's parameter: MAP(VARCHAR, DATE)."""
    dates = business_dates(clock, markets)
    kind = duckdb.map_type(duckdb.type("VARCHAR"), duckdb.type("DATE"))
    return duckdb.Value({"key": list(dates), "value": list(dates.values())}, kind)


def market_zones(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Time zones by market, from the published `dim_market`; empty when it is not there."""
    if not has_table(connection, "published", "trusted", "dim_market"):
        return {}
    rows = connection.execute("select market, coalesce(time_zone, 'UTC') from published.trusted.dim_market").fetchall()
    return dict(rows)


@contextmanager
def fenced(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which a definition's SQL can read published trusted and kpi tables and nothing else.

    The SQL has passed the guard already; this is the second fence: no contact data attached, no
    file outside `published/`, no setting that can be changed back.
    """
    connection = duckdb.connect(":memory:")
    try:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"attach {quote(home.published)} as published (read_only)")
        connection.execute("use published")
        connection.execute(f"set allowed_directories = [{quote(str(home.published_files) + '/')}]")
        connection.execute("set python_enable_replacements = false")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        yield connection
    finally:
        connection.close()


def quote(value: object) -> str:
    """A SQL string literal."""
    return "'" + str(value).replace("'", "''") + "'"
