"""Loading a source into raw, start to end: what Dagster and the command line call.

What belongs here: the order of the steps. What does not: how a source is read (ledger, crm,
support, costs, survey), what a value must be (contract), what is compared (scratch, raw), how rows are written
(pipeline).

    read what raw holds (lock)  ->  read the source  ->  compare (lock)  ->  stage with dlt  ->  load (lock)

The source's own lock is held throughout, the warehouse's only where it says so.
"""

from __future__ import annotations

import shutil
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import duckdb
import pyarrow as pa

from ingestion import quarantine, raw
from ingestion.crm import mapped_properties
from ingestion.declarations import declaration_faults
from ingestion.pipeline import Delivery, Loader, discard_leftovers, has_leftovers, prune
from ingestion.raw import TableState, prepare_raw
from ingestion.replay import Replay
from ingestion.report import SourceReport, TableCounts
from ingestion.scratch import Scratch, keys_in
from ingestion.state import SourceMemory
from ingestion.stream import Stream
from ingestion.tables import TABLES, RawTable
from lendloop.clock import Clock
from lendloop.errors import ConfigurationError, LendloopError, PermanentError
from lendloop.locks import file_lock
from lendloop.settings import Settings, SourceName
from lendloop.source_status import SourceStatus, read_status, write_status
from lendloop.warehouse import open_warehouse, warehouse_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["SourceReport", "check", "load_source", "prepare_raw", "replay_quarantine"]

SHRINK_FROM_ROWS = 100
"""A table that holds fewer rows may shrink as it likes."""
KEYS_AT_ONCE = 50_000


class Reader(Protocol):
    """A source as a load sees it. `lists_keys`: keys alone can be listed, else the whole table is read for it.

    `lacks` names the declared columns that a table of the source does not have.
    """

    lists_keys: bool
    notes: list[str]

    def has(self, table: RawTable) -> bool: ...
    def lacks(self, table: RawTable) -> list[str]: ...
    def follows_cursor(self, table: RawTable) -> bool: ...
    def read(self, table: RawTable, floor: datetime | int | None) -> Iterator[tuple[pa.Table | Stream, bool]]: ...
    def weight(self, table: RawTable) -> int | None: ...
    def keys(self, table: RawTable) -> Iterator[pa.Table | Stream]: ...
    def by_key(self, table: RawTable, keys: pa.Table) -> Iterator[pa.Table | Stream]: ...
    def compare_every_days(self, table: RawTable) -> int | None: ...


@runtime_checkable
class FilesReader(Reader, Protocol):
    """A source of files, each of which is read whole when its content changed. See `ingestion.survey.SurveyReader`."""

    contents: dict[str, str]
    faults: list[str]

    def skip(self, contents: Mapping[str, str]) -> None: ...
    def standing(self) -> list[str]: ...


def open_reader(source: SourceName, settings: Settings, clock: Clock) -> AbstractContextManager[Any]:
    """The reader of a source; entering it raises ConfigurationError or TransientError when it can't be read."""
    if source == "ledger":
        from ingestion.ledger import LedgerReader

        return LedgerReader.open(settings)
    if source == "crm":
        from ingestion.crm import CrmReader

        return CrmReader.open(settings)
    if source == "costs":
        from ingestion.costs import CostReader

        return CostReader.open(settings)
    if source == "survey":
        from ingestion.survey import SurveyReader

        return SurveyReader.open(settings)
    from ingestion.support import SupportReader

    return SupportReader.open(settings, clock)


def load_source(source: SourceName, settings: Settings, clock: Clock) -> SourceReport:
    """Bring raw up to date with a source.

    Writes nothing when nothing changed. Raises LendloopError; the source's status says so then.
    """
    started = time.monotonic()
    home = settings.home.prepare()
    if not settings.is_configured(source):
        prepare_raw(settings)
        write_status(home, SourceStatus(source=source, configured=False))
        return SourceReport(source=source, configured=False).add_up()
    with file_lock(home.locks / f"source-{source}.lock", f"load {source}", settings.lock_timeout_s):
        try:
            report = _Load(source, settings, clock).run()
        except Exception as error:
            text = str(error) if isinstance(error, LendloopError) else f"{type(error).__name__}: {error}"
            status = read_status(home)[source]
            write_status(home, status.model_copy(update={"configured": True, "error": text}))
            raise
        report.duration_s = round(time.monotonic() - started, 3)
        before = read_status(home)[source]
        status = _status(before, report, clock)
        if report.faults:
            status = status.model_copy(
                update={"succeeded_as_of": before.succeeded_as_of, "error": "; ".join(report.faults)}
            )
        write_status(home, status)
        if report.faults:
            raise PermanentError(f"{status.error}: what raw has of them stays, and the rest of {source} was taken")
        return report


