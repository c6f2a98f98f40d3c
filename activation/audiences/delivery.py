"""Bringing a plan to its destination: wave by wave, each written before it is sent and while the next one is.

Belongs here: the loop between ledger and destination. Not here: who is in the plan, HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import uvloop

from activation.audiences.ledger import Ledger, Wave
from activation.destinations.contract import Destination, FileDestination, RemoteListGoneError, RowResult
from activation.destinations.http import UnansweredError
from activation.destinations.rates import Sleep
from lendloop.errors import PermanentError

COUNT_TRIES = 3
_ARRIVED = ("accepted", "confirmed", "rejected")


@dataclass
class Delivery:
    """How a plan went. `gone`: the remote list does not exist any more, so the rest was not sent."""

    states: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    gone: bool = False
    remote_count: int | None = None
    errors: list[str] = field(default_factory=list)


def deliver_rows(
    destination: Destination, ledger: Ledger, list_name: str, as_of: datetime, sleep: Sleep = asyncio.sleep
) -> Delivery:
    """Send the ledger's outbox to a vendor, settle it, and compare counts. Closes the destination's client."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_deliver(destination, ledger, list_name, as_of, sleep))


async def _deliver(destination: Destination, ledger: Ledger, list_name: str, as_of: datetime, sleep: Sleep) -> Delivery:
    delivery = Delivery()
    before = destination.requests
    try:
        try:
            remote_id = await _list_id(destination, ledger, list_name, as_of)
            await _send(destination, ledger, remote_id)
        finally:
            _settle(ledger, delivery)
        if destination.contract.confirmation == "count" and delivery.states.get("accepted"):
            await _reconcile(destination, ledger, remote_id, delivery, sleep)
    except RemoteListGoneError:
        delivery.gone = True
    except (UnansweredError, PermanentError) as error:
        delivery.errors.insert(0, str(error))
    finally:
        delivery.requests = destination.requests - before
        await destination.close()
    return delivery


async def _list_id(destination: Destination, ledger: Ledger, list_name: str, as_of: datetime) -> str:
    known = ledger.remote()
    if known:
        return known[1]
    remote_id = await destination.find_or_create(list_name)
    ledger.keep_remote(list_name, remote_id, as_of)
    return remote_id


async def _send(destination: Destination, ledger: Ledger, remote_id: str) -> None:
    """Wave by wave; stops after one of which nothing at all arrived.

    While a wave is on its way, a thread writes the answers to the one before and puts the next in flight.
    A next one that is not sent after all is planned again.
    """
    waves = ledger.waves(destination.contract.wave_rows)
    answered: tuple[Wave, list[RowResult]] | None = None
    wave = await asyncio.to_thread(_turn, ledger, waves, answered)
    while wave is not None:
        writing = asyncio.get_running_loop().run_in_executor(None, _turn, ledger, waves, answered)
        results: list[RowResult] = []
        try:
            call = destination.remove if wave.verb == "remove" else destination.upsert
            results = await call(remote_id, wave.rows)
            answered = wave, results
        finally:
            # whatever happens, nothing else is done to the ledger before the thread is through with it
            await asyncio.wait([writing])
            following = writing.result()
            arrived = any(result.state in _ARRIVED and result.person_keys for result in results)
            if following is not None and not arrived:
                ledger.put_back(following)
        wave = following if arrived else None
    if answered:
        ledger.record(*answered)


def _turn(ledger: Ledger, waves: Iterator[Wave], answered: tuple[Wave, list[RowResult]] | None) -> Wave | None:
    """Write the answers to the last wave, and put the next one in flight."""
    if answered:
        ledger.record(*answered)
    return next(waves, None)


def _settle(ledger: Ledger, delivery: Delivery) -> None:
    states = ledger.outbox_states()
    states["unknown"] = states.get("unknown", 0) + states.pop("in_flight", 0)
    delivery.states = states
    delivery.errors += [f"{count} rows not delivered: {reason}" for reason, count in ledger.faults().items()]
    if unsent := states.get("planned", 0):
        delivery.errors.append(f"{unsent} rows were not sent; the next pass sends them")
    ledger.settle()


async def _reconcile(
    destination: Destination, ledger: Ledger, remote_id: str, delivery: Delivery, sleep: Sleep
) -> None:
    """Compare the destination's own count with the ledger; a list that lags is asked again."""
    low, high = ledger.sure_members(), ledger.members()
    for number in range(COUNT_TRIES):
        if number:
            await sleep(1.0)
        delivery.remote_count = await destination.count(remote_id)
        if delivery.remote_count is None or low <= delivery.remote_count <= high:
            return
    wanted = str(low) if low == high else f"{low} to {high}"
    delivery.errors.append(
        f"count_mismatch: the destination counts {delivery.remote_count} members, the ledger {wanted}"
    )


def deliver_files(drop: FileDestination, ledger: Ledger, traits: list[str], manifest: dict[str, object]) -> Delivery:
    """Write the whole membership as files and settle. A disk that refuses leaves the rows unknown."""
    delivery = Delivery()
    ledger.start_all()
    try:
        drop.replace(ledger.membership(), traits, manifest)
        ledger.finish_all("confirmed")
    except OSError as error:
        ledger.finish_all("unknown", f"the files could not be written ({error.strerror or error})")
    _settle(ledger, delivery)
    return delivery
