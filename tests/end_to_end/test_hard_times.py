"""Hard times for a home: its disk is full, its folders can't be written, two passes run at once.

A pass says in one line what is wrong and what to do, leaves nothing half done, and the next one ends as if nothing
had happened: as a twin that was left alone.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.end_to_end.installation import Installation, Kept
from tests.end_to_end.killing import TWIN_CUSTOMERS, TWIN_DAYS, Lines, lenders, published_files
from tests.end_to_end.likeness import SENT, assert_nothing_left_to_do, differences
from tests.forked import Process

pytestmark = pytest.mark.slow

DISK_MB = 200
ENDED_S = 240.0


class Disk:
    """A file system of its own under `folder`, that can be filled to the last byte.

    Who may not mount takes what the system refuses of writes beyond a size for it: a pass then meets the same wall.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)], capture_output=True
        )
        self.is_mounted = mounted.returncode == 0

    def fill(self, process: subprocess.Popen[bytes]) -> None:
        if not self.is_mounted:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
            return
        with open(self.folder / "ballast", "ab", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        ballast.write(b"\0" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def make_room(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        if self.is_mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "full" / "disk")
    yield disk
    disk.close()


@pytest.fixture
def tried(tmp_path: Path) -> Iterator[Installation]:
    """An installation on a lender that lives the days of `undisturbed`."""
    with lenders(tmp_path, ("tried",), TWIN_CUSTOMERS) as (found,):
        yield found


def _assert_as_undisturbed(tried: Installation, report: dict[str, Any], twin: Kept) -> None:
    """Both came to the same.

    Of passes that failed, and could still write so into Dagster's log, people are told when the next one is well.
    """
    found = differences(tried, report, twin, twin.report)
    for what in ("alerts", *SENT):
        if what in found and not found[what]["lost"]:
            told = found.pop(what)["examples"]
            assert all("step:" in example or "Step failed" in example for example, _ in told), told
    assert found == {}, json.dumps(found, indent=1, default=str)[:20_000]


def _version(installation: Installation) -> list[tuple[Any, ...]]:
    """What readers see, every view of it read."""
    if not (installation.home / "published.duckdb").exists():
        return []
    tables = installation.query(
        "select table_schema || '.' || table_name from information_schema.tables"
        " where table_schema in ('trusted', 'kpi') order by 1"
    )
    return [
        *installation.query("select version from publication.version"),
        *(
            installation.query(f"select '{table}', count(*), bit_xor(hash(t)) from {table} as t")[0]
            for (table,) in tables
        ),
    ]


def _assert_sound(installation: Installation) -> None:
    """Every file of state can be opened, and raw holds what its totals say."""
    for path in [installation.home / "warehouse.duckdb", *(installation.home / "delivery").glob("*.duckdb")]:
        if path.exists():
            with duckdb.connect(str(path)) as connection:
                for schema, table in connection.execute(
                    "select schema_name, table_name from duckdb_tables() where not internal"
                ).fetchall():
                    connection.execute(f'select count(*), bit_xor(hash(t)) from "{schema}"."{table}" as t').fetchall()
                    if table == "_totals":
                        for name, rows in connection.execute(
                            f"select table_name, rows from {schema}._totals"
                        ).fetchall():
                            assert connection.execute(f"select count(*) from {schema}.{name}").fetchone() == (rows,)
    if (installation.home / "ops.sqlite").exists():
        with sqlite3.connect(installation.home / "ops.sqlite") as connection:
            assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]


def _meet_full_disk(installation: Installation, disk: Disk, until: str, *, as_before: bool) -> None:
    """A pass whose disk fills up when a step has ended, or when the first file is published."""
    before, files = _version(installation), published_files(installation)
    process = Process[bytes](
        installation.command("run"),
        env=installation.process_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    lines = Lines(process)
    with ThreadPoolExecutor(1) as pool:
        assert process.stdout
        said = pool.submit(process.stdout.read)
        try:
            met = lines.wait(
                lambda: published_files(installation) != files if until == "publish" else until in lines.done
            )
            assert process.poll() is None, lines.text
            assert met, lines.text
            disk.fill(process)
            lines.pause(ENDED_S)
            code = process.wait(1)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        text = said.result().decode()
        lines.rest()
    text += lines.text
    assert code == 1, text
    plain = " ".join(text.replace("│", " ").split())
    told = f"the disk under {installation.home} is full" in plain and "make room and run again" in plain
    # SQLite has no words of its own for a write beyond a limit
    refused = f"can't write under {installation.home}: " in plain and "look at the disk" in plain
    assert told or (refused and not disk.is_mounted), text
    seen = _version(installation)
    assert seen == before or not as_before
    assert before == [] or seen != []
    disk.make_room()
    _assert_sound(installation)


@pytest.mark.timeout(900)
def test_a_full_disk_is_named_applies_nothing_by_halves_and_is_healed_by_the_next_pass(
    tried: Installation, disk: Disk, undisturbed: list[Kept]
) -> None:
    tried = Installation(disk.folder / "home", tried.environment, tried.base_url)
    first, later = undisturbed
    _meet_full_disk(tried, disk, "load_crm", as_before=True)
    _meet_full_disk(tried, disk, "load_support", as_before=True)
    _assert_as_undisturbed(tried, tried.run(), first)
    tried.sandbox("/tick", {"days": TWIN_DAYS})
    _meet_full_disk(tried, disk, "publish", as_before=False)
    _meet_full_disk(tried, disk, "evaluate_rules", as_before=False)
    _assert_as_undisturbed(tried, tried.run(), later)
    assert_nothing_left_to_do(tried)


@contextmanager
def _closed(folder: Path) -> Iterator[list[str]]:
    """A folder without rights to write, and what a command must start with to mind them: root does not."""
    before = folder.stat().st_mode
    folder.chmod(0o555)
    try:
        bound = ["setpriv", "--inh-caps=-dac_override", "--bounding-set=-dac_override"] if os.getuid() == 0 else []
        yield bound
    finally:
        folder.chmod(before)


@contextmanager
def _read_only(folder: Path) -> Iterator[list[str]]:
    """The folder mounted read-only where that may be done, else without rights."""
    bind = subprocess.run(["mount", "--bind", str(folder), str(folder)], capture_output=True)
    if bind.returncode:
        with _closed(folder) as bound:
            yield bound
        return
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield []
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _files(home: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in home.rglob("*") if path.is_file()}


def test_a_home_that_cannot_be_written_is_named_and_left_as_it_was(lender: Installation) -> None:
    lender.sandbox("/tick", {"days": 1})
    before, arrived = _files(lender.home), lender.arrivals
    for close, folder in ((_closed, lender.home / "published"), (_read_only, lender.home)):
        with close(folder) as bound:
            done = subprocess.run(
                [*bound, *lender.command("run")],
                env=lender.process_environment,
                capture_output=True,
                text=True,
                timeout=ENDED_S,
            )
        assert done.returncode == 2, done.stdout + done.stderr
        said = done.stderr.strip().splitlines()
        assert len(said) == 1, done.stderr
        assert said[0].startswith(f"lendloop: can't write in {folder}"), said
        assert "give it to the user who runs lendloop" in said[0], said
        assert _files(lender.home) == before
        assert lender.arrivals == arrived


@pytest.mark.timeout(900)
def test_two_passes_at_once_come_to_what_one_comes_to(tried: Installation, undisturbed: list[Kept]) -> None:
    for number, twin in enumerate(undisturbed):
        if number:
            tried.sandbox("/tick", {"days": TWIN_DAYS})
        with ThreadPoolExecutor(2) as pool:
            for done in pool.map(tried.lendloop, ["run", "run"]):
                assert done.returncode == 0, done.stdout + done.stderr
                assert "is locked" not in done.stdout + done.stderr
        report = json.loads(tried.lendloop("status", "--json").stdout)
        _assert_as_undisturbed(tried, report, twin)
    assert_nothing_left_to_do(tried)


def test_a_key_made_by_several_at_once_is_one_and_whole(tmp_path: Path) -> None:
    code = "from lendloop.settings import load_settings; print(load_settings(_env_file=None).identifier_key().decode())"
    environment = {**os.environ, "LENDLOOP_HOME": str(tmp_path / "home")}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    keys = {process.communicate(timeout=ENDED_S)[0].strip() for process in started}
    assert len(keys) == 1
    assert len(keys.pop()) == 64
    assert [path.name for path in (tmp_path / "home" / "secrets").iterdir()] == ["hash.key"]
