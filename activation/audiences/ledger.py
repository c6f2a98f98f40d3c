"""The delivery ledger of a destination: what was sent to whom, as it was sent.

One private file a destination, owned by the one process that is syncing to it. `outbox` holds the
current plan and is written once; what became of it is written by wave in `wave` (in_flight, then the
answer), and row by row in `answer` for rows that were answered otherwise than their wave.
`delivered` is what the plan joins with. Belongs here: states and their writing. Not here: what to
send or how.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from activation.audiences.membership import Membership
from activation.audiences.planner import PLAN_SQL, SENT_SQL, SOURCES, PlanCounts
from activation.audiences.readers import quote
from activation.audiences.store import attach_private
from activation.destinations.contract import RowResult, Rows
from lendloop.errors import PermanentError
from lendloop.formats import upgrade
from lendloop.home import Home
from lendloop.locks import file_lock

VERSIONS = (
    """
create table if not exists ledger.delivered (
    audience varchar, person_key varchar, identifier varchar, payload varchar, payload_hash varchar, is_member boolean,
    state varchar, rejected_hash varchar, rule_version integer, snapshot varchar, consent_basis varchar,
    consent_decided_at timestamptz, send_id varchar, sent_as_of timestamptz, error varchar);
create table if not exists ledger.outbox (
    plan_no bigint, audience varchar, person_key varchar, action varchar, membership_unsure boolean, identifier varchar,
    payload varchar, payload_hash varchar, rule_version integer, snapshot varchar, consent_basis varchar,
    consent_decided_at timestamptz, send_id varchar, as_of timestamptz, state varchar, error varchar);
create table if not exists ledger.remote (audience varchar, name varchar, remote_id varchar, as_of timestamptz);
create table if not exists ledger.synced (audience varchar, as_of timestamptz, rule_version integer);
""",
    """
create table ledger.wave (audience varchar, first bigint, last bigint, state varchar, error varchar);
create table ledger.answer (audience varchar, person_key varchar, state varchar, error varchar);
insert into ledger.answer select audience, person_key, state, error from ledger.outbox where state <> 'planned';
create table ledger.new_outbox (
    plan_no bigint, audience varchar, person_key varchar using compression uncompressed, action varchar,
    membership_unsure boolean, identifier varchar using compression uncompressed,
    payload varchar using compression zstd, payload_hash varchar using compression uncompressed,
    rule_version integer, snapshot varchar, consent_basis varchar, consent_decided_at timestamptz, send_id varchar,
    as_of timestamptz);
insert into ledger.new_outbox select * exclude (state, error) from ledger.outbox;
drop table ledger.outbox;
alter table ledger.new_outbox rename to outbox;
create table ledger.new_delivered (
    audience varchar, person_key varchar using compression uncompressed,
    identifier varchar using compression uncompressed, payload varchar using compression zstd,
    payload_hash varchar using compression uncompressed, is_member boolean, state varchar, rejected_hash varchar,
    rule_version integer, snapshot varchar, consent_basis varchar, consent_decided_at timestamptz, send_id varchar,
    sent_as_of timestamptz, error varchar);
insert into ledger.new_delivered select * from ledger.delivered;
drop table ledger.delivered;
alter table ledger.new_delivered rename to delivered;
""",
)
"""What makes each version of the file out of the one before (`lendloop.formats.upgrade`).

