"""Publishing: from what dbt built and tested to immutable files and a small catalogue of views.

A table is written as Parquet files whose names carry their content's fingerprint, so what did not
change is not written again and a file never changes. `catalog.json` says which files are current;
`published.duckdb` and `contacts.duckdb` are views over exactly those, replaced atomically. The JSON
file is replaced last: a publication that was cut off before that is made again by the next pass.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path

import duckdb
from pydantic import BaseModel, Field, field_validator

from lendloop.formats import read_json
from lendloop.home import Home

CATALOG = "catalog.json"
GRACE_S = 3600.0
"""How long a file that left the catalogue stays for readers that still have the old one open."""


class PublishedTable(BaseModel):
    """One table as published: `files` are paths relative to its folder of files, `rows` their total."""

    group: str
    contact_data: bool = False
    rows: int
    files: list[str]
    published_as_of: datetime
    version: int


class GroupState(BaseModel):
    """A consistency group: the version readers see, and whether the last pass could renew it.

    `state` is `fresh`, `stale` (its audit failed: readers see `version`) or `absent` (never passed).
    """

    state: str = "absent"
    version: int = 0
    published_as_of: datetime | None = None
    reason: str | None = None
    checks_passed: int = 0
    checks_failed: int = 0


class Catalog(BaseModel):
    """What is published, as one consistent set. Keys of `tables` are `schema.table`."""

    format: int = 1
    version: int = 0
    inputs: str = ""
    """Fingerprint of everything the last build depended on; empty when it must not be trusted."""
    models: str = ""
    """Fingerprint of the models that made what stands in the warehouse."""
    as_of: datetime | None = None
    built_at: datetime | None = None
    """When the last build began, by the wall clock: what was loaded later is not in it."""
    groups: dict[str, GroupState] = Field(default_factory=dict)
    tables: dict[str, PublishedTable] = Field(default_factory=dict)
    checks: dict[str, tuple[int, int]] = Field(default_factory=dict)
    """Data checks passed and failed in the last build, by `schema.table`, of every zone."""
    files_written: int = 0
    publish_s: float = 0.0
    """What the last publication wrote, and the seconds it took."""
    retired: dict[str, float] = Field(default_factory=dict)
    """Files that left the catalogue, by path in the home, with the wall-clock second they did."""
    root: str = ""
    """The home in which the views find their files: they name them by absolute paths. Empty when it is not known."""

    @field_validator("retired")
    @classmethod
    def _in_the_home(cls, retired: dict[str, float]) -> dict[str, float]:
        """A path that an earlier version wrote begins with the home of then."""
        return {"/".join(Path(path).parts[-4:]): since for path, since in retired.items()}


class PublishableTable(BaseModel):
    """A table of the warehouse that readers get.

    `partition_column`, a date or an instant, cuts it into months (of UTC). `order` is its key; without one, files are
    ordered by all columns. `version_columns` change whenever a row does as long as the models stay as they are: a large
    table is compared by these alone, others by all their columns.
    """

    schema_name: str
    name: str
    group: str
    contact_data: bool = False
    partition_column: str | None = None
    order: list[str] = Field(default_factory=list)
    version_columns: list[str] = Field(default_factory=list)
    description: str = ""
    columns: dict[str, str] = Field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.schema_name}.{self.name}"


def read_catalog(home: Home) -> Catalog:
    """The current catalogue; an empty one before the first publication. Raises ConfigurationError for a newer one."""
    path = home.published_files / CATALOG
    return read_json(path, Catalog) if path.exists() else Catalog()


def write_catalog(home: Home, catalog: Catalog) -> None:
    """Replace the catalogue's file atomically."""
    _replace(home.published_files / CATALOG, catalog.model_dump_json(indent=1).encode())


