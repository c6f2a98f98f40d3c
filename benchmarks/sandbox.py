"""The pretend lender at the size of a large one: making its world, letting a day pass, reading its CRM from end to end.

The drain is a bare client's, over one connection, at the rate that the stand-in allows: its peer is that rate.
"""

from __future__ import annotations

import http.client
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from benchmarks.harness import ROUNDS, Peer, Row, Size, Timing, peak_mb, timed_call
from ingestion.crm import PROPERTIES
from orchestration.sandbox_process import call, sandbox_server
from sandbox.world import World

TITLE = "The sandbox: a world made, ticked and read"
CUSTOMERS: dict[Size, int] = {"small": 10_000, "full": 1_000_000}
MAKE_AIM_S, TICK_AIM_S = 180.0, 60.0
PAGE_ROWS = 100


HISTORY = {
    "loans": "m_loan",
    "instalments": "m_loan_repayment_schedule",
    "loan transactions": "m_loan_transaction",
    "account transactions": "m_savings_account_transaction",
}


def measure(size: Size) -> Iterator[Row]:
    customers, rounds = CUSTOMERS[size], 1 if size == "small" else ROUNDS
    made: list[Timing] = []
    ticked: list[Timing] = []
    drained: list[Timing] = []
    floor: list[Timing] = []
    for _ in range(rounds):
        folder = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            made.append(timed_call(_make, folder, customers))
            history = history_of(folder, customers)
            ticked.append(timed_call(_tick, folder, customers))
            with sandbox_server(folder, customers) as sandbox:
                pid = int(orjson.loads((folder / "server.json").read_bytes())["pid"])
                requests, seconds = _drain(sandbox)
                drained.append(Timing(seconds, peak_mb(pid)))
                limit = call(sandbox["base_url"], "/limits")["hubspot.general"]
                floor.append(Timing(requests * limit["seconds"] / limit["calls"], 0.0))
        finally:
            shutil.rmtree(folder)
    yield Row(f"{customers:,} customers: the world made, its ledger in SQLite", made, aim_s=MAKE_AIM_S, note=history)
    yield Row(f"{customers:,} customers: a day passes", ticked, aim_s=TICK_AIM_S)
    yield Row(
        f"{customers:,} customers: every contact listed by a bare client (peak: the server's)",
        drained,
        [Peer("its rate limit", floor)],
        amount=requests,
        unit="requests",
    )


def history_of(folder: Path, customers: int) -> str:
    """What a world's ledger has, in words."""
    world = World.open(folder, customers=customers)
    counted = {name: world.table(table).num_rows for name, table in HISTORY.items()}
    listed = ", ".join(f"{rows:,} {name}" for name, rows in counted.items())
    return f"Its ledger has {sum(counted.values()):,} rows of history: {listed}."


def _make(folder: Path, customers: int) -> None:
    World.open(folder, customers=customers)


def _tick(folder: Path, customers: int) -> float:
    world = World.open(folder, customers=customers)
    began = time.perf_counter()
    world.tick(1)
    return time.perf_counter() - began


def _drain(sandbox: dict[str, str]) -> tuple[int, float]:
    """Requests answered with a page, and seconds. Refused ones are asked again."""
    url = urlsplit(sandbox["LENDLOOP_CRM_URL"])
    connection = http.client.HTTPConnection(url.netloc, timeout=60)
    headers = {"Authorization": f"Bearer {sandbox['LENDLOOP_CRM_TOKEN']}"}
    first = (
        f"{url.path}/crm/v3/objects/contacts?limit={PAGE_ROWS}&properties={','.join(PROPERTIES['contacts'].values())}"
    )
    began, requests = time.perf_counter(), 0
    after: str | None = "0"
    while after:
        connection.request("GET", f"{first}&after={after}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == http.HTTPStatus.TOO_MANY_REQUESTS:
            time.sleep(0.02)
            continue
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"the stand-in answered {answer.status}: {body[:300]!r}")
        requests += 1
        after = ((orjson.loads(body).get("paging") or {}).get("next") or {}).get("after")
    connection.close()
    return requests, time.perf_counter() - began