Keys and digests are random text: looking for what could be saved on them costs more than all else of writing a row.
"""
_SENT = ("add", "change", "remove")
_DELIVERED = "(select rowid, * from ledger.delivered where audience = $audience)"
_NUMBERS = {
    "delivered": "row_number() over ()",
    "desired": "row_number() over () + (select count(*) from plan where action = 'remove')",
}
"""Where rows of a source stand in the plan: removals first, so that a wave is of one kind."""
_SOURCES = " union all ".join(
    f"select {_NUMBERS[name]}, $audience, *, $send_id, $as_of from ("
    + SENT_SQL.format(
        source={"delivered": _DELIVERED, "desired": "state.desired"}[name],
        name=name,
        plan="plan",
        actions=", ".join(map(quote, origin.actions)),
        payload=origin.payload,
    )
    + ")"
    for name, origin in SOURCES.items()
)
# one statement: in DuckDB 2.0.0 a large insert that follows an empty one in its transaction can't be seen
_OUTBOX_INSERT = f"insert into ledger.outbox {_SOURCES}"
_OUTBOX = """(
    select planned.*, coalesce(answer.state, wave.state, 'planned') as state,
        case when answer.state is null then wave.error else answer.error end as error
    from (select * from ledger.outbox where audience = $audience) as planned
    left join (select * from ledger.wave where audience = $audience) as wave
        on planned.plan_no between wave.first and wave.last
    left join (select * from ledger.answer where audience = $audience) as answer
        on answer.person_key = planned.person_key
)"""
"""This audience's outbox with what became of each row."""
_LAST = "(select coalesce(max(last), 0) from ledger.wave where audience = $audience)"
"""Where the last wave ends: what stands behind it was not begun."""
_SAME_BEFORE = (
    "before.audience = $audience and before.last = $first - 1 and before.state = $state"
    " and before.error is not distinct from $error"
)
"""The wave before the one at `$first`, when it was answered alike."""
_VERBS: dict[Literal["remove", "upsert"], str] = {"remove": "= 'remove'", "upsert": "<> 'remove'"}
_ANSWER = pa.schema([("person_key", pa.string()), ("state", pa.string()), ("error", pa.string())])
_Answer = tuple[str, str | None]
_UNMENTIONED: _Answer = ("unknown", "the answer does not mention this row")


def ledger_path(home: Home, destination: str) -> Path:
    return home.delivery / f"{destination}.duckdb"


@contextmanager
def open_ledger(
    connection: duckdb.DuckDBPyConnection, home: Home, destination: str, audience: str, timeout_s: float
) -> Iterator[Ledger]:
    """Attach a destination's ledger to an audience's connection (see `open_store`) and own it while inside.

    Settles what an interrupted pass left: rows in flight are taken as maybe delivered.
    Raises LockTimeoutError, ConfigurationError for a file of a newer version.
    """
    with file_lock(home.delivery / f"{destination}.lock", f"sync of audience {audience} to {destination}", timeout_s):
        attach_private(connection, ledger_path(home, destination), "ledger")
        try:
            upgrade(connection, "ledger", VERSIONS, f"{ledger_path(home, destination)}")
            ledger = Ledger(connection, audience)
            ledger.settle()
            yield ledger
        finally:
            connection.execute("detach ledger")


def audiences_in(home: Home, destination: str, timeout_s: float) -> list[str]:
    """The audiences that have, or may have, members at a destination whose ledger is there.

    Raises as `open_ledger` does, and PermanentError for a file that can't be read.
    """
    path = ledger_path(home, destination)
    with (
        file_lock(home.delivery / f"{destination}.lock", f"looking who is at {destination}", timeout_s),
        duckdb.connect(":memory:") as connection,
    ):
        try:
            attach_private(connection, path, "ledger")
            upgrade(connection, "ledger", VERSIONS, f"{path}")
            rows = connection.execute(
                "select audience from ledger.delivered where is_member union select audience from ledger.outbox order by 1"
            ).fetchall()
        except duckdb.Error as error:
            raise PermanentError(f"{path} can't be read: {str(error).splitlines()[0]}") from error
    return [name for (name,) in rows]


@dataclass(frozen=True)
class Wave:
    """Rows that go out together, by one function of the destination. `first` to `last`: where they stand in the plan."""

    verb: Literal["remove", "upsert"]
    rows: Rows
    first: int
    last: int


