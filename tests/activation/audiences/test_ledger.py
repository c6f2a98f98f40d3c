"""The ledger against a destination that answers as it likes: whatever happens, it knows who may be there."""

from __future__ import annotations

import itertools
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activation.audiences.ledger import Ledger, ledger_path, open_ledger
from activation.audiences.store import open_store
from activation.destinations.contract import Row, RowResult, State
from lendloop.home import Home

NOW = datetime(2026, 6, 30, tzinfo=UTC)
KEYS = [f"p{number}" for number in range(6)]
ANSWERS = ("accepted", "rejected", "unknown: done", "unknown: not done", "planned", "silence", "crash: done", "crash")
PASS = st.tuples(
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["1", "2"])),
    st.lists(st.sampled_from(ANSWERS), min_size=len(KEYS), max_size=len(KEYS)),
)


def want(connection: duckdb.DuckDBPyConnection, desired: dict[str, str]) -> None:
    connection.execute("delete from state.desired")
    for key, payload in desired.items():
        connection.execute(
            "insert into state.desired values (?, ?, ?, ?, false, 1, 'v', 'basis', null, ?, null)",
            [key, key, payload, f"hash-{payload}", NOW],
        )


def one_pass(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    remote: dict[str, str],
    desired: dict[str, str],
    answers: list[str],
    at: datetime,
) -> None:
    """Plan and send to `remote`, each row answered as told; a crash ends the pass with its wave unrecorded."""
    queue = itertools.cycle(answers)
    want(connection, desired)
    ledger.plan(send_id="s", as_of=at, retry_rejected_days=1)
    for wave in ledger.waves(2):
        results, crashed = [], False
        for row in wave.rows:
            answer = next(queue)
            crashed = crashed or answer.startswith("crash")
            if answer in ("accepted", "silence", "unknown: done", "crash: done"):
                apply(remote, wave.verb, row)
            if answer != "silence":
                results.append(RowResult([row.person_key], state_of(answer)))
        if crashed:
            break
        ledger.record(wave, results)
    ledger.settle()


def state_of(answer: str) -> State:
    name = answer.split(":")[0]
    return name if name in ("accepted", "rejected", "planned") else "unknown"  # type: ignore[return-value]


def apply(remote: dict[str, str], verb: str, row: Row) -> None:
    if verb == "remove":
        remote.pop(row.identifier, None)
    else:
        remote[row.identifier] = row.payload


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(passes=st.lists(PASS, min_size=1, max_size=4))
def test_whoever_may_be_at_the_destination_is_known_and_one_good_pass_makes_it_right(
    passes: list[tuple[dict[str, str], list[str]]],
) -> None:
    remote: dict[str, str] = {}
    at = NOW
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(Home(Path(folder)), "a", 5) as connection,
        open_ledger(connection, Home(Path(folder)), "vendor", "a", 5) as ledger,
    ):
        for desired, answers in passes:
            one_pass(connection, ledger, remote, desired, answers, at)
            at += timedelta(days=2)
            assert set(remote) <= members(connection), "a member that the ledger does not know can never be removed"
        one_pass(connection, ledger, remote, desired, ["accepted"], at)
        assert remote == desired
        assert members(connection) == set(desired)


def members(connection: duckdb.DuckDBPyConnection) -> set[str]:
    return {row[0] for row in connection.execute("select person_key from ledger.delivered where is_member").fetchall()}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_wave_is_on_disk_as_in_flight_before_it_is_given_out(home: Home) -> None:
    with open_store(home, "a", 5) as connection, open_ledger(connection, home, "vendor", "a", 5) as ledger:
        want(connection, {"p": "1", "q": "1"})
        ledger.plan(send_id="s", as_of=NOW, retry_rejected_days=1)
        next(iter(ledger.waves(1)))
        assert ledger.outbox_states() == {"in_flight": 1, "planned": 1}
    with open_store(home, "a", 5) as connection, open_ledger(connection, home, "vendor", "a", 5):
        assert members(connection) == {"p"}, "what was in flight when a pass ended may be there"


