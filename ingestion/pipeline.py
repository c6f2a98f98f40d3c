"""dlt: the sources `crm`, `ledger` and `support`, and one pipeline for each into the warehouse.

What belongs here: everything that knows dlt. What does not: reading vendors, casting, comparing.

Reading state from the warehouse instead of dlt's own makes a load repeatable: whatever is left of a
killed one may be finished or thrown away, and rows are written by key, so none is lost or doubled.
dlt is imported when a load has rows to write, not before.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from ingestion.contract import quoted
from ingestion.tables import RawTable, Source
from lendloop.errors import PermanentError
from lendloop.home import Home

KEPT_STATE_ROWS = 200
"""Rows of dlt's bookkeeping tables that are kept; it never deletes any itself."""

Rows = Callable[[str], Iterator[pa.Table]]


def dlt_for(home: Home) -> Any:
    """Import dlt with telemetry off and its files inside the home."""
    os.environ["DLT_DATA_DIR"] = str(home.dlt)
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ.setdefault("RUNTIME__LOG_LEVEL", "ERROR")
    os.environ["NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID"] = "true"
    os.environ["LOAD__DELETE_COMPLETED_JOBS"] = "true"
    os.environ["LOAD__TRUNCATE_STAGING_DATASET"] = "true"
    import dlt

    return dlt


def _resources(dlt: Any, tables: list[RawTable], rows: Rows) -> list[Any]:
    return [
        dlt.resource(
            rows(table.name),
            name=table.name,
            write_disposition={"disposition": "merge", "strategy": "delete-insert"},
            primary_key=list(table.key),
            file_format="parquet",
        )
        for table in tables
    ]


def make_source(home: Home, source: Source, tables: list[RawTable], rows: Rows) -> Any:
    """The dlt source of that name: one resource a table, Arrow tables merged into raw by key."""
    dlt = dlt_for(home)

    def crm() -> Any:
        """HubSpot: contacts and deals."""
        return _resources(dlt, tables, rows)

    def ledger() -> Any:
        """The loan ledger's SQL tables."""
        return _resources(dlt, tables, rows)

    def support() -> Any:
        """Zendesk: tickets, users and ticket events."""
        return _resources(dlt, tables, rows)

    function = {"crm": crm, "ledger": ledger, "support": support}[source]
    return dlt.source(function, name=source, max_table_nesting=0)()


class Loader:
    """dlt's pipeline of one source. `stage` needs no lock; `finish` needs the warehouse's, held by the caller."""

    def __init__(self, home: Home, source: Source) -> None:
        dlt = dlt_for(home)
        packages = home.dlt / "pipelines"
        packages.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home = home
        self.source = source
        self.pipeline = dlt.pipeline(
            pipeline_name=source,
            pipelines_dir=str(packages),
            destination=dlt.destinations.duckdb(credentials=str(home.warehouse)),
            dataset_name=f"raw_{source}",
        )

    def stage(self, tables: list[RawTable], rows: Rows) -> None:
        """Extract and normalise: afterwards a load package waits on disk."""
        with self._translating("staging"):
            self.pipeline.extract(make_source(self.home, self.source, tables, rows), loader_file_format="parquet")
            self.pipeline.normalize()

    def finish(self) -> None:
        """Load every waiting package. Raises PermanentError with dlt's reason."""
        with self._translating("loading"):
            self.pipeline.load()

    @contextmanager
    def _translating(self, doing: str) -> Iterator[None]:
        from dlt.pipeline.exceptions import PipelineStepFailed

        try:
            yield
        except PipelineStepFailed as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise PermanentError(f"{doing} {self.source} into raw failed: {reason}") from error

    def tidy(self) -> None:
        """Remove what finished loads leave on disk."""
        for package in (_working_folder(self.home, self.source) / "load" / "loaded").glob("*"):
            shutil.rmtree(package, ignore_errors=True)

    @property
    def staged(self) -> bool:
        """Whether a complete package waits to be loaded."""
        return bool(self.pipeline.list_normalized_load_packages())


def _working_folder(home: Home, source: Source) -> Path:
    return home.dlt / "pipelines" / source


def has_leftovers(home: Home, source: Source) -> bool:
    """Whether a load of this source was killed half-way; looks at files only, without importing dlt."""
    place = _working_folder(home, source)
    folders = (place / "load" / "normalized", place / "load" / "new", place / "normalize")
    return any(path.is_file() for folder in folders if folder.exists() for path in folder.rglob("*/*"))


def discard_leftovers(home: Home, source: Source) -> None:
    """Throw away what a killed or failed load left on disk: the next read finds those rows again."""
    shutil.rmtree(_working_folder(home, source), ignore_errors=True)


def prune(connection: Any, source: Source) -> None:
    """Keep dlt's bookkeeping tables short."""
    for table in ("_dlt_loads", "_dlt_pipeline_state"):
        name = f"{quoted(f'raw_{source}')}.{table}"
        exists = connection.execute(
            "SELECT 1 FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?", [f"raw_{source}", table]
        ).fetchall()
        if exists:
            connection.execute(f"DELETE FROM {name} WHERE rowid < (SELECT max(rowid) FROM {name}) - {KEPT_STATE_ROWS}")
