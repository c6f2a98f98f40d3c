"""The home on disk: what is published, the warehouse, locks, rights, room, clock and passes."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from lendloop.days import read_days
from lendloop.doctor.findings import Finding
from lendloop.formats import DamagedFileError, refuse_newer, version_of
from lendloop.home import Home
from lendloop.identity import read_decisions
from lendloop.locks import Holder, free_or_holder
from lendloop.passes import overdue, read_last_pass
from lendloop.publish import CATALOG, missing_files, read_catalog
from lendloop.retention import size_of
from lendloop.settings import SOURCES, Settings
from lendloop.source_status import read_status
from lendloop.standing import read_standing
from lendloop.warehouse import VERSIONS

LONG_HELD_S = 3600.0
LEAST_FREE_BYTES = 500_000_000
FAR_CLOCK_S = 36 * 3600


def check_home(settings: Settings) -> list[Finding]:
    """Whether there is a home, it can be written, and no restore into it was cut off."""
    home = settings.home
    if not home.root.exists():
        return [
            Finding(
                check="home", state="warning", found=f"{home.root} is not there yet", advice="the first pass makes it"
            )
        ]
    if home.unfinished_restore.exists():
        return [
            Finding(
                check="home", state="failure", found="a restore was cut off", advice="run it again: lendloop restore"
            )
        ]
    if closed := home.closed():
        found, _, advice = closed.partition("; ")
        return [Finding(check="home", state="failure", found=found, advice=advice)]
    return [Finding(check="home", state="ok", found=str(home.root))]


def check_published(settings: Settings) -> list[Finding]:
    """Whether the catalogue agrees with the files on disk, and readers can open it."""
    home = settings.home
    if not (home.published_files / CATALOG).exists():
        return [Finding(check="published", state="warning", found="nothing is published yet", advice="lendloop run")]
    catalog = read_catalog(home)
    if missing := missing_files(home, catalog):
        found = f"{len(missing)} published files are missing, {missing[0]} is the first"
        return [
            Finding(
                check="published",
                state="failure",
                found=found,
                advice="somebody deleted them: restore a backup made with the warehouse, or delete catalog.json and run a pass",
            )
        ]
    findings = []
    for path in (home.published, home.contacts):
        if not path.exists():
            findings.append(
                Finding(check="published", state="failure", found=f"{path.name} is missing", advice="lendloop run")
            )
            continue
        with duckdb.connect(str(path), read_only=True) as connection:
            [(version,)] = connection.execute("select version from publication.version").fetchall()
        if version != catalog.version:
            found = f"{path.name} is of version {version}, the catalogue of {catalog.version}"
            findings.append(
                Finding(
                    check="published", state="warning", found=found, advice="a publication was cut off: lendloop run"
                )
            )
    if catalog.root and catalog.root != str(home.root):
        found = f"the views name files in {catalog.root}: the home was moved or copied"
        findings.append(Finding(check="published", state="warning", found=found, advice="lendloop run renews them"))
    stale = [name for name, group in catalog.groups.items() if group.state != "fresh"]
    if stale:
        findings.append(
            Finding(
                check="published",
                state="warning",
                found=f"not fresh: {', '.join(stale)}",
                advice="lendloop status names the failed checks",
            )
        )
    return findings or [
        Finding(check="published", state="ok", found=f"version {catalog.version}, {len(catalog.tables)} tables")
    ]


def check_state(settings: Settings) -> list[Finding]:
    """Whether what is kept beside the warehouse can be read: days, demotions, decisions on people, passes, sources."""
    findings: list[Finding] = []
    readers: list[Callable[[Home], object]] = [read_days, read_standing, read_decisions, read_last_pass, read_status]
    for read in readers:
        try:
            read(settings.home)
        except DamagedFileError as error:
            found, _, advice = str(error).partition(": ")
            findings.append(Finding(check="state", state="failure", found=found, advice=advice))
    return findings or [Finding(check="state", state="ok", found="every file of kept state can be read")]


def check_warehouse(settings: Settings) -> list[Finding]:
    """Whether the warehouse opens; one that is in use is left alone and its user named."""
    home = settings.home
    if not home.warehouse.exists():
        return [Finding(check="warehouse", state="ok", found="not there yet")]
    with free_or_holder(home.locks / "warehouse.lock") as holder:
        if holder is not None:
            return [Finding(check="warehouse", state="ok", found=f"in use by {holder.words}")]
        with duckdb.connect(str(home.warehouse), read_only=True) as connection:
            found = version_of(connection, "raw_meta")
            refuse_newer(home.warehouse.name, found, len(VERSIONS))
    size = f"{home.warehouse.stat().st_size / 1e6:,.0f} MB"
    return [Finding(check="warehouse", state="ok", found=f"opens; {size}, version {found}")]


def check_sources(settings: Settings) -> list[Finding]:
    """What each source's last read said."""
    findings = []
    for name in SOURCES:
        status = read_status(settings.home)[name]
        if status.error:
            findings.append(Finding(check="sources", state="failure", found=f"{name}: {status.error}"))
        elif settings.is_configured(name) and status.succeeded_as_of is None:
            findings.append(
                Finding(check="sources", state="warning", found=f"{name} was never read", advice="lendloop run")
            )
    return findings or [Finding(check="sources", state="ok", found="the last reads succeeded")]