def test_audiences_share_a_ledger_without_touching_each_other(home: Home) -> None:
    for audience in ("a", "b"):
        with (
            open_store(home, audience, 5) as connection,
            open_ledger(connection, home, "vendor", audience, 5) as ledger,
        ):
            want(connection, {"p": audience})
            assert ledger.plan(send_id="s", as_of=NOW, retry_rejected_days=1).add == 1
            for wave in ledger.waves(10):
                ledger.record(wave, [RowResult([row.person_key for row in wave.rows], "accepted")])
            ledger.settle()
    with open_store(home, "a", 5) as connection, open_ledger(connection, home, "vendor", "a", 5) as ledger:
        want(connection, {})
        assert ledger.plan(send_id="s", as_of=NOW, retry_rejected_days=1).remove == 1
        assert Ledger(connection, "b").members() == 1


def test_the_ledger_is_readable_by_its_owner_only(home: Home) -> None:
    with open_store(home, "a", 5) as connection, open_ledger(connection, home, "vendor", "a", 5):
        pass
    assert ledger_path(home, "vendor").stat().st_mode & 0o777 == 0o600
    assert home.delivery.stat().st_mode & 0o777 == 0o700


def test_a_wave_that_is_put_back_is_planned_again_and_the_one_before_keeps_its_answers(home: Home) -> None:
    with open_store(home, "a", 5) as connection, open_ledger(connection, home, "vendor", "a", 5) as ledger:
        want(connection, {"p": "1", "q": "1", "r": "1"})
        ledger.plan(send_id="s", as_of=NOW, retry_rejected_days=1)
        waves = ledger.waves(2)
        sent, ahead = next(waves), next(waves)
        ledger.record(sent, [RowResult(sent.rows.person_keys[:1], "accepted")])
        ledger.put_back(ahead)
        assert ledger.outbox_states() == {"accepted": 1, "unknown": 1, "planned": 1}
        ledger.settle()
        assert members(connection) == {row.person_key for row in sent.rows}


def test_waves_that_are_answered_alike_are_kept_as_one_and_other_answers_by_row(home: Home) -> None:
    with open_store(home, "a", 5) as connection, open_ledger(connection, home, "vendor", "a", 5) as ledger:
        want(connection, {f"p{number:02}": "1" for number in range(20)})
        ledger.plan(send_id="s", as_of=NOW, retry_rejected_days=1)
        refused = []
        for number, wave in enumerate(ledger.waves(3)):
            keys = [row.person_key for row in wave.rows]
            results = [RowResult(keys, "accepted")]
            if number in (2, 4):
                refused.append(keys[0])
                results = [RowResult(keys[1:], "accepted"), RowResult(keys[:1], "rejected", "no")]
            ledger.record(wave, results)
        assert connection.execute("select first, last, state from ledger.wave").fetchall() == [(1, 20, "accepted")]
        assert connection.execute("select person_key from ledger.answer order by 1").fetchall() == [
            (k,) for k in refused
        ]
        assert ledger.outbox_states() == {"accepted": 18, "rejected": 2}
        assert ledger.faults() == {"no": 2}
        ledger.settle()
        assert ledger.states() == {"accepted": 18, "rejected": 2}
        assert ledger.outbox_states() == {}


def test_removals_go_first_and_a_wave_is_of_one_kind(home: Home) -> None:
    with open_store(home, "a", 5) as connection, open_ledger(connection, home, "vendor", "a", 5) as ledger:
        for wanted in (["p", "q", "r"], ["r", "s", "t"]):
            want(connection, dict.fromkeys(wanted, "1"))
            ledger.plan(send_id="s", as_of=NOW, retry_rejected_days=1)
            sent = []
            for wave in ledger.waves(3):
                sent.append((wave.verb, {row.person_key for row in wave.rows}))
                ledger.record(wave, [RowResult([row.person_key for row in wave.rows], "accepted")])
            ledger.settle()
        assert sent == [("remove", {"p", "q"}), ("upsert", {"s", "t"})]
        assert members(connection) == {"r", "s", "t"}