def _status(before: SourceStatus, report: SourceReport, clock: Clock) -> SourceStatus:
    return SourceStatus(
        source=report.source,
        configured=True,
        succeeded_as_of=clock.as_of,
        changed_as_of=clock.as_of if report.changed else before.changed_as_of,
        rows=report.rows,
        new=report.new,
        changed=report.rows_changed,
        deleted=report.deleted,
        quarantined=report.quarantined,
        notes=report.notes,
    )


@dataclass
class _Progress:
    """Where one table stands in a load."""

    table: RawTable
    state: TableState
    whole: bool
    compare: bool = False
    outcome: dict[str, int] = field(default_factory=lambda: {"new": 0, "changed": 0, "deleted": 0, "live_change": 0})
    left: int = 0
    source_weight: int | None = None
    quarantined: int = 0


class _Load:
    def __init__(self, source: SourceName, settings: Settings, clock: Clock) -> None:
        self.source = source
        self.settings = settings
        self.home = settings.home
        self.clock = clock
        self.today: date = clock.business_date()
        self.notes: list[str] = []
        self.spool = self.home.dlt / "spool" / source
        self.memory = SourceMemory.read(self.home, source)

    def run(self) -> SourceReport:
        finish_leftovers(self.source, self.settings, self.notes)
        shutil.rmtree(self.spool, ignore_errors=True)
        self.memory.read_at = datetime.now(UTC)
        with ExitStack() as stack:
            reader: Reader = stack.enter_context(open_reader(self.source, self.settings, self.clock))
            progress = self._read_states(reader)
            if isinstance(reader, FilesReader):
                reader.skip(self.memory.contents if self._raw_is_as_left(progress) else {})
            scratch = Scratch(self.spool, self.clock.as_of)
            stack.callback(scratch.close)
            for one in progress:
                scratch.start(one.table, one.state, quarantine.mended(self.home, self.source, one.table.name))
                self._read(reader, scratch, one)
            self._classify(scratch, [one for one in progress if one.left and one.state.total])
            self._compare_keys(reader, scratch, progress)
            self._remember_gaps(scratch, progress)
            loaded_at = latest([one.state.last_loaded_at for one in progress])
            load_id = f"{loaded_at:%Y%m%dT%H%M%S%f}"
            for one in progress:
                one.outcome = scratch.outcome(one.table.name)
                self._keep_bad(scratch, one, load_id, loaded_at)
                self._let_go_of_mended(scratch, one, load_id, loaded_at)
            written = [one for one in progress if sum(one.outcome[kind] for kind in ("new", "changed", "deleted"))]
            if written:
                write_rows(self.source, self.settings, scratch, [one.table for one in written], loaded_at)
            self.notes += reader.notes
            in_raw = [one.state.last_loaded_at for one in progress if one.state.last_loaded_at is not None]
            newest = max(in_raw, default=None) if not written else loaded_at
            report = self._report(scratch, progress, newest is not None and newest != self.memory.reported)
            self.memory.reported = newest
            if isinstance(reader, FilesReader):
                self.memory.contents = reader.contents
                report.faults = reader.faults
        self.memory.write(self.home, self.source)
        shutil.rmtree(self.spool, ignore_errors=True)
        return report

    def _read_states(self, reader: Reader) -> list[_Progress]:
        progress = []
        with open_warehouse(self.home, f"what raw_{self.source} holds", self.settings.lock_timeout_s) as connection:
            raw.create_tables(connection)
            for table in TABLES[self.source]:
                due = self._is_due(reader, table)
                lost = self._lost(connection, reader, table)
                whole = lost or not reader.follows_cursor(table) or (due and not reader.lists_keys)
                state = raw.read_table_state(
                    connection,
                    table,
                    self.spool,
                    as_of=self.clock.as_of,
                    lag_minutes=self.settings.lag_minutes,
                    whole=whole,
                    recount=due,
                )
                progress.append(_Progress(table, state, whole=state.floor is None, compare=due and state.total > 0))
        return progress

    def _lost(self, connection: duckdb.DuckDBPyConnection, reader: Reader, table: RawTable) -> bool:
        """Whether the source has no more what raw has of it: the table, or a column in which opt-outs or reversals stood.

        Raises PermanentError unless LENDLOOP_SHRINK_LIMIT=0 allows it; then the table is read whole.
        """
        if not reader.has(table):
            lost = [table.name] if raw.holds(connection, table) else []
        else:
            lost = [f"{table.name}.{name}" for name in reader.lacks(table) if raw.holds(connection, table, name)]
        if lost and self.settings.shrink_limit > 0:
            raise PermanentError(
                f"{self.source} has no {', '.join(lost)} any more, where raw has values: refused, nothing of {self.source} was "
                f"applied; if that is right, allow it once with LENDLOOP_SHRINK_LIMIT=0"
            )
        return bool(lost)

    def _raw_is_as_left(self, progress: list[_Progress]) -> bool:
        """Whether raw holds what the last load left there, so that what that load remembers is still true of it."""
        moments = [one.state.last_loaded_at for one in progress if one.state.last_loaded_at is not None]
        return max(moments, default=None) == self.memory.reported

    def _is_due(self, reader: Reader, table: RawTable) -> bool:
        """Whether the keys of a table with a cursor must be compared on this business date whatever its count says."""
        every = reader.compare_every_days(table)
        last = self.memory.compared_on.get(table.name)
        return every is not None and (last is None or abs((self.today - last).days) >= every)

    def _read(self, reader: Reader, scratch: Scratch, one: _Progress) -> None:
        table = one.table
        if not reader.has(table):
            # what raw has live of it by now may go, or the load would have been refused
            one.whole = one.compare = one.state.live > 0
            return
        if reader.follows_cursor(table) and reader.compare_every_days(table) is not None:
            one.source_weight = reader.weight(table)
        for batch, deleted in reader.read(table, one.state.floor):
            scratch.take(table.name, batch, deleted=deleted)
        if isinstance(reader, FilesReader):
            scratch.stands(table.name, reader.standing())
        one.left = scratch.settle(table.name)
        if one.whole:
            self._refuse_shrinking(scratch, one)
            one.compare = one.state.total > 0 and scratch.unseen(table.name) > 0
            if reader.follows_cursor(table):
                self.memory.compared_on[table.name] = self.today

    def _classify(self, scratch: Scratch, progress: list[_Progress]) -> None:
        """Find out what raw has of the rows left, and drop those that it has already."""
        if not progress:
            return
        with open_warehouse(self.home, f"compare {self.source}", self.settings.lock_timeout_s) as connection:
            for one in progress:
                self._classify_one(connection, scratch, one)

    def _classify_one(self, connection: duckdb.DuckDBPyConnection, scratch: Scratch, one: _Progress) -> None:
        name = one.table.name
        verdicts = self.spool / f"verdicts_{name}.parquet"
        raw.classify(connection, one.table, scratch.candidates(name), verdicts)
        scratch.mark(name, verdicts)
        one.left = scratch.count(f"f_{name}")

    def _compare_keys(self, reader: Reader, scratch: Scratch, progress: list[_Progress]) -> None:
        """Find rows that the source no longer has, and rows that came late beyond the lag window."""
        for one in progress:
            if one.source_weight is not None and not one.whole and not one.compare:
                expected = one.state.live_weight + scratch.weight_change(one.table.name)
                one.compare = one.source_weight - self.memory.gaps.get(one.table.name, 0) != expected
        wanted = [one for one in progress if one.compare]
        for one in wanted:
            if not one.whole:
                self._list_keys(reader, scratch, one)
                self._refuse_shrinking(scratch, one)
                self.memory.compared_on[one.table.name] = self.today
        if not wanted:
            return
        late: list[tuple[_Progress, Path]] = []
        with open_warehouse(self.home, f"compare keys of {self.source}", self.settings.lock_timeout_s) as connection:
            for one in wanted:
                name = one.table.name
                if not one.whole and not reader.lists_keys:
                    self._classify_one(connection, scratch, one)
                gone, missing = (self.spool / f"{what}_{name}.parquet" for what in ("gone", "missing"))
                if raw.rows_not_in(connection, one.table, scratch.seen(name), gone):
                    scratch.retire(name, gone)
                listed = reader.lists_keys and not one.whole
                if listed and raw.keys_not_live(connection, one.table, scratch.only_listed(name), missing):
                    late.append((one, missing))
        for one, missing in late:
            for keys in keys_in(missing, KEYS_AT_ONCE):
                for batch in reader.by_key(one.table, keys):
                    scratch.take(one.table.name, batch)
            one.left = scratch.settle(one.table.name)
        self._classify(scratch, [one for one, _ in late])

    def _remember_gaps(self, scratch: Scratch, progress: list[_Progress]) -> None:
        """After a whole look at a table, what still weighs otherwise stays out, in quarantine."""
        for one in progress:
            if one.source_weight is not None and (one.whole or one.compare):
                live = one.state.live_weight + scratch.weight_change(one.table.name)
                self.memory.gaps[one.table.name] = one.source_weight - live

    @staticmethod
    def _list_keys(reader: Reader, scratch: Scratch, one: _Progress) -> None:
        if reader.lists_keys:
            for keys in reader.keys(one.table):
                scratch.saw(one.table.name, keys)
        else:
            for batch, deleted in reader.read(one.table, None):
                scratch.take(one.table.name, batch, deleted=deleted)
            one.left = scratch.settle(one.table.name)

    def _refuse_shrinking(self, scratch: Scratch, one: _Progress) -> None:
        live = one.state.live
        if live < SHRINK_FROM_ROWS:
            return
        seen = scratch.shown_live(one.table.name)
        if seen < live * self.settings.shrink_limit:
            raise PermanentError(
                f"{self.source}.{one.table.name} has {seen} rows where raw holds {live}: refused, nothing of {self.source} was "
                f"applied; if that is right, allow it once with LENDLOOP_SHRINK_LIMIT=0"
            )

    def _keep_bad(self, scratch: Scratch, one: _Progress, load_id: str, moment: datetime) -> None:
        for number, bad in enumerate(scratch.bad(one.table.name)):
            one.quarantined += quarantine.store(
                self.home,
                self.source,
                one.table.name,
                bad,
                load_id=f"{load_id}_{number}" if number else load_id,
                quarantined_at=moment,
            )
        if one.quarantined:
            self.notes.append(
                f"{one.table.name}: {one.quarantined} row(s) to quarantine, see "
                f"{quarantine.folder(self.home, self.source, one.table.name)}"
            )
        if new := scratch.tables[one.table.name].new_columns:
            self.notes.append(f"{one.table.name}: new column(s) taken into raw: {', '.join(sorted(new))}")

    def _let_go_of_mended(self, scratch: Scratch, one: _Progress, load_id: str, moment: datetime) -> None:
        """What waits in quarantine is over once the source shows its row without a fault: it explains nothing any more."""
        waiting = quarantine.waiting(self.home, self.source, one.table.name)
        if not waiting.num_rows:
            return
        good = scratch.good_keys(one.table.name, waiting.column("key"))
        entries = zip(*(waiting.column(name).to_pylist() for name in ("quarantine_id", "key")), strict=True)
        over: dict[str, str | None] = {entry: None for entry, key in entries if key in good}
        quarantine.mark_replayed(self.home, self.source, one.table.name, over, load_id=load_id, replayed_at=moment)

    def _report(self, scratch: Scratch, progress: list[_Progress], changed: bool) -> SourceReport:
        tables = {}
        for one in progress:
            read = scratch.tables[one.table.name]
            outcome = one.outcome
            tables[one.table.name] = TableCounts(
                read=read.read,
                new=outcome["new"],
                changed=outcome["changed"],
                deleted=outcome["deleted"],
                quarantined=one.quarantined,
                unchanged=max(0, read.read - read.faulty - outcome["new"] - outcome["changed"]),
                rows=one.state.live + outcome["live_change"],
            )
        return SourceReport(source=self.source, changed=changed, tables=tables, notes=self.notes).add_up()