def publish(
    connection: duckdb.DuckDBPyConnection,
    home: Home,
    tables: Iterable[PublishableTable],
    groups: dict[str, GroupState],
    *,
    inputs: str,
    as_of: datetime,
    checks: dict[str, tuple[int, int]],
    models: str = "",
    built_at: datetime | None = None,
    grace_s: float = GRACE_S,
) -> tuple[Catalog, dict[str, int]]:
    """Publish the tables of every `fresh` group; the others keep the version they have.

    `connection` is open on the warehouse, under its lock. `groups` holds the outcome of this
    pass's audit, `models` a fingerprint of what made the tables, `built_at` when that began. Returns the new catalogue and the number of files written, by table. Nothing is
    replaced, and the version stays, when no file, table or state differs.
    """
    began = time.monotonic()
    previous = read_catalog(home)
    version = previous.version + 1
    declared = {table.key: table for table in tables}
    published: dict[str, PublishedTable] = {}
    written: dict[str, int] = {}
    for key, table in declared.items():
        old = previous.tables.get(key)
        if groups[table.group].state != "fresh":
            if old:
                published[key] = old
            continue
        files, rows, count = _write_table(connection, home, table, models)
        if old and old.files == files:
            published[key] = old
            continue
        published[key] = PublishedTable(
            group=table.group,
            contact_data=table.contact_data,
            rows=rows,
            files=files,
            published_as_of=as_of,
            version=version,
        )
        written[key] = count
    published |= {
        key: old
        for key, old in previous.tables.items()
        if key not in declared and groups.get(old.group, GroupState()).state != "fresh"
    }
    changed = published != previous.tables
    new_groups = {
        name: state.model_copy(update=_carry(state, previous.groups.get(name, GroupState()), version, as_of, changed))
        for name, state in groups.items()
    }
    catalog = previous.model_copy(
        update={
            "version": version if changed else previous.version,
            "inputs": inputs,
            "models": models,
            "as_of": as_of,
            "built_at": built_at,
            "groups": new_groups,
            "tables": published,
            "checks": checks,
            "retired": _retire(previous, published, home),
            "root": str(home.root),
        }
    )
    if changed or _states(previous.groups) != _states(new_groups) or not views_stand(home, previous):
        write_views(home, catalog, declared.values())
    catalog = catalog.model_copy(
        update={
            "retired": _collect(catalog.retired, published, home, grace_s),
            "files_written": sum(written.values()),
            "publish_s": round(time.monotonic() - began, 3),
        }
    )
    write_catalog(home, catalog)
    return catalog, written


def _carry(state: GroupState, previous: GroupState, version: int, as_of: datetime, changed: bool) -> dict[str, object]:
    """What a group's state takes from before: a stale group shows the version that readers still see."""
    if state.state == "fresh":
        return {"version": version if changed else previous.version, "published_as_of": as_of}
    return {
        "version": previous.version,
        "published_as_of": previous.published_as_of,
        "state": "stale" if previous.version else "absent",
    }


def _states(groups: dict[str, GroupState]) -> dict[str, tuple[str, int]]:
    return {name: (group.state, group.version) for name, group in groups.items()}


def views_stand(home: Home, catalog: Catalog) -> bool:
    """Whether both catalogues of views are there, and find their files in this home: not where it was before."""
    return home.published.exists() and home.contacts.exists() and catalog.root == str(home.root)


def missing_files(home: Home, catalog: Catalog) -> list[str]:
    """Paths in the home of files that are published and not there."""
    return [path for path in _paths(catalog.tables, home) if not (home.root / path).exists()]


def _files_root(home: Home, contact_data: bool) -> Path:
    return home.contacts_files if contact_data else home.published_files


def _write_table(
    connection: duckdb.DuckDBPyConnection, home: Home, table: PublishableTable, models: str
) -> tuple[list[str], int, int]:
    """Write what is not there yet. Returns (files, rows, files written)."""
    relation = f'"{table.schema_name}"."{table.name}"'
    shape = connection.execute(
        "select string_agg(column_name || ' ' || data_type, ',' order by ordinal_position) from information_schema.columns"
        " where table_schema = ? and table_name = ?",
        [table.schema_name, table.name],
    ).fetchone()
    made_by = f"{shape}{duckdb.__version__}{models if table.version_columns else ''}"
    month = f"cast(date_trunc('month', {table.partition_column}) as date)" if table.partition_column else "null::date"
    version = f"hash({', '.join(f't.{column}' for column in table.version_columns) or 't'})"
    parts = connection.execute(
        f"select {month} as month, count(*) as row_count, bit_xor({version}), sum({version}::hugeint)"
        f" from {relation} as t group by 1 order by 1"
    ).fetchall() or [(None, 0, None, None)]
    root = _files_root(home, table.contact_data)
    files: list[str] = []
    count = 0
    for month_start, *fingerprint in parts:
        name = f"{month_start:%Y-%m}" if month_start else "none" if table.partition_column else "all"
        relative = f"{table.schema_name}/{table.name}/{name}-{_short(f'{fingerprint}{made_by}')[:20]}.parquet"
        files.append(relative)
        target = root / relative
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if table.contact_data else 0o755)
        draft = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        connection.execute(
            f"copy (select * from {relation} as t where {_in_month(table.partition_column, month_start)}"
            f" order by {', '.join(table.order) or 'all'}) to '{draft}' (format parquet, compression zstd)"
        )
        if table.contact_data:
            draft.chmod(0o600)
        _sync_replace(draft, target)
        count += 1
    return files, sum(row_count for _, row_count, *_ in parts), count


