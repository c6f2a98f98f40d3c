"""What a day's pass costs when the ledger's history is ten times as deep and the day brings the same change.

Two lenders live the same days. In one ledger every loan that is over stands nine times more, further back in time,
with its transactions and instalments; so do all movements of savings accounts.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness import ROUNDS, Peer, Row, Size, Timing, timed_command
from benchmarks.passes import RUN
from lendloop.home import Home
from lendloop.publish import read_catalog
from orchestration.sandbox_process import call, sandbox_server

TITLE = "Ten times the history, the same change a day"
CUSTOMERS: dict[Size, int] = {"small": 1_000, "full": 20_000}
DEPTH = 10
DAYS_BACK = 200
FAR = 1_000_000_000
"""Added to ids, once for each copy."""
AIM = 1.3
AS_IS, DEEP = "as-it-is", "ten-times"
OVER = "SELECT id FROM m_loan WHERE loan_status_id IN (600, 601, 700)"
DEEPENED = {
    "m_loan_transaction": f"loan_id IN ({OVER})",
    "m_loan_repayment_schedule": f"loan_id IN ({OVER})",
    "m_savings_account_transaction": "true",
    "m_loan": "loan_status_id IN (600, 601, 700)",
}
"""Which rows are copied; the loans last, since the others look at them."""


def measure(size: Size) -> Iterator[Row]:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    passes: dict[str, list[Timing]] = {AS_IS: [], DEEP: []}
    publishing: dict[str, list[Timing]] = {AS_IS: [], DEEP: []}
    rows, written = {}, dict.fromkeys(passes, 0)
    try:
        with ExitStack() as stack:
            lenders = {}
            for name in passes:
                place = folder / name
                sandbox = stack.enter_context(sandbox_server(place / "sandbox", CUSTOMERS[size]))
                rows[name] = _deepen(place / "sandbox" / "ledger.sqlite", DEPTH if name == DEEP else 1)
                settings = {key: value for key, value in sandbox.items() if key.startswith("LENDLOOP_")}
                lenders[name] = (sandbox["base_url"], {**os.environ, **settings, "LENDLOOP_HOME": str(place / "home")})
                timed_command(RUN, lenders[name][1])
            for _ in range(1 if size == "small" else ROUNDS):
                for name, (base_url, environment) in lenders.items():
                    call(base_url, "/tick", {"days": 1})
                    whole = timed_command(RUN, environment)
                    catalog = read_catalog(Home(Path(environment["LENDLOOP_HOME"])))
                    passes[name].append(Timing(whole.seconds - catalog.publish_s, whole.peak_mb))
                    publishing[name].append(Timing(catalog.publish_s, whole.peak_mb))
                    written[name] += catalog.files_written
    finally:
        shutil.rmtree(folder)
    beside = f"the same on {rows[AS_IS]:,} rows"
    yield Row(
        f"pass after one day, {rows[DEEP]:,} rows of history, but for publishing",
        passes[DEEP],
        [Peer(beside, passes[AS_IS], aim=AIM)],
    )
    yield Row(
        "publishing in that pass",
        publishing[DEEP],
        [Peer(beside, publishing[AS_IS])],
        note=f"Files written in all passes: {written[DEEP]}, beside {written[AS_IS]}. A table is compared by month, and the "
        "months in which something changed are written.",
    )


def _deepen(ledger: Path, depth: int) -> int:
    """Copy history back in time. Returns the rows that the deepened tables then have."""
    with sqlite3.connect(ledger) as connection:
        for table, chosen in DEEPENED.items():
            columns = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")]
            for copy in range(1, depth):
                picked = ", ".join(_copied(table, column, copy) for column in columns)
                connection.execute(f"INSERT INTO {table} SELECT {picked} FROM {table} WHERE {chosen} AND id < {FAR}")
        return sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in DEEPENED)


def _copied(table: str, column: str, copy: int) -> str:
    if column in ("id", "loan_id"):
        return f"{column} + {copy * FAR}"
    if column in ("account_no", "external_id") and table == "m_loan":
        return f"{column} || '-{copy}'"
    if column.endswith("_on_utc"):
        return f"strftime('%Y-%m-%d %H:%M:%f', {column}, '-{copy * DAYS_BACK} days')"
    if column.endswith("date"):
        return f"date({column}, '-{copy * DAYS_BACK} days')"
    return column