def write_rows(
    source: SourceName, settings: Settings, scratch: Scratch, tables: list[RawTable], loaded_at: datetime
) -> None:
    """Load the rows that `scratch` has for these tables: staged without the warehouse's lock, loaded under it."""
    home = settings.home
    loader = Loader(home, source)
    deliveries = [
        Delivery(table, scratch.to_write(table.name), scratch.written_columns(table.name)) for table in tables
    ]
    loader.stage(deliveries, loaded_at=loaded_at, as_of=scratch.as_of)
    with warehouse_lock(home, f"load {source}", settings.lock_timeout_s):
        try:
            loader.finish()
        except PermanentError:
            discard_leftovers(home, source)
            raise
        with duckdb.connect(str(home.warehouse)) as connection:
            prune(connection, source)
    loader.tidy()


def replay_quarantine(source: SourceName, settings: Settings, clock: Clock, table: str | None = None) -> SourceReport:
    """Try the rows in quarantine again, of one table or all, and load those that pass now.

    A row that raw has as new or newer is marked as taken without being written. Raises ConfigurationError for an
    unknown table.
    """
    started = time.monotonic()
    tables = [one for one in TABLES[source] if table in (None, one.name)]
    if not tables:
        known = ", ".join(one.name for one in TABLES[source])
        raise ConfigurationError(f"{source} has no table {table!r}; known are: {known}")
    home = settings.home.prepare()
    notes: list[str] = []
    with file_lock(home.locks / f"source-{source}.lock", f"replay {source}", settings.lock_timeout_s):
        finish_leftovers(source, settings, notes)
        scratch = Scratch(home.dlt / "spool" / source, clock.as_of, strict=True)
        try:
            replay = Replay(source, settings, scratch)
            written = replay.take(tables, clock.as_of)
            counts = {one.name: scratch.outcome(one.name) for one in tables}
            loaded_at = latest([scratch.tables[one.name].state.last_loaded_at for one in tables])
            if written:
                write_rows(source, settings, scratch, written, loaded_at)
            taken = replay.close_files(f"{loaded_at:%Y%m%dT%H%M%S%f}", loaded_at)
            still = sum(scratch.tables[one.name].faulty for one in tables)
            notes.append(f"{taken} row(s) taken out of quarantine, {still} still refused")
            report = SourceReport(source=source, changed=bool(written), notes=notes)
            for one in tables:
                outcome, state = counts[one.name], scratch.tables[one.name].state
                report.tables[one.name] = TableCounts(
                    read=scratch.tables[one.name].read,
                    new=outcome["new"],
                    changed=outcome["changed"],
                    quarantined=scratch.tables[one.name].faulty,
                    rows=state.live + outcome["live_change"],
                )
        finally:
            scratch.close()
            shutil.rmtree(scratch.folder, ignore_errors=True)
    report.duration_s = round(time.monotonic() - started, 3)
    return report.add_up()


def latest(moments: list[datetime | None]) -> datetime:
    """Now, and later than every load before, whatever the machine's clock did."""
    now = datetime.now(UTC)
    return max([now, *(moment + timedelta(microseconds=1) for moment in moments if moment is not None)])


def finish_leftovers(source: SourceName, settings: Settings, notes: list[str]) -> None:
    """Load what a killed run had ready; what it had not is read again from the source anyway."""
    home = settings.home
    if not has_leftovers(home, source):
        return
    loader = Loader(home, source)
    if loader.staged:
        try:
            with warehouse_lock(home, f"finish the killed load of {source}", settings.lock_timeout_s):
                loader.finish()
            notes.append("finished the load of an earlier run that was killed")
        except PermanentError as error:
            notes.append(f"threw away the load of an earlier run and read it again: {error}")
    discard_leftovers(home, source)


def check(settings: Settings) -> list[str]:
    """Faults of the declarations and of the settings that name columns, found offline; empty when all is well."""
    faults = declaration_faults()
    try:
        mapped_properties(settings.crm_properties)
    except ConfigurationError as error:
        faults.append(str(error))
    return faults