class Ledger:
    """One audience's rows in a destination's ledger. Every public method commits before it returns."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, audience: str) -> None:
        self._db = connection
        self.audience = audience

    def plan(self, *, send_id: str, as_of: datetime, retry_rejected_days: int) -> PlanCounts:
        """Replace this audience's outbox by the difference of `state.desired` and what is delivered."""
        own: dict[str, object] = {"audience": self.audience}
        with self._transaction():
            self._db.execute(
                "create or replace temp table plan as select * from"
                f" ({PLAN_SQL.format(desired='state.desired', delivered=_DELIVERED)}) where action <> 'unchanged'",
                own | {"retry_before": as_of - timedelta(days=retry_rejected_days)},
            )
            self._empty()
            self._db.execute(_OUTBOX_INSERT, own | {"send_id": send_id, "as_of": as_of})
            self._db.execute(
                "delete from ledger.delivered where audience = $audience and not is_member"
                " and person_key in (select person_key from plan where action = 'forget')",
                own,
            )
        planned = self._db.execute(
            "select action, count(*), count(*) filter (where is_same_version) from plan group by action"
        ).fetchall()
        rows = {action: count for action, count, _ in planned}
        asked = 0
        if rows.get("remove"):
            asked = self._value(
                "select count(*) from state.decision as decision join plan using (person_key)"
                " where action = 'remove' and decision.asked"
            )
        to_send = sum(rows.get(action, 0) for action in _SENT)
        kept = self._value("select count(*) from ledger.outbox where audience = $audience", own)
        if kept != to_send:
            raise PermanentError(f"the ledger holds {kept} of {to_send} planned rows")
        desired = self._value("select count(*) from state.desired")
        rows["unchanged"] = desired - sum(count for action, count in rows.items() if action not in ("remove", "forget"))
        return PlanCounts(
            **{name: rows.get(name, 0) for name in (*_SENT, "unchanged", "keep", "refused")},
            members=self.members(),
            asked_removals=asked,
            same_version_changes=next((same for action, _, same in planned if action == "change"), 0),
        )

    def plan_withdrawals(self, *, send_id: str, as_of: datetime) -> int:
        """Replace this audience's outbox by the removal of members that are in `withdrawn`: how many they are."""
        own: dict[str, object] = {"audience": self.audience}
        with self._transaction():
            self._db.execute(
                "create or replace temp table plan as"
                " select person_key, 'remove' as action, state in ('in_flight', 'unknown') as membership_unsure,"
                " null::bigint as desired_row, rowid as delivered_row from ledger.delivered"
                " where audience = $audience and is_member and person_key in (select person_key from withdrawn)",
                own,
            )
            self._empty()
            self._db.execute(_OUTBOX_INSERT, own | {"send_id": send_id, "as_of": as_of})
        return self._value("select count(*) from ledger.outbox where audience = $audience", own)

    def waves(self, size: int) -> Iterator[Wave]:
        """The planned rows, removals first, at most `size` at a time.

        A wave is written as in flight, and on disk, before it is given out.
        """
        for verb, kind in _VERBS.items():
            [(first, end)] = self._db.execute(
                f"select min(plan_no), max(plan_no) from ledger.outbox where audience = $audience and action {kind}"
                f" and plan_no > {_LAST}",
                {"audience": self.audience},
            ).fetchall()
            while first is not None and first <= end:
                last = min(first + size - 1, end)
                where = {"audience": self.audience, "first": first, "last": last}
                self._db.execute("insert into ledger.wave values ($audience, $first, $last, 'in_flight', null)", where)
                columns: dict[str, Any] = self._db.execute(
                    "select person_key, identifier, payload, membership_unsure from ledger.outbox"
                    " where audience = $audience and plan_no between $first and $last",
                    where,
                ).fetchnumpy()
                yield Wave(verb, Rows(*(column.tolist() for column in columns.values())), first, last)
                first = last + 1

    def put_back(self, wave: Wave) -> None:
        """A wave that was never sent is planned again."""
        self._db.execute(
            "delete from ledger.wave where audience = $audience and first = $first",
            {"audience": self.audience, "first": wave.first},
        )

    def record(self, wave: Wave, results: Iterable[RowResult]) -> None:
        """Write the answers to a wave. A row that no result accounts for is unknown."""
        usual, apart = _answers(wave, list(results))
        answer = {"audience": self.audience, "first": wave.first, "state": usual[0], "error": usual[1]}
        with self._transaction():
            # waves in a row with one answer become one, so that what joins with them stays few rows
            self._db.execute(
                "update ledger.wave set state = $state, error = $error, first = coalesce("
                f"(select first from ledger.wave as before where {_SAME_BEFORE}), first)"
                " where audience = $audience and first = $first",
                answer,
            )
            self._db.execute(f"delete from ledger.wave as before where {_SAME_BEFORE}", answer)
            if apart:
                columns = dict(zip(_ANSWER.names, zip(*apart, strict=True), strict=True))
                self._db.register("_answers", pa.table(columns, schema=_ANSWER))
                try:
                    self._db.execute(
                        "insert into ledger.answer select $audience, * from _answers", {"audience": self.audience}
                    )
                finally:
                    self._db.unregister("_answers")

    def settle(self) -> None:
        """Fold the outbox into `delivered` and empty it; what was only planned is forgotten."""
        who = {"audience": self.audience}
        removed, upserted = "o.action = 'remove'", "o.action in ('add', 'change')"
        person = "l.audience = $audience and l.person_key = o.person_key"
        columns = "identifier, payload, rule_version, snapshot, consent_basis, consent_decided_at, send_id"
        update = ", ".join(f"{name} = o.{name}" for name in columns.split(", "))
        statements = (
            f"delete from ledger.delivered as l using {_OUTBOX} as o where {person} and {removed}"
            " and o.state in ('accepted', 'confirmed')",
            f"update ledger.delivered as l set state = o.state, error = o.error from {_OUTBOX} as o where {person}"
            f" and {removed} and o.state in ('in_flight', 'unknown', 'rejected')",
            "update ledger.delivered as l set state = 'rejected', rejected_hash = o.payload_hash, error = o.error, sent_as_of = o.as_of"
            f" from {_OUTBOX} as o where {person} and {upserted} and o.state = 'rejected'",
            f"update ledger.delivered as l set {update}, state = o.state, error = o.error, sent_as_of = o.as_of,"
            " rejected_hash = null, is_member = true, payload_hash = case when o.state in ('accepted', 'confirmed')"
            f" then o.payload_hash else l.payload_hash end from {_OUTBOX} as o where {person} and {upserted}"
            " and o.state in ('accepted', 'confirmed', 'in_flight', 'unknown')",
            "insert into ledger.delivered select o.audience, o.person_key, o.identifier, o.payload,"
            " case when o.state in ('accepted', 'confirmed') then o.payload_hash end, o.state <> 'rejected', o.state,"
            " case when o.state = 'rejected' then o.payload_hash end, o.rule_version, o.snapshot, o.consent_basis,"
            f" o.consent_decided_at, o.send_id, o.as_of, o.error from {_OUTBOX} as o"
            f" where {upserted} and o.state <> 'planned' and not exists (select 1 from ledger.delivered as l where {person})",
        )
        with self._transaction():
            for statement in statements:
                self._db.execute(statement, who)
            self._empty()

    def _empty(self) -> None:
        for table in ("outbox", "wave", "answer"):
            self._db.execute(f"delete from ledger.{table} where audience = $audience", {"audience": self.audience})

    def members(self) -> int:
        """People who are, or may be, at the destination."""
        return self._value(
            "select count(*) from ledger.delivered where audience = $audience and is_member",
            {"audience": self.audience},
        )

    def states(self) -> dict[str, int]:
        """People by state, of this audience."""
        rows = self._db.execute(
            "select state, count(*) from ledger.delivered where audience = ? group by state", [self.audience]
        ).fetchall()
        return dict(rows)

    def lose_members(self) -> None:
        """Nobody is a member any more: the list is gone at the destination, and the next pass is a first one."""
        own = {"audience": self.audience}
        with self._transaction():
            self._db.execute(
                "update ledger.delivered set is_member = false, payload_hash = null, rejected_hash = null where audience = $audience",
                own,
            )
            self._db.execute("delete from ledger.remote where audience = $audience", own)
            self._db.execute("delete from ledger.synced where audience = $audience", own)

    def remote(self) -> tuple[str, str] | None:
        """Name and id of the remote list, when it was made or found before."""
        row = self._db.execute(
            "select name, remote_id from ledger.remote where audience = ?", [self.audience]
        ).fetchone()
        return (row[0], row[1]) if row else None

    def keep_remote(self, name: str, remote_id: str, as_of: datetime) -> None:
        with self._transaction():
            self._db.execute("delete from ledger.remote where audience = $audience", {"audience": self.audience})
            self._db.execute(
                "insert into ledger.remote values ($audience, $name, $remote_id, $as_of)",
                {"audience": self.audience, "name": name, "remote_id": remote_id, "as_of": as_of},
            )

    def last_sync(self) -> datetime | None:
        """Business clock of the last finished pass."""
        row = self._db.execute("select as_of from ledger.synced where audience = ?", [self.audience]).fetchone()
        return row[0] if row else None

    def keep_sync(self, as_of: datetime, rule_version: int) -> None:
        with self._transaction():
            self._db.execute("delete from ledger.synced where audience = $audience", {"audience": self.audience})
            self._db.execute(
                "insert into ledger.synced values ($audience, $as_of, $version)",
                {"audience": self.audience, "as_of": as_of, "version": rule_version},
            )

    def start_all(self) -> None:
        """Write the whole plan as in flight: the destination takes everything at once."""
        self._db.execute(
            "insert into ledger.wave select $audience, min(plan_no), max(plan_no), 'in_flight', null from ledger.outbox"
            " where audience = $audience having count(*) > 0",
            {"audience": self.audience},
        )

    def finish_all(self, state: str, error: str | None = None) -> None:
        """Write one answer for the whole plan."""
        self._db.execute(
            "update ledger.wave set state = ?, error = ? where audience = ?", [state, error, self.audience]
        )

    def membership(self) -> Membership:
        """Everyone who is a member once the plan is done."""
        return Membership(self._db, self.audience)

    def faults(self) -> dict[str, int]:
        """Rows of the current plan that went wrong, by reason."""
        rows = self._db.execute(
            f"select coalesce(error, state), count(*) from {_OUTBOX} where state in ('rejected', 'unknown')"
            " group by 1 order by 2 desc, 1 limit 5",
            {"audience": self.audience},
        ).fetchall()
        return dict(rows)

    def outbox_states(self) -> dict[str, int]:
        """Rows of the current plan by state."""
        rows = self._db.execute(
            f"select state, count(*) from {_OUTBOX} group by state", {"audience": self.audience}
        ).fetchall()
        return dict(rows)

    def sure_members(self) -> int:
        """People who are at the destination for certain, as far as its answers go."""
        return self._value(
            "select count(*) from ledger.delivered where audience = $audience and is_member"
            " and state in ('accepted', 'confirmed', 'rejected')",
            {"audience": self.audience},
        )

    def _value(self, sql: str, parameters: dict[str, object] | None = None) -> int:
        row = self._db.execute(sql, parameters or {}).fetchone()
        return int(row[0]) if row else 0

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")


def _answers(wave: Wave, results: list[RowResult]) -> tuple[_Answer, list[tuple[str, str, str | None]]]:
    """The answer that most rows of a wave got, and person, state and error of the others."""
    given: set[_Answer] = {(result.state, result.error) for result in results}
    mentioned: set[str] = set().union(*(result.person_keys for result in results))
    if len(given) == 1 and mentioned.issuperset(wave.rows.person_keys):
        return given.pop(), []
    answered: dict[str, _Answer] = {}
    for result in results:
        answered |= dict.fromkeys(result.person_keys, (result.state, result.error))
    keys = wave.rows.person_keys
    answers = [answered.get(key, _UNMENTIONED) for key in keys]
    usual, _ = Counter(answers).most_common(1)[0]
    return usual, [(key, *answer) for key, answer in zip(keys, answers, strict=True) if answer != usual]
