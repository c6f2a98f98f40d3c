"""From a source to raw: whether raw holds what the source has, day by day, and which rows it does not.

What belongs here: asking the ledger for counts and sums, the file of costs for its lines, and beside what of raw they
belong. What does not: comparing (`governance.reconcile`), CRM and support (`ingestion.reconcile_vendor`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb

from governance.reconcile import Comparison, Day, DayOutcome, RowDifference, Totals, days_to_search, settle
from ingestion.contract import MONEY, quoted
from ingestion.costs import CostReader
from ingestion.ledger import LedgerReader
from ingestion.listed import Compared, ListedRow, compare_rows, tell_apart
from ingestion.raw import prepare_raw
from ingestion.state import SourceMemory
from ingestion.tables import COSTS, LEDGER, TABLES, RawTable, Source
from lendloop.clock import Clock
from lendloop.errors import LendloopError
from lendloop.locks import file_lock
from lendloop.settings import Settings
from lendloop.source_status import read_status
from lendloop.warehouse import open_warehouse

AMOUNTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "m_loan": (
        "submittedon_date",
        ("principal_amount", "principal_disbursed_derived", "principal_outstanding_derived"),
    ),
    "m_loan_transaction": ("transaction_date", ("amount", "principal_portion_derived")),
    "m_loan_repayment_schedule": ("duedate", ("principal_amount", "principal_completed_derived")),
    "m_savings_account_transaction": ("transaction_date", ("amount",)),
}
"""The ledger's tables that are compared: the column of the day, and the amounts."""
ASKED: dict[str, tuple[str, ...]] = {
    "contacts": (
        *("do_not_contact", "is_fraud", "is_deceased", "has_dispute", "sms_consent", "email_consent"),
        "updated_at",
    ),
    "deals": ("requested_amount", "approved_amount", "stage", "updated_at"),
    "tickets": ("status", "updated_at"),
    "users": ("active", "updated_at"),
}
"""The tables of CRM and support that their vendors can count, and the columns that are compared."""
GROUPS: dict[Source, str] = {
    "crm": "crm",
    "ledger": "portfolio",
    "support": "support",
    "costs": "portfolio",
    "survey": "customer",
}
"""The consistency group for which a source's differences count."""
MANY_DAYS = 60
"""From so many days on all are asked for."""
NEVER_LOADED = "nothing was loaded yet"


def reconcile_ledger(settings: Settings, clock: Clock, *, whole: bool, on: date | None = None) -> list[Comparison]:
    """The ledger beside raw: all days (`whole`), one (`on`), or those that the last load wrote or that differed before.

    The first call of a business date is whole too. Rows that the source changed since it was read, and rows in
    quarantine, are explained. Raises LendloopError when the ledger does not answer.
    """
    home = settings.home
    tables = [table for table in LEDGER if table.name in AMOUNTS]
    with (
        file_lock(home.locks / "source-ledger.lock", "reconcile the ledger", settings.lock_timeout_s),
        LedgerReader.open(settings) as reader,
    ):
        if read_status(home)["ledger"].succeeded_as_of is None:
            return [Comparison(*sides_of(table), AMOUNTS[table.name][1], not_compared=NEVER_LOADED) for table in tables]
        prepare_raw(settings)
        memory = SourceMemory.read(home, "ledger")
        whole = (whole or memory.reconciled_on != clock.business_date()) and on is None
        compared = []
        for table in tables:
            day, amounts = AMOUNTS[table.name]
            amounts = tuple(name for name in amounts if name in reader.columns.get(table.name, {}))
            comparison = Comparison(*sides_of(table), amounts)
            compared.append(comparison)
            if day not in reader.columns.get(table.name, {}):
                comparison.not_compared = f"the ledger has no {table.name}.{day}"
                continue
            one = _Ledger(settings, reader, table, day, amounts)
            days = [on] if on else None if whole else one.changed_days(memory.open_days.get(table.name, []))
            one.compare(comparison, days if days is None or len(days) <= MANY_DAYS else None)
            if on is None:
                memory.open_days[table.name] = [outcome.day for outcome in comparison.unexplained if outcome.day]
        if whole:
            memory.reconciled_on = clock.business_date()
        memory.write(home, "ledger")
    return compared


def sides_of(table: RawTable) -> tuple[str, str, str]:
    """The table at its source, in raw, and the group for which their differences count."""
    return f"{table.source}.{table.name}", f"{table.schema}.{table.name}", GROUPS[table.source]


