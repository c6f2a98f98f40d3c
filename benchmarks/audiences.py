"""An audience of as many people as a benchmark asks for: planned, synced first, again, and after a day.

The plan, from the frozen desired rows to what is planned in the ledger, goes beside the bare full outer join of the same
two tables by key and stored hash. The first sync goes beside a bare join of the same tables copied into the same formats.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb

from activation.audiences import SyncReport, sync_audience
from activation.audiences.ledger import Ledger, open_ledger
from activation.audiences.selection import select
from activation.audiences.store import open_store
from benchmarks.harness import ROUNDS, Peer, Row, Size, Timing, timed_call
from benchmarks.lender import CHANGED_SHARE, BenchLender

TITLE = "Audiences: planned and synced as files"
PEOPLE: dict[Size, int] = {"small": 50_000, "full": 1_000_000}
PLAN_AIM = 2.0
MEMBERS = """
select application_id, product_name, approved_amount, currency, person_key, address, first_name, language, decided_at
from published.trusted.fct_application
join published.trusted.dim_contact_permission using (person_key)
join contacts.contacts.customer_contact using (person_key, channel)
join contacts.contacts.customer_profile using (person_key)
where is_permitted and channel = 'sms' and accepted_at is null
    and person_key not in (select person_key from published.trusted.fct_suppression)
    and person_key not in (select person_key from published.trusted.fct_ticket_suppression)
order by person_key
"""
DIFFERENCE = """
create temp table difference as
select coalesce(d.person_key, l.person_key) as person_key, d.person_key is null as is_gone, l.person_key is null as is_new
from (select * from state.desired where not hold) as d
full outer join (select * from ledger.delivered where audience = $audience) as l on l.person_key = d.person_key
where l.payload_hash is distinct from d.payload_hash
"""


def measure(size: Size) -> Iterator[Row]:
    people, rounds = PEOPLE[size], 1 if size == "small" else ROUNDS
    works = (first_sync, bare_copy, sync_again, plan, bare_plan, next_sync)
    found: dict[Callable[..., float], list[Timing]] = {work: [] for work in works}
    for _ in range(rounds):
        home = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            timed_call(publish_day, home, people, 0)
            for work in (first_sync, bare_copy, sync_again):
                found[work].append(timed_call(work, home, people))
            timed_call(publish_day, home, people, 1)
            timed_call(freeze, home, people)
            for work in (plan, bare_plan) * ROUNDS:
                found[work].append(timed_call(work, home, people))
            found[next_sync].append(timed_call(next_sync, home, people))
        finally:
            shutil.rmtree(home)
    yield Row(
        f"plan of {people:,} people, {CHANGED_SHARE:.1%} changed",
        found[plan],
        [Peer("bare full outer join", found[bare_plan], aim=PLAN_AIM)],
        amount=people,
        unit="people",
        note="the bare join counts what changed; the plan's own costs 1.3 times as much, as it also reads what was refused and what is"
        " unsure. A third of the plan's processor time finds what to send with its payload and proof: payloads are packed, and to"
        " read those of a few people is to unpack everybody's (as plain text that would take a third, in a file four times as large)."
        " The rest writes it into the ledger on disk, and counts who asked to be removed",
    )
    yield Row(
        f"first sync of {people:,} people",
        found[first_sync],
        [Peer("bare join, copied", found[bare_copy])],
        amount=people,
        unit="people",
        note="selected, planned, written as CSV and JSON lines, and settled",
    )
    yield Row(f"sync of {people:,} people, no change", found[sync_again], amount=people, unit="people")
    yield Row(f"sync of {people:,} people, a day later", found[next_sync], amount=people, unit="people")


def publish_day(home: Path, people: int, day: int) -> None:
    """Publish in a process of its own: a process that is started begins with its parent's peak of memory."""
    BenchLender(home, people).publish_day(day)


def first_sync(home: Path, people: int) -> float:
    """Everybody to the files; seconds of the whole sync."""
    seconds, report = _sync(home, people, 0)
    _check(report, report.outcome == "done" and people * 0.9 < report.desired == report.added == report.confirmed)
    return seconds


def sync_again(home: Path, people: int) -> float:
    """The same sync when nothing moved."""
    seconds, report = _sync(home, people, 0)
    _check(report, report.outcome == "unchanged" and report.desired > people * 0.9)
    return seconds


def next_sync(home: Path, people: int) -> float:
    """The sync of the next day, when some offers changed and some people are no longer desired."""
    seconds, report = _sync(home, people, 1)
    _check(report, report.outcome == "done" and 0 < report.removed < report.changed < 2 * CHANGED_SHARE * people)
    return seconds


def freeze(home: Path, people: int) -> None:
    """Select the next day's people, and send nobody anything."""
    lender = BenchLender(home, people)
    audience, settings = lender.audience(), lender.settings()
    with open_store(settings.home, audience.name, 5) as connection:
        select(connection, audience, settings=settings, clock=lender.clock(1), source_status=lender.status(1))


def plan(home: Path, people: int) -> float:
    """Seconds of the plan of the next day."""
    with _ledger(home, people) as (_, ledger, clock):
        began = time.perf_counter()
        counts = ledger.plan(send_id="s", as_of=clock, retry_rejected_days=1)
        seconds = time.perf_counter() - began
        if not 0 < counts.remove < counts.change < 2 * CHANGED_SHARE * people or counts.unchanged < people * 0.9:
            raise RuntimeError(f"{counts}")
        return seconds


def bare_plan(home: Path, people: int) -> float:
    """Seconds of the bare difference of the same two tables."""
    with _ledger(home, people) as (connection, ledger, _):
        began = time.perf_counter()
        connection.execute(DIFFERENCE, {"audience": ledger.audience})
        connection.execute("select is_gone, is_new, count(*) from difference group by all").fetchall()
        return time.perf_counter() - began


def bare_copy(home: Path, people: int) -> float:
    """Join what is published about the same people and copy it into both formats."""
    paths = BenchLender(home, people).settings().home
    with duckdb.connect() as connection:
        began = time.perf_counter()
        connection.execute(f"attach '{paths.published}' as published (read_only)")
        connection.execute(f"attach '{paths.contacts}' as contacts (read_only)")
        connection.execute(f"create temp table member as {MEMBERS}")
        connection.execute(f"copy member to '{home}/bare.csv' (format csv, header)")
        connection.execute(f"copy member to '{home}/bare.jsonl' (format json)")
        return time.perf_counter() - began


@contextmanager
def _ledger(home: Path, people: int) -> Iterator[tuple[duckdb.DuckDBPyConnection, Ledger, datetime]]:
    """The audience's connection and its ledger of files, with the clock of the next day."""
    lender = BenchLender(home, people)
    paths, name = lender.settings().home, lender.audience().name
    with open_store(paths, name, 5) as connection, open_ledger(connection, paths, "drop", name, 5) as ledger:
        yield connection, ledger, lender.clock(1).as_of


def _sync(home: Path, people: int, day: int) -> tuple[float, SyncReport]:
    lender = BenchLender(home, people)
    audience, settings, clock, status = lender.audience(), lender.settings(), lender.clock(day), lender.status(day)
    began = time.perf_counter()
    report = sync_audience(audience, settings=settings, clock=clock, source_status=status)
    return time.perf_counter() - began, report


def _check(report: SyncReport, holds: bool) -> None:
    if not holds or report.errors:
        raise RuntimeError(report.model_dump_json())