def _in_month(column: str | None, month: date | None) -> str:
    """The condition for one part, on the bare column, so that only its stretch of the table is read."""
    if column is None:
        return "true"
    if month is None:
        return f"{column} is null"
    return f"{column} >= date '{month}' and {column} < date '{month}' + interval 1 month"


def _short(text: str) -> str:
    import hashlib

    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def write_views(home: Home, catalog: Catalog, tables: Iterable[PublishableTable]) -> None:
    """Replace both catalogues by views over the files of `catalog`, which they name with the path of this home."""
    declared = {table.key: table for table in tables}
    _write_views(home.contacts, home.contacts_files, catalog, declared, contact_data=True)
    _write_views(home.published, home.published_files, catalog, declared, contact_data=False)


def _write_views(
    target: Path, root: Path, catalog: Catalog, declared: dict[str, PublishableTable], *, contact_data: bool
) -> None:
    """Build a catalogue of views beside `target` and put it in its place."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"attach {_quote(str(draft))} as draft (storage_version 'v1.5.0')")
        for schema in ("contacts",) if contact_data else ("trusted", "kpi"):
            connection.execute(f"create schema draft.{schema}")
        for key, table in catalog.tables.items():
            if table.contact_data != contact_data:
                continue
            schema, name = key.split(".")
            view = f'draft.{schema}."{name}"'
            paths = ", ".join(_quote(str(root / file)) for file in table.files)
            connection.execute(f"create view {view} as select * from read_parquet([{paths}])")
            if declaration := declared.get(key):
                connection.execute(f"comment on view {view} is {_quote(declaration.description)}")
                there = {column for column, *_ in connection.execute(f"describe {view}").fetchall()}
                for column, text in declaration.columns.items():
                    if column not in there:  # declared since the files were written
                        continue
                    connection.execute(f'comment on column {view}."{column}" is {_quote(text)}')
        connection.execute("create schema draft.publication")
        connection.execute("create table draft.publication.version (version bigint, as_of timestamptz)")
        connection.execute("insert into draft.publication.version values (?, ?)", [catalog.version, catalog.as_of])
        connection.execute(
            "create table draft.publication.consistency_group"
            " (name varchar, state varchar, version bigint, published_as_of timestamptz, reason varchar)"
        )
        for name, state in catalog.groups.items():
            connection.execute(
                "insert into draft.publication.consistency_group values (?, ?, ?, ?, ?)",
                [name, state.state, state.version, state.published_as_of, state.reason],
            )
        connection.execute("detach draft")
    draft.chmod(0o600 if contact_data else 0o644)
    _sync_replace(draft, target)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _retire(previous: Catalog, published: dict[str, PublishedTable], home: Home) -> dict[str, float]:
    current = set(_paths(published, home))
    now = time.time()
    return {
        **{path: since for path, since in previous.retired.items() if path not in current},
        **{path: now for path in _paths(previous.tables, home) if path not in current},
    }


def _paths(tables: dict[str, PublishedTable], home: Home) -> list[str]:
    """Paths in the home."""
    return [
        str((_files_root(home, table.contact_data) / file).relative_to(home.root))
        for table in tables.values()
        for file in table.files
    ]


def _collect(
    retired: dict[str, float], published: dict[str, PublishedTable], home: Home, grace_s: float
) -> dict[str, float]:
    """Delete what nobody needs: retired files whose grace is over, and what a killed publication left."""
    current = set(_paths(published, home))
    now = time.time()
    for root in (home.published_files, home.contacts_files):
        for file in root.glob("*/*/*.parquet*"):
            path = str(file.relative_to(home.root))
            if path not in current and now - max(retired.get(path, 0.0), file.stat().st_mtime) > grace_s:
                file.unlink(missing_ok=True)
    return {path: since for path, since in retired.items() if (home.root / path).exists()}


def collect_retired(home: Home, grace_s: float = GRACE_S) -> None:
    """Delete retired files whose grace is over, without a publication. The caller holds the warehouse's lock."""
    catalog = read_catalog(home)
    write_catalog(
        home, catalog.model_copy(update={"retired": _collect(catalog.retired, catalog.tables, home, grace_s)})
    )


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_bytes(content)
    _sync_replace(draft, path)


def _sync_replace(draft: Path, target: Path) -> None:
    """Put a finished file in its place, its bytes on disk before its name."""
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(draft, target)
