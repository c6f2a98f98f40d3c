"""From a commit in the ledger to the message in Slack, by the schedule of Dagster's daemon as an installation runs it.

The schedule starts a pass each minute here, so that a sitting is short; with another one only the wait for it differs.
The peer is that wait: nothing that a schedule starts can be told before.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.harness import CHECKOUT, ROUNDS, Peer, Row, Size, Timing, peak_mb, timed_command
from benchmarks.passes import RUN
from orchestration.sandbox_process import call, sandbox_server

TITLE = "From a commit in the ledger to the Slack message, by the schedule"
CUSTOMERS: dict[Size, int] = {"small": 1_000, "full": 20_000}
EVERY_S = 60.0
PATIENCE_S = 600.0
AMOUNT = 91_000_000
"""Over the limit of every currency, and told apart from all that the pretend lender makes."""
TRANSACTION = """
INSERT INTO m_savings_account_transaction
    (id, savings_account_id, transaction_type_enum, is_reversed, transaction_date, amount, running_balance_derived,
     created_on_utc, last_modified_on_utc)
SELECT max(id) + 1, max(savings_account_id), 1, 0, max(transaction_date), ?, ?, max(created_on_utc), max(last_modified_on_utc)
FROM m_savings_account_transaction
"""


def measure(size: Size) -> Iterator[Row]:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    rounds = 1 if size == "small" else ROUNDS
    told: list[Timing] = []
    waited: list[Timing] = []
    try:
        with sandbox_server(folder / "sandbox", CUSTOMERS[size]) as sandbox:
            settings = {name: value for name, value in sandbox.items() if name.startswith("LENDLOOP_")}
            environment = {
                **os.environ,
                **settings,
                "LENDLOOP_HOME": str(folder / "home"),
                "LENDLOOP_HASH_KEY": "bench",
                "LENDLOOP_ENV": "prod",
                "LENDLOOP_SCHEDULE": "* * * * *",
            }
            timed_command(RUN, environment)
            with _daemon(environment, folder):
                for number in range(rounds):
                    message, wait, held = _tell(folder, sandbox["base_url"], AMOUNT + number)
                    told.append(Timing(message, held))
                    waited.append(Timing(wait, 0.0))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    yield Row(
        f"{CUSTOMERS[size]:,} customers: one large transaction",
        told,
        [Peer("the wait for the next minute", waited)],
        note="by the default schedule, every 15 minutes, the wait is up to 900 s, 450 s on average; what comes after it is the same",
    )


def _tell(folder: Path, base_url: str, amount: int) -> tuple[float, float, float]:
    """Commit a transaction; seconds until its message arrived, and until the schedule's next moment; MB of the largest process."""
    with sqlite3.connect(folder / "sandbox" / "ledger.sqlite", timeout=60) as connection:
        connection.execute(TRANSACTION, (str(amount), str(amount)))
    committed = time.time()
    wanted = f"{amount:,}"
    deadline = committed + PATIENCE_S
    while time.time() < deadline:
        messages = call(base_url, "/arrivals.json")["slack"]["messages"]
        if any(wanted in f"{one['text']}{one['blocks']}" for one in messages):
            return time.time() - committed, EVERY_S - committed % EVERY_S, max(map(peak_mb, _at_home(folder / "home")))
        time.sleep(0.2)
    raise RuntimeError(f"no message of {wanted} within {PATIENCE_S:.0f} s")


def _at_home(home: Path) -> Iterator[int]:
    """The processes that have this home: the daemon, the code's server, the pass."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"LENDLOOP_HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                yield int(process.name)


@contextmanager
def _daemon(environment: dict[str, str], folder: Path) -> Iterator[None]:
    """Dagster's daemon on the code location, in a session of its own."""
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-w", str(CHECKOUT / "workspace.yaml")]
    environment = {**environment, "DAGSTER_HOME": str(folder / "home" / "dagster")}
    with open(folder / "daemon.log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):  # a pass that had just been started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