def check_locks(settings: Settings) -> list[Finding]:
    """Who holds a lock now, since when, and whether that process is alive."""
    home, findings = settings.home, []
    for path in sorted([*home.locks.glob("*.lock"), *home.delivery.glob("*.lock")]):
        with free_or_holder(path) as holder:
            if holder is not None:
                findings.append(_held(path, holder))
    return findings or [Finding(check="locks", state="ok", found="none is held")]


def _held(path: Path, holder: Holder) -> Finding:
    found = f"{path.name} is held by {holder.words}"
    if holder.pid is not None and not holder.is_alive:
        advice = "its process is gone, but a child of it holds the lock still: end that (fuser names it)"
        return Finding(check="locks", state="failure", found=found, advice=advice)
    if holder.since is not None and (datetime.now(UTC) - holder.since).total_seconds() > LONG_HELD_S:
        return Finding(
            check="locks", state="warning", found=found, advice="longer than an hour: see what that process does"
        )
    return Finding(check="locks", state="ok", found=found)


def check_rights(settings: Settings) -> list[Finding]:
    """Whether what is private can be read by its owner only."""
    open_ones = [
        f"{path.relative_to(settings.home.root)} ({stat.S_IMODE(path.stat().st_mode):04o})"
        for path in _private(settings.home)
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if open_ones:
        shown = ", ".join(open_ones[:5]) + (f" and {len(open_ones) - 5} more" if len(open_ones) > 5 else "")
        advice = "chmod go= on each: they hold personal data or keys"
        return [Finding(check="rights", state="failure", found=f"others can read {shown}", advice=advice)]
    return [Finding(check="rights", state="ok", found="private files are their owner's only")]


def _private(home: Home) -> list[Path]:
    folders = [*home.private, *home.root.glob("aside-*")]
    files = [home.warehouse, home.contacts, home.ops_sqlite, home.secrets / "hash.key", *home.delivery.glob("*.duckdb")]
    return [*folders, *files]


def check_disk(settings: Settings) -> list[Finding]:
    """Room for a pass: dbt builds tables anew beside the old ones, and what changed is published again."""
    root = next(path for path in (settings.home.root, *settings.home.root.parents) if path.exists())
    free, home = shutil.disk_usage(root).free, settings.home
    stored = sum(size_of(path) for path in (home.warehouse, home.published_files, home.contacts_files) if path.exists())
    needed = stored + LEAST_FREE_BYTES
    found = f"{free / 1e9:,.1f} GB free; a pass may need {needed / 1e9:,.1f} GB"
    if free < needed:
        return [
            Finding(check="disk", state="failure", found=found, advice="make room: lendloop prune, or a larger disk")
        ]
    if free < 3 * needed:
        return [Finding(check="disk", state="warning", found=found, advice="it gets narrow: a larger disk soon")]
    return [Finding(check="disk", state="ok", found=found)]


def check_clock(settings: Settings) -> list[Finding]:
    """Whether the business clock answers, and where it stands beside the wall clock."""
    as_of = settings.clock().as_of
    apart = (as_of - datetime.now(UTC)).total_seconds()
    found = f"the business clock is at {as_of:%Y-%m-%d %H:%M} UTC"
    if abs(apart) < FAR_CLOCK_S:
        return [Finding(check="clock", state="ok", found=found)]
    found += f", {abs(apart) / 86_400:,.0f} days {'ahead of' if apart > 0 else 'behind'} the wall clock"
    if settings.env == "prod":
        return [Finding(check="clock", state="failure", found=found, advice="unset LENDLOOP_AS_OF in prod")]
    return [Finding(check="clock", state="ok", found=found)]


def check_passes(settings: Settings) -> list[Finding]:
    """Whether a pass came to its end lately: a killed one says nothing itself."""
    last = read_last_pass(settings.home)
    if last is None:
        return [
            Finding(check="passes", state="warning", found="no pass has come to its end yet", advice="lendloop run")
        ]
    if fault := overdue(settings, datetime.now(UTC)):
        return [
            Finding(
                check="passes", state="failure", found=fault, advice="see what ends them: memory, time limits, cron"
            )
        ]
    found = f"the last one ended at {last.finished_at:%Y-%m-%d %H:%M} UTC"
    if last.failures:
        found += f" with {last.failures} things not done"
        return [Finding(check="passes", state="warning", found=found, advice="lendloop status names them")]
    return [Finding(check="passes", state="ok", found=found)]
