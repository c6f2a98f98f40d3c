"""One pass of an audience: select, plan, guard, deliver, report.

Belongs here: the order of the steps and what is written down about a pass. Each step is elsewhere.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import duckdb

from activation.audiences.definition import Audience
from activation.audiences.delivery import Delivery, deliver_files, deliver_rows
from activation.audiences.ledger import Ledger, ledger_path, open_ledger
from activation.audiences.planner import PlanCounts, guard_breaches
from activation.audiences.readers import catalogue_stamp
from activation.audiences.report import DestinationReport, SyncReport
from activation.audiences.runs import keep_runs
from activation.audiences.selection import Selection, select
from activation.audiences.store import open_store
from activation.audiences.withdrawals import find_withdrawn
from activation.destinations.drop import Drop
from activation.destinations.rates import Sleep
from activation.destinations.registry import is_configured, open_destination
from lendloop.clock import Clock
from lendloop.errors import ConfigurationError, LendloopError, PermanentError
from lendloop.settings import Settings
from lendloop.source_status import SourceStatus

REPLANS = 5


def sync_audience(
    audience: Audience,
    *,
    settings: Settings,
    clock: Clock,
    source_status: Mapping[str, SourceStatus],
    sleep: Sleep = asyncio.sleep,
) -> SyncReport:
    """Bring an audience to each of its destinations, sending only what changed.

    Expected failures are in the report (`outcome`, `errors`); a re-run with no change makes no
    request and writes no file. Raises ConfigurationError for wrong use only.
    """
    settings.home.prepare()
    for name in audience.destinations.names():
        if name != "drop" and is_configured(name, settings):
            settings.require(f"{name}_url", f"{name}_key")
    report = SyncReport(audience=audience.name, title=audience.title, version=audience.version, as_of=clock.as_of)
    started_at = datetime.now(UTC)
    try:
        with open_store(settings.home, audience.name, settings.lock_timeout_s) as connection:
            _Pass(connection, audience, settings, clock, source_status, sleep, report).run()
    except ConfigurationError:
        raise
    except (LendloopError, duckdb.Error) as error:
        report.outcome = "failed"
        report.errors.append(str(error).splitlines()[0])
    report.close()
    keep_runs(settings, report, started_at)
    return report


class _Pass:
    """The state of one pass: the selection it rests on, made again when what is published changes."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        audience: Audience,
        settings: Settings,
        clock: Clock,
        source_status: Mapping[str, SourceStatus],
        sleep: Sleep,
        report: SyncReport,
    ) -> None:
        self._db = connection
        self._audience = audience
        self._settings = settings
        self._clock = clock
        self._source_status = source_status
        self._sleep = sleep
        self._report = report
        self._send_id = uuid.uuid4().hex
        self._selection: Selection

    def run(self) -> None:
        self._select()
        for name in self._audience.destinations.names():
            try:
                part = self._destination(name)
            except LendloopError as error:
                part = DestinationReport(outcome="failed", errors=[str(error)])
            self._report.destinations[name] = part

    def _select(self) -> None:
        self._selection = select(
            self._db, self._audience, settings=self._settings, clock=self._clock, source_status=self._source_status
        )
        report, selection = self._report, self._selection
        report.snapshot, report.candidates, report.desired = (
            selection.snapshot.id,
            selection.candidates,
            selection.desired,
        )
        report.held_back, report.notes = selection.held_back, selection.notes

    def _destination(self, name: str) -> DestinationReport:
        if not is_configured(name, self._settings):
            return DestinationReport(outcome="not_configured")
        home, timeout_s = self._settings.home, self._settings.lock_timeout_s
        skipped = DestinationReport(outcome="skipped")
        if self._selection.skipped and not ledger_path(home, name).exists():
            return skipped
        with open_ledger(self._db, home, name, self._audience.name, timeout_s) as ledger:
            return self._let_go(name, ledger, skipped) if self._selection.skipped else self._sync(name, ledger)

    def _sync(self, name: str, ledger: Ledger) -> DestinationReport:
        counts = self._plan(ledger)
        if self._selection.skipped:
            return self._let_go(name, ledger, DestinationReport(outcome="skipped"))
        breaches = self._selection.blocked or self._breaches(name, ledger, counts)
        part = DestinationReport(
            added=counts.add, changed=counts.change, removed=counts.remove, unchanged=counts.unchanged, kept=counts.keep,
            refused=counts.refused, members=ledger.members(),
        )  # fmt: skip
        if breaches:
            return self._let_go(name, ledger, DestinationReport(outcome="blocked", errors=list(breaches)))
        has_work = bool(counts.add or counts.change or counts.remove)
        if name == "drop":
            if not has_work and (not part.members or self._drop().is_complete()):
                ledger.keep_sync(self._clock.as_of, self._audience.version)
                return part
            self._engage(name)
            delivery = self._write(ledger)
        else:
            if not has_work:
                ledger.keep_sync(self._clock.as_of, self._audience.version)
                return part
            self._engage(name)
            delivery = self._deliver(name, ledger, part)
        return self._close(part, delivery, ledger)

    def _let_go(self, name: str, ledger: Ledger, part: DestinationReport) -> DestinationReport:
        """What is done where no plan may start: members who said no are removed, nobody else is touched."""
        find_withdrawn(self._db, self._audience)
        part.removed = ledger.plan_withdrawals(send_id=self._send_id, as_of=self._clock.as_of)
        if part.removed:
            part.events.append(f"withdrawn: {part.removed} members who said no are removed, whatever stops the rest")
            delivery = self._write(ledger) if name == "drop" else self._send(name, ledger)
            if delivery.gone:
                self._lose_list(name, ledger, part)
            self._account(part, delivery)
        part.members = ledger.members()
        return part

    def _plan(self, ledger: Ledger) -> PlanCounts:
        """A plan on the catalogue that is current: consent and exclusions are those published when sending starts."""
        for _ in range(REPLANS):
            counts = PlanCounts()
            if self._may_plan():
                counts = ledger.plan(
                    send_id=self._send_id,
                    as_of=self._clock.as_of,
                    retry_rejected_days=self._audience.retry_rejected_after_days,
                )
            if catalogue_stamp(self._settings.home) == self._selection.snapshot.stamp:
                return counts
            self._select()
        raise PermanentError(f"audience {self._audience.name}: what is published changes faster than it can be planned")

    def _may_plan(self) -> bool:
        return not (self._selection.blocked or self._selection.skipped)

    def _breaches(self, name: str, ledger: Ledger, counts: PlanCounts) -> list[str]:
        last = ledger.last_sync()
        days = (self._clock.as_of - last).total_seconds() / 86_400 if last else None
        breaches = guard_breaches(
            self._audience.guards, counts, elapsed_days=days, candidates=self._selection.candidates
        )
        known = ledger.remote()
        if name != "drop" and known and known[0] != self._list_name():
            breaches.append(
                f"list_renamed: {known[0]} holds the members; empty and delete it there before the audience names {self._list_name()}"
            )
        return breaches

    def _list_name(self) -> str:
        target = self._audience.destinations.blueshift
        return target.list if target else ""

    def _deliver(self, name: str, ledger: Ledger, part: DestinationReport) -> Delivery:
        delivery = self._send(name, ledger)
        if not delivery.gone:
            return delivery
        self._lose_list(name, ledger, part)
        if not self._audience.guards.recreate_deleted_list:
            delivery.errors.append("list_deleted: guards.recreate_deleted_list is false, so it is not made again")
            return delivery
        counts = self._plan(ledger)
        if not self._may_plan():
            delivery.errors += self._selection.blocked or self._selection.notes
            return delivery
        part.events.append(f"list_recreated: all {counts.add} people are sent to a new {self._list_name()}")
        part.added, part.changed, part.unchanged = counts.add, counts.change, counts.unchanged
        again = self._send(name, ledger)
        again.requests += delivery.requests
        if again.gone:
            again.errors.append("list_deleted: the new list is gone too")
        return again

    def _lose_list(self, name: str, ledger: Ledger, part: DestinationReport) -> None:
        part.events.append(f"list_deleted: {self._list_name()} no longer exists at {name}")
        ledger.settle()
        ledger.lose_members()

    def _send(self, name: str, ledger: Ledger) -> Delivery:
        destination = open_destination(name, self._settings, sleep=self._sleep)
        if destination is None:
            raise PermanentError(f"destination {name} is not configured any more")
        return deliver_rows(destination, ledger, self._list_name(), self._clock.as_of, self._sleep)

    def _write(self, ledger: Ledger) -> Delivery:
        return deliver_files(self._drop(), ledger, sorted(self._audience.payload), self._manifest())

    def _drop(self) -> Drop:
        target = self._audience.destinations.drop
        formats = target.formats if target else []
        return Drop(self._settings.home.exports / self._audience.name, self._audience.name, formats)

    def _manifest(self) -> dict[str, object]:
        return {
            "audience": self._audience.name,
            "title": self._audience.title,
            "audience_version": self._audience.version,
            "snapshot": self._selection.snapshot.id,
            "as_of": self._clock.as_of.isoformat(),
            "send_id": self._send_id,
        }

    def _engage(self, name: str) -> None:
        """Before anything is sent, write down whom it may reach, so that once stays once whatever happens."""
        if not self._audience.once:
            return
        self._db.execute(
            "insert into state.engagement select person_key, address_hash, $as_of, null from state.desired"
            " where not hold and person_key not in (select person_key from state.engagement) and person_key in"
            " (select person_key from ledger.outbox where audience = $audience and action = 'add') order by person_key",
            {"as_of": self._clock.as_of, "audience": self._audience.name},
        )

    def _account(self, part: DestinationReport, delivery: Delivery) -> None:
        for state in ("accepted", "confirmed", "rejected", "unknown"):
            setattr(part, state, delivery.states.get(state, 0))
        part.unsent = delivery.states.get("planned", 0)
        part.requests = delivery.requests
        part.remote_count = delivery.remote_count
        part.errors += delivery.errors

    def _close(self, part: DestinationReport, delivery: Delivery, ledger: Ledger) -> DestinationReport:
        self._account(part, delivery)
        part.members = ledger.members()
        part.outcome = "partial" if part.errors else "done"
        if part.errors and not (part.accepted or part.confirmed):
            part.outcome = "failed"
        if not part.errors:
            ledger.keep_sync(self._clock.as_of, self._audience.version)
        return part
