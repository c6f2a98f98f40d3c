"""A real PostgreSQL over TCP, for tests of every room. Nothing else.

The server comes from the package `pgserver`; PostgreSQL refuses to run as root, so then its programs run as
another user, from a copy that this user may read wherever the checkout lies.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pgserver

USERS_TO_RUN_AS = ("postgres", "pgserver", "nobody")


@contextmanager
def postgres_over_tcp(tmp: Path | None = None) -> Iterator[str]:
    """Start a server on a free port of 127.0.0.1 and give the SQLAlchemy URL of its empty database `ledger`.

    `tmp` names the kind of use only; the cluster lies in a folder of its own that another user can reach. The
    server is stopped and its folder removed at the end.
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
        options = f"-h 127.0.0.1 -p {port} -k {place / 'socket'} -c fsync=off -c full_page_writes=off"
        _run(user, programs / "pg_ctl", "-D", data, "-w", "-t", "60", "-l", log, "-o", options, "start")
        try:
            _run(user, programs / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "ledger")
            yield f"postgresql://postgres@127.0.0.1:{port}/ledger"
        finally:
            _run(user, programs / "pg_ctl", "-D", data, "-w", "-t", "60", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(place, ignore_errors=True)


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