class _Ledger:
    """One table of the ledger beside raw's."""

    def __init__(
        self, settings: Settings, reader: LedgerReader, table: RawTable, day: str, amounts: tuple[str, ...]
    ) -> None:
        self.settings = settings
        self.reader = reader
        self.table = table
        self.day = day
        self.amounts = amounts
        self.compared = Compared(table, day, amounts)
        self.relation = f"{table.schema}.{table.name}"

    def changed_days(self, before: Sequence[date]) -> list[Day]:
        """The days of the rows that the last load wrote, and those that differed before."""
        with self._warehouse() as connection:
            found = connection.execute(
                f"select distinct {quoted(self.day)} from {self.relation}"
                f" where _loaded_at = (select max(_loaded_at) from {self.relation})"
            ).fetchall()
        return list({*before, *(day for (day,) in found)})

    def compare(self, comparison: Comparison, days: Sequence[Day] | None) -> None:
        with self._warehouse() as connection:
            held = self._raw_totals(connection, days)
            [(read_until,)] = connection.execute(
                f"select coalesce(max(top_cursor), 0) from {self.table.schema}._totals where table_name = ?",
                [self.table.name],
            ).fetchall()
        source = {
            day: Totals(rows, sums)
            for day, rows, sums in self.reader.totals_by_day(self.table, self.day, self.amounts, days)
        }
        differences: dict[Day, list[RowDifference]] = {}
        explained: dict[Day, dict[str, int]] = {}
        wanted = days_to_search(source, held)
        if wanted:
            rows = [
                ListedRow(row.key, row.day, row.amounts, None, row.changed_us)
                for row in self.reader.rows_of_days(self.table, self.day, self.amounts, wanted)
            ]
            with self._warehouse() as connection:
                in_raw = self.compared.in_raw(connection, self._among(wanted), _parameters(wanted))

            def reason(difference: RowDifference, row: ListedRow | None, _: ListedRow | None) -> str | None:
                newer = row is not None and row.changed_us is not None and row.changed_us > read_until > 0
                return "changed_since_read" if newer and difference.kind in ("lost", "altered") else None

            differences, explained = tell_apart(self.compared, rows, in_raw, reason, self.settings.home)
        settle(comparison, source, held, differences, explained)

    def _warehouse(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        return open_warehouse(
            self.settings.home, f"reconcile {self.table.name} with the ledger", self.settings.lock_timeout_s
        )

    def _raw_totals(self, connection: duckdb.DuckDBPyConnection, days: Sequence[Day] | None) -> dict[Day, Totals]:
        sums = "".join(f", coalesce(sum({quoted(name)}), 0)::{MONEY}" for name in self.amounts)
        found = connection.execute(
            f"select {quoted(self.day)}, count(*){sums} from {self.relation} where _deleted_at is null"
            f" and {self._among(days)} group by 1",
            _parameters(days),
        ).fetchall()
        return {day: Totals(rows, tuple(amounts)) for day, rows, *amounts in found}

    def _among(self, days: Sequence[Day] | None) -> str:
        column = quoted(self.day)
        return "true" if days is None else f"({column} in (select unnest(?::date[])) or ({column} is null and ?))"


def _parameters(days: Sequence[Day] | None) -> list[object]:
    return [] if days is None else [[day for day in days if day is not None], None in days]


def reconcile_costs(settings: Settings, on: date | None = None) -> Comparison:
    """The lines of the file beside raw's by month, or those of one day's month. Why the file can't be read, is said.

    A line that differs in a file which was changed after it was loaded waits for the next load.
    """
    table = COSTS[0]
    lines = Compared(table, "month", ("market", "currency", "product", "kind", "amount"))
    comparison = Comparison(*sides_of(table), lines.amounts)
    home, month = settings.home, on.replace(day=1) if on else None
    try:
        with (
            file_lock(home.locks / "source-costs.lock", "reconcile costs", settings.lock_timeout_s),
            CostReader.open(settings) as reader,
        ):
            read_at = SourceMemory.read(home, "costs").read_at
            if read_at is None:
                comparison.not_compared = NEVER_LOADED
                return comparison
            prepare_raw(settings)
            changed_at = datetime.fromtimestamp(Path(str(settings.costs_file)).stat().st_mtime, UTC)
            listed = lines.listed(batch for batch, _ in reader.read(table, None))
            with open_warehouse(home, "reconcile costs", settings.lock_timeout_s) as connection:
                in_raw = lines.in_raw(connection, "true", [])
    except LendloopError as error:
        comparison.not_compared, comparison.is_reached = str(error), False
        return comparison
    reason = "changed_since_read" if changed_at > read_at else None
    compare_rows(
        comparison,
        lines,
        _of_month(listed, month),
        _of_month(in_raw, month),
        lambda difference, *_: reason if difference.kind != "doubled" else None,
        home,
    )
    return comparison


def _of_month(rows: list[ListedRow], month: date | None) -> list[ListedRow]:
    """The lines of a month, whichever of its days they name; all without one."""
    return [row for row in rows if month is None or (row.day is not None and row.day.replace(day=1) == month)]


def reconcile_loads(settings: Settings, sources: Iterable[Source]) -> list[Comparison]:
    """Of the tables of these sources that can't be compared with their source: the live rows that the loads counted
    beside those that raw holds now.

    A load that finds its count wrong counts anew, and finds by the keys what is missing.
    """
    compared = []
    prepare_raw(settings)
    with open_warehouse(settings.home, "reconcile raw", settings.lock_timeout_s) as connection:
        for source in sources:
            for table in TABLES[source]:
                if table.name in ASKED:
                    continue
                left = f"loads of {source}.{table.name}"
                comparison = Comparison(left, f"{table.schema}.{table.name}", GROUPS[source], ())
                compared.append(comparison)
                counted = connection.execute(
                    f"select live from {table.schema}._totals where table_name = ?", [table.name]
                ).fetchall()
                if not counted:
                    comparison.not_compared = NEVER_LOADED
                    continue
                [(held,)] = connection.execute(
                    f"select count(*) from {table.schema}.{table.name} where _deleted_at is null"
                ).fetchall()
                [(live,)] = counted
                comparison.days.append(DayOutcome(None, Totals(live), Totals(held), unexplained=abs(live - held)))
    return compared
