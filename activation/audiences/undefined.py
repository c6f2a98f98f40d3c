"""What audiences leave at destinations when their file goes, or names a destination no more: a no counts there too.

Belongs here: finding such members, and letting go of those who said no. Not here: how a removal is planned and sent
(ledger, delivery).
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

import duckdb

from activation.audiences.definition import Audience
from activation.audiences.delivery import deliver_rows
from activation.audiences.ledger import Ledger, audiences_in, open_ledger
from activation.audiences.readers import attach_published
from activation.audiences.report import DestinationReport, SyncReport
from activation.audiences.runs import NO_VERSION, keep_runs
from activation.audiences.store import open_store
from activation.audiences.withdrawals import find_whoever_said_no
from activation.destinations.contract import Destination, RemoteListGoneError
from activation.destinations.rates import Sleep
from activation.destinations.registry import open_destination
from lendloop.clock import Clock
from lendloop.errors import LendloopError
from lendloop.settings import Settings


def let_go_of_undefined(
    audiences: Iterable[Audience], settings: Settings, clock: Clock, *, sleep: Sleep = asyncio.sleep
) -> list[SyncReport]:
    """Remove from each destination who said no and was left there by an audience that does not go there any more.

    Everybody else stays, since a file that was lost by mistake must not empty a list. One report for each audience and
    destination where people are left. Expected failures are in the reports; raises LendloopError where it can't be read
    who is left.
    """
    goes_to: dict[str, set[str]] = {}
    for audience in audiences:
        for name in audience.destinations.names():
            goes_to.setdefault(name, set()).add(audience.name)
    reports: list[SyncReport] = []
    if not settings.home.published.exists():
        return reports
    for path in sorted(settings.home.delivery.glob("*.duckdb")):
        if path.name.startswith("audience_"):
            continue
        left = set(audiences_in(settings.home, path.stem, settings.lock_timeout_s)) - goes_to.get(path.stem, set())
        reports += [_let_go(name, path.stem, settings, clock, sleep) for name in sorted(left)]
    return reports


def _let_go(name: str, destination: str, settings: Settings, clock: Clock, sleep: Sleep) -> SyncReport:
    report = SyncReport(audience=name, title="no file defines it", version=NO_VERSION, as_of=clock.as_of)
    started_at = datetime.now(UTC)
    try:
        with open_store(settings.home, name, settings.lock_timeout_s) as connection:
            report.snapshot = attach_published(connection, settings.home).id
            find_whoever_said_no(connection)
            with open_ledger(connection, settings.home, destination, name, settings.lock_timeout_s) as ledger:
                take = _from_files if destination == "drop" else _from_list
                report.destinations[destination] = take(name, destination, ledger, settings, clock, sleep)
    except (LendloopError, duckdb.Error) as error:
        report.outcome = "failed"
        report.errors.append(str(error).splitlines()[0])
    report.close()
    keep_runs(settings, report, started_at)
    return report


def _from_files(
    name: str, destination: str, ledger: Ledger, settings: Settings, clock: Clock, sleep: Sleep
) -> DestinationReport:
    """Files that nobody defines go as a whole once somebody in them said no: the audience's own sync writes them anew."""
    folder = settings.home.exports / name
    part = DestinationReport(outcome="done")
    part.removed = ledger.plan_withdrawals(send_id=uuid.uuid4().hex, as_of=clock.as_of)
    if part.removed:
        shutil.rmtree(folder, ignore_errors=True)
        part.events.append(f"withdrawn: {part.removed} people in the files of {name} said no: the files are deleted")
    ledger.settle()
    if not folder.exists():
        ledger.lose_members()
    part.members = ledger.members()
    return part


def _from_list(
    name: str, destination: str, ledger: Ledger, settings: Settings, clock: Clock, sleep: Sleep
) -> DestinationReport:
    part = DestinationReport(outcome="done")
    known, vendor = ledger.remote(), open_destination(destination, settings, sleep=sleep)
    if known is None or vendor is None:
        part.outcome, part.members = "not_configured", ledger.members()
        return part
    list_name, remote_id = known
    part.removed = ledger.plan_withdrawals(send_id=uuid.uuid4().hex, as_of=clock.as_of)
    if part.removed:
        delivery = deliver_rows(vendor, ledger, list_name, clock.as_of, sleep)
        is_gone, part.requests, part.errors = delivery.gone, delivery.requests, delivery.errors
        part.accepted, part.unknown = (delivery.states.get(state, 0) for state in ("accepted", "unknown"))
        part.events.append(f"withdrawn: {part.removed} people on {list_name} said no and leave it")
    else:
        is_gone = asyncio.run(_is_gone(vendor, remote_id))
    if is_gone:
        part.events.append(f"list_deleted: {list_name} no longer exists at {destination}")
        ledger.lose_members()
    part.outcome = "failed" if part.errors else "done"
    part.members = ledger.members()
    return part


async def _is_gone(vendor: Destination, remote_id: str) -> bool:
    try:
        await vendor.count(remote_id)
    except RemoteListGoneError:
        return True
    finally:
        await vendor.close()
    return False
