"""A real PostgreSQL over TCP, for tests of every room. Nothing else.

The server comes from the package `pgserver`; PostgreSQL refuses to run as root, so then its programs run as
another user, from a copy that this user may read wherever the checkout lies.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pgserver
import pytest

from tests.ports import free_port
from tests.reaper import ended_with_us

USERS_TO_RUN_AS = ("postgres", "pgserver", "nobody")
ZONE = "America/Sao_Paulo"
ON_BOTH = pytest.mark.parametrize("ops_settings", ["sqlite", "postgresql"], indirect=True)
"""Of a test whose operational state is now the one, now the other: see the fixture `ops_settings`."""


@dataclass
class Server:
    """A cluster in `place` that may be stopped and started again, on the same port."""

    place: Path
    programs: Path
    user: str | None
    port: int
    options: str

    def url(self, database: str = "ledger") -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, database: str, template: str = "template0") -> str:
        """A new database, a copy of `template`; gives its URL."""
        self._client("createdb", "-T", template, database)
        return self.url(database)

    def drop(self, database: str) -> None:
        """Whoever is connected to it is cut off."""
        self._client("dropdb", "--force", database)

    def start(self) -> None:
        self._control("-l", self.place / "log", "-o", self.options, "start")

    def stop(self) -> None:
        """At once, as a crash does: every connection is cut off, and what was not committed is gone."""
        self._control("-m", "immediate", "stop")

    def is_running(self) -> bool:
        return (self.place / "data" / "postmaster.pid").exists()

    def _control(self, *arguments: str | Path) -> None:
        _run(self.user, self.programs / "pg_ctl", "-D", self.place / "data", "-w", "-t", "60", *arguments)

    def _client(self, program: str, *arguments: str) -> None:
        _run(self.user, self.programs / program, "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", *arguments)


@contextmanager
def postgres_server(*options: str) -> Iterator[Server]:
    """A running server on a free port of 127.0.0.1 with the empty database `ledger`; its folder goes at the end.

    Its sessions are in a time zone far from UTC, so that nothing rests on the server's. `options` as for `-c`.
    """
    place = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    place.chmod(0o755)
    try:
        programs, user = _programs(place)
        data, log = place / "data", place / "log"
        for folder in (data, place / "socket"):
            folder.mkdir(mode=0o700)
            give(folder, user)
        log.touch()
        give(log, user)
        _run(user, programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--encoding=utf8", "--no-sync")
        port = free_port()
        given = " ".join(f"-c {one}" for one in ("fsync=off", "full_page_writes=off", f"timezone={ZONE}", *options))
        server = Server(place, programs, user, port, f"-h 127.0.0.1 -p {port} -k {place / 'socket'} {given}")
        with ended_with_us("QUIT", data / "postmaster.pid", place):
            try:
                server.start()
                server.create("ledger")
                yield server
            finally:
                if server.is_running():
                    server.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def postgres_over_tcp(tmp: Path | None = None) -> Iterator[str]:
    """A server for as long as the block: the SQLAlchemy URL of its empty database `ledger`."""
    with postgres_server() as server:
        yield server.url()


def _programs(place: Path) -> tuple[Path, str | None]:
    """PostgreSQL's programs and the user to run them as (None: ourselves)."""
    package = Path(pgserver.__file__).parent
    if os.geteuid() != 0:
        return package / "pginstall" / "bin", None
    site = place / "site"
    skipped = shutil.ignore_patterns("include", "man", "*.a", "__pycache__")
    shutil.copytree(package / "pginstall", site / package.name / "pginstall", symlinks=True, ignore=skipped)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, site / libraries.name, symlinks=True)
    for path in [site, *site.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    copy = site / package.name / "pginstall"
    return copy / "bin", next(user for user in USERS_TO_RUN_AS if user_exists(user))


def user_exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def give(path: Path, user: str | None) -> None:
    if user is not None:
        os.chown(path, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)


def _run(user: str | None, *command: str | Path) -> None:
    """Raises RuntimeError with what the program said."""
    entry = pwd.getpwnam(user) if user else None
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if "pg_ctl" not in str(command[0]) else subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd="/",
        user=entry.pw_uid if entry else None,
        group=entry.pw_gid if entry else None,
        extra_groups=[] if entry else None,
    )
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed ({done.returncode}): {done.stdout}")
