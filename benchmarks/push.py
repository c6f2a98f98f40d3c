"""A first sync on its way out: every row in flight before it is sent, its answer written, all of it settled.

The push to the marketing tool, at a pace that does not bind, goes beside a bare asynchronous client that posts the same
bodies, ready made, as many at once, and looks at no answer; and beside one that makes the bodies out of rows in memory as it
goes. All against an endpoint that only answers. The file drop goes beside a bare COPY.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import duckdb
import orjson

from activation.audiences.delivery import Delivery, deliver_files, deliver_rows
from activation.audiences.ledger import Ledger, open_ledger
from activation.audiences.store import open_store
from activation.destinations.blueshift import LIST_ROWS, Blueshift, contract_at
from activation.destinations.drop import Drop
from benchmarks.endpoint import endpoint
from benchmarks.harness import ROUNDS, Peer, Row, Size, Timing, timed_call
from benchmarks.lender import AS_OF
from lendloop.collector import collect_seldom
from lendloop.home import Home

TITLE = "Push: a first sync to a marketing tool, and as files"
PEOPLE: dict[Size, int] = {"small": 20_000, "full": 1_000_000}
PUSH_AIM = 1.67
CONTRACT = contract_at(1_000_000.0)
TRAITS = {
    "phone_number": "'+23480' || lpad(number::varchar, 8, '0')",
    "firstname": "'Name' || number % 5000",
    "language": "'en'",
    "country": "'NG'",
    "application_id": "'a-' || number",
    "product_name": "'Flex 30'",
    "approved_amount": "'500.00'",
    "currency": "'NGN'",
}
_COLUMNS = ", ".join(f"{sql} as {name}" for name, sql in sorted(TRAITS.items()))


def measure(size: Size) -> Iterator[Row]:
    people, rounds = PEOPLE[size], 1 if size == "small" else ROUNDS
    found: dict[Callable[..., float], list[Timing]] = {
        work: [] for work in (push, bare_push, bare_rows, drop, bare_copy)
    }
    with endpoint() as url:
        for _ in range(rounds):
            for work, timings in found.items():
                folder = Path(tempfile.mkdtemp(prefix="bench-"))
                try:
                    timings.append(timed_call(work, folder, people, url))
                finally:
                    shutil.rmtree(folder)
    yield Row(
        f"{people:,} rows to the marketing tool",
        found[push],
        [
            Peer("bare asynchronous client", found[bare_push], aim=PUSH_AIM),
            Peer("the same, making the bodies", found[bare_rows]),
        ],
        amount=people,
        note=f"{CONTRACT.concurrency} calls at once, {CONTRACT.batch_rows} profiles or {LIST_ROWS} members each; of the push's"
        " processor time the calls take three quarters, reading waves out of the ledger and writing answers a tenth, the insert"
        " into what is delivered a seventh; a call through uvloop costs a fifth less than one through Python's own event loop,"
        " which the bare client has; its bodies are ready before the clock starts, the second one's are made out of rows in memory",
    )
    yield Row(
        f"{people:,} rows as CSV and JSON lines",
        found[drop],
        [Peer("bare COPY of both", found[bare_copy])],
        amount=people,
    )


def push(folder: Path, people: int, url: str) -> float:
    """Deliver a planned first sync to the endpoint; seconds from the first row in flight to the last one settled."""
    collect_seldom()  # as the command line does
    with _planned(folder, people) as ledger:
        destination = Blueshift(url, "key", folder / "rates", contract=CONTRACT)
        began = time.perf_counter()
        delivery = deliver_rows(destination, ledger, "ll_a_003", AS_OF)
        seconds = time.perf_counter() - began
        _check(delivery, "accepted", people, ledger)
        return seconds


def bare_push(_: Path, people: int, url: str) -> float:
    """Post the same bodies, made before."""
    return asyncio.run(_post(url, list(_calls(_rows(people)))))


def bare_rows(_: Path, people: int, url: str) -> float:
    """Post the same bodies, each made out of rows in memory when its turn comes."""
    return asyncio.run(_post(url, _calls(_rows(people))))


def _rows(people: int) -> list[tuple[str, str]]:
    with duckdb.connect() as connection:
        return connection.execute(_people(people, "person_key, to_json(row) as payload")).fetchall()


def _calls(rows: list[tuple[str, str]]) -> Iterator[tuple[str, str, bytes]]:
    size = CONTRACT.batch_rows
    for at in range(0, len(rows), size):
        batch = rows[at : at + size]
        profiles = {"customers": [{**orjson.loads(payload), "customer_id": key} for key, payload in batch]}
        yield "POST", "/api/v1/customers/bulk", orjson.dumps(profiles)
        for part in range(0, len(batch), LIST_ROWS):
            members = {
                "identifier_key": "customer_id",
                "identifier_values": [key for key, _ in batch[part : part + LIST_ROWS]],
            }
            yield "PUT", "/api/v1/custom_user_lists/bulk_add_users_to_list/1", orjson.dumps(members)


async def _post(url: str, calls: Iterable[tuple[str, str, bytes]]) -> float:
    waiting = iter(calls)
    headers = {"Content-Type": "application/json", "Authorization": aiohttp.encode_basic_auth("key", "")}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def worker() -> None:
            for method, path, body in waiting:
                async with session.request(method, url + path, data=body) as response:
                    await response.read()

        began = time.perf_counter()
        await asyncio.gather(*[worker() for _ in range(CONTRACT.concurrency)])
        return time.perf_counter() - began


def drop(folder: Path, people: int, _: str) -> float:
    """Write a planned first sync as files; seconds from the first row in flight to the last one settled."""
    with _planned(folder, people) as ledger:
        began = time.perf_counter()
        delivery = deliver_files(Drop(folder / "exports", "bench", ["csv", "jsonl"]), ledger, sorted(TRAITS), {})
        seconds = time.perf_counter() - began
        _check(delivery, "confirmed", people, ledger)
        return seconds


def bare_copy(folder: Path, people: int, _: str) -> float:
    """COPY a table of the same columns from a file of the same database into both formats."""
    with duckdb.connect(str(folder / "bare.duckdb")) as connection:
        proof = "1 as audience_version, 'v1' as snapshot, 'crm:sms_consent' as consent_basis, '2026-06-01T00:00:00Z' as decided_at, 's' as send_id"
        connection.execute(f"create table member as {_people(people, f'person_key, {proof}, unnest(row)')}")
        connection.execute("checkpoint")
        began = time.perf_counter()
        connection.execute(f"copy member to '{folder}/bare.csv' (format csv, header)")
        connection.execute(f"copy member to '{folder}/bare.jsonl' (format json)")
        return time.perf_counter() - began


@contextmanager
def _planned(folder: Path, people: int) -> Iterator[Ledger]:
    """A ledger with a first sync of so many people planned."""
    home = Home(folder / "home")
    with open_store(home, "bench", 5) as connection:
        connection.execute(
            "insert into state.desired select person_key, person_key, payload, md5(payload), false, 1, 'v1', 'crm:sms_consent',"
            f" $as_of, $as_of, md5('a' || person_key) from ({_people(people, 'person_key, to_json(row)::varchar as payload')})"
            " order by person_key",
            {"as_of": AS_OF},
        )
        with open_ledger(connection, home, "bench", "bench", 5) as ledger:
            ledger.plan(send_id="s", as_of=AS_OF, retry_rejected_days=1)
            yield ledger


def _people(people: int, columns: str) -> str:
    return (
        f"select {columns} from (select md5('p' || number) as person_key, row from"
        f" (select number, (select x from (select {_COLUMNS}) as x) as row from range({people}) as n (number)))"
    )


def _check(delivery: Delivery, state: str, people: int, ledger: Ledger) -> None:
    if delivery.errors or delivery.states.get(state) != people or ledger.members() != people:
        raise RuntimeError(f"{delivery.states} of {people}: {delivery.errors}")
