"""dlt: the sources `crm`, `ledger`, `support`, `costs` and `survey`, and one pipeline for each into the warehouse.

What belongs here: everything that knows dlt. What does not: reading vendors, casting, comparing.

A load brings one Parquet file a table, ready as it is: dlt takes it into its package as it stands, and our load job
merges it by key in one pass and one transaction, without a staging dataset. Reading state from the warehouse instead of dlt's own makes a load repeatable: whatever is left of a
killed one may be finished or thrown away, and rows are written by key, so none is lost or doubled.
dlt is imported when a load has rows to write, not before.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ingestion.contract import quoted
from ingestion.raw import MEMORY_LIMIT, merge_file
from ingestion.tables import TABLES, RawTable, Source
from lendloop.errors import PermanentError
from lendloop.home import Home

KEPT_STATE_ROWS = 200
"""Rows of dlt's bookkeeping tables that are kept; it never deletes any itself."""

FORMAT = "csv"
"""What a package calls our Parquet files. dlt carries a file into the load as it is only under a name that its normaliser
does not read; what is called parquet it writes anew."""
LOADED_AT, AS_OF = "x-loaded-at", "x-as-of"
"""Hints of a table in a package: the moments with which its rows are written."""


@dataclass(frozen=True)
class Delivery:
    """The rows to write of one table: a Parquet file with each key once, and which of its columns are meant."""

    table: RawTable
    file: Path
    columns: frozenset[str]


def dlt_for(home: Home) -> Any:
    """Import dlt with telemetry off and its files inside the home."""
    os.environ["DLT_DATA_DIR"] = str(home.dlt)
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ.setdefault("RUNTIME__LOG_LEVEL", "ERROR")
    os.environ["LOAD__DELETE_COMPLETED_JOBS"] = "true"
    os.environ["LOAD__WORKERS"] = "1"
    import dlt

    return dlt


def _resources(dlt: Any, deliveries: list[Delivery], moments: dict[str, str]) -> list[Any]:
    def rows_of(delivery: Delivery) -> Iterator[Any]:
        with pq.ParquetFile(delivery.file) as file:
            rows, empty = file.metadata.num_rows, file.schema_arrow.empty_table()
        empty = empty.select([name for name in empty.column_names if name in delivery.columns])
        yield dlt.mark.with_file_import(str(delivery.file), FORMAT, rows, hints=empty)

    resources = []
    for delivery in deliveries:
        resource = dlt.resource(
            rows_of(delivery),
            name=delivery.table.name,
            write_disposition="append",
            primary_key=list(delivery.table.key),
            file_format=FORMAT,
        )
        resource.apply_hints(additional_table_hints=moments)
        resources.append(resource)
    return resources


def make_source(home: Home, source: Source, deliveries: list[Delivery], moments: dict[str, str]) -> Any:
    """The dlt source of that name: one resource a table, whose file is merged into raw by key."""
    dlt = dlt_for(home)

    def crm() -> Any:
        """HubSpot: contacts and deals."""
        return _resources(dlt, deliveries, moments)

    def ledger() -> Any:
        """The loan ledger's SQL tables."""
        return _resources(dlt, deliveries, moments)

    def support() -> Any:
        """Zendesk: tickets, users and ticket events."""
        return _resources(dlt, deliveries, moments)

    def costs() -> Any:
        """The file of costs."""
        return _resources(dlt, deliveries, moments)

    def survey() -> Any:
        """Survey exports and lists of partners."""
        return _resources(dlt, deliveries, moments)

    function = {"crm": crm, "ledger": ledger, "support": support, "costs": costs, "survey": survey}[source]
    return dlt.source(function, name=source, max_table_nesting=0)()


def _destination(home: Home, source: Source) -> Any:
    """dlt's DuckDB, whose load jobs for our tables merge by key, totals included, and may be repeated."""
    from dlt.destinations.impl.duckdb.duck import DuckDbClient, DuckDbCopyJob
    from dlt.destinations.impl.duckdb.factory import duckdb

    tables = {table.name: table for table in TABLES[source]}

    class MergeJob(DuckDbCopyJob):  # type: ignore[misc]
        def run(self) -> None:
            client, hints = self._job_client.sql_client, self._load_table
            with client.begin_transaction():
                merge_file(
                    client.native_connection,
                    tables[self.load_table_name],
                    Path(self._file_path),
                    list(hints["columns"]),
                    load_id=self._load_id,
                    loaded_at=datetime.fromisoformat(hints[LOADED_AT]),
                    as_of=datetime.fromisoformat(hints[AS_OF]),
                )

    class MergingClient(DuckDbClient):  # type: ignore[misc]
        def create_load_job(self, table: Any, file_path: str, load_id: str, restore: bool = False) -> Any:
            if table["name"] in tables:
                return MergeJob(file_path)
            return super().create_load_job(table, file_path, load_id, restore)

    class Warehouse(duckdb):  # type: ignore[misc]
        def _raw_capabilities(self) -> Any:
            capabilities = super()._raw_capabilities()
            capabilities.preferred_loader_file_format = "parquet"
            capabilities.supported_loader_file_formats = ["parquet", "jsonl", FORMAT]
            return capabilities

        @property
        def client_class(self) -> Any:
            return MergingClient

    from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials

    credentials = DuckDbCredentials(str(home.warehouse))
    credentials.global_config = {"memory_limit": MEMORY_LIMIT}
    return Warehouse(credentials=credentials, destination_name="duckdb")


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
            destination=_destination(home, source),
            dataset_name=f"raw_{source}",
        )

    def stage(self, deliveries: list[Delivery], *, loaded_at: datetime, as_of: datetime) -> None:
        """Extract and normalise: afterwards a load package waits on disk."""
        moments = {LOADED_AT: loaded_at.isoformat(), AS_OF: as_of.isoformat()}
        with self._translating("staging"):
            self.pipeline.extract(make_source(self.home, self.source, deliveries, moments))
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
