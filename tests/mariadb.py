"""A real MariaDB over TCP, for tests of every room. Nothing else.

The server comes from the system (Debian's mariadb-server); run by root, it serves as the user `mysql`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

from tests.ports import free_port
from tests.postgres import give, user_exists
from tests.reaper import ended_with_us

PLACES = "/usr/sbin:/usr/local/sbin:/usr/libexec"
START_S = 60
OPTIONS = (
    "--skip-log-bin",
    "--skip-name-resolve",
    "--skip-networking=0",
    "--bind-address=127.0.0.1",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--innodb-log-file-size=256M",
    "--innodb-buffer-pool-size=256M",
    "--local-infile=1",
    "--max-allowed-packet=64M",
)


@contextmanager
def mariadb_over_tcp() -> Iterator[str]:
    """Start a server on a free port of 127.0.0.1 and give the SQLAlchemy URL of its empty database `ledger`.

    Skips the test where `mariadbd` is not installed. The server is stopped and its folder removed at the end.
    """
    server = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:{PLACES}")
    installer = shutil.which("mariadb-install-db")
    if server is None or installer is None:
        pytest.skip("mariadbd is not installed: apt-get install mariadb-server")
    user = "mysql" if os.geteuid() == 0 and user_exists("mysql") else None
    place = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    place.chmod(0o755)
    data, scratch, log = place / "data", place / "tmp", place / "log"
    process = None
    try:
        for folder in (data, scratch):
            folder.mkdir(mode=0o700)
            give(folder, user)
        as_user = [] if user is None else [f"--user={user}"]
        environment = {**os.environ, "TMPDIR": str(scratch)}  # what the tests write to may be closed to the user
        made = subprocess.run(
            [
                installer,
                "--no-defaults",
                *as_user,
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd="/",
            env=environment,
        )
        if made.returncode:
            raise RuntimeError(f"mariadb-install-db failed ({made.returncode}): {made.stdout}")
        port = free_port()
        with log.open("wb") as said:
            process = subprocess.Popen(
                [
                    server,
                    "--no-defaults",
                    *as_user,
                    f"--datadir={data}",
                    f"--tmpdir={scratch}",
                    f"--socket={scratch / 'socket'}",
                    f"--pid-file={data / 'pid'}",
                    f"--port={port}",
                    *OPTIONS,
                ],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        with ended_with_us("KILL", data / "pid", place):
            _create_database(process, port, log)
            yield f"mysql+pymysql://root@127.0.0.1:{port}/ledger"
    finally:
        if process is not None:
            process.kill()
            process.wait()
        shutil.rmtree(place, ignore_errors=True)


def _create_database(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until the server answers. Raises RuntimeError with its log when it does not."""
    until = time.monotonic() + START_S
    while True:
        try:
            connection = pymysql.connect(host="127.0.0.1", port=port, user="root")
            break
        except pymysql.err.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"mariadbd does not answer: {log.read_text()[-3000:]}") from None
            time.sleep(0.05)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE ledger CHARACTER SET utf8mb4")
