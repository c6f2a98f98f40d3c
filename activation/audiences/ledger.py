"""The delivery ledger of a destination: what was sent to whom, as it was sent.

One private file a destination, owned by the one process that is syncing to it. `outbox` holds the
current plan and moves by batch (planned, in_flight, then the answer); `delivered` is what the plan
joins with. Belongs here: states and their writing. Not here: what to send or how.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from activation.audiences.membership import Membership
from activation.audiences.planner import PLAN_SQL, SENT_SQL, SOURCES, PlanCounts
from activation.audiences.readers import quote
from activation.audiences.store import attach_private
from activation.destinations.contract import Row, RowResult
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
)
"""What makes each version of the file out of the one before (`lendloop.formats.upgrade`)."""
_SENT = ("add", "change", "remove")
_DELIVERED = "(select * from ledger.delivered where audience = $audience)"
_SOURCES = " union all ".join(
    SENT_SQL.format(
        source={"delivered": _DELIVERED, "desired": "state.desired"}[source],
        plan="plan",
        actions=", ".join(map(quote, actions)),
    )
    for source, actions in SOURCES.items()
)
# one statement: in DuckDB 2.0.0 a large insert that follows an empty one in its transaction can't be seen
_OUTBOX_INSERT = (
    "insert into ledger.outbox select row_number() over (), $audience, *, $send_id, $as_of, 'planned', null"
    f" from ({_SOURCES})"
)
_VERBS: dict[Literal["remove", "upsert"], list[str]] = {"remove": ["remove"], "upsert": ["add", "change"]}
_ANSWER = pa.schema([("person_key", pa.string()), ("state", pa.string()), ("error", pa.string())])
_UNMENTIONED = ("unknown", "the answer does not mention this row")


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


@dataclass(frozen=True)
class Wave:
    """Rows that go out together, by one function of the destination. `first` to `last`: where they stand in the plan."""

    verb: Literal["remove", "upsert"]
    rows: list[Row]
    first: int
    last: int


class Ledger:
    """One audience's rows in a destination's ledger. Every public method commits before it returns."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, audience: str) -> None:
        self._db = connection
        self.audience = audience

    def plan(self, *, send_id: str, as_of: datetime, retry_rejected_days: int) -> PlanCounts:
        """Replace this audience's outbox by the difference of `state.desired` and what is delivered."""
        own = {"audience": self.audience}
        self._db.execute(
            "create or replace temp table plan as select * from"
            f" ({PLAN_SQL.format(desired='state.desired', delivered=_DELIVERED)}) where action <> 'unchanged'",
            own | {"retry_before": as_of - timedelta(days=retry_rejected_days)},
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
        self._transaction(
            ("delete from ledger.outbox where audience = $audience", own),
            (_OUTBOX_INSERT, own | {"send_id": send_id, "as_of": as_of}),
            (
                "delete from ledger.delivered where audience = $audience and not is_member"
                " and person_key in (select person_key from plan where action = 'forget')",
                own,
            ),
        )
        to_send, kept = sum(rows.get(action, 0) for action in _SENT), sum(self.outbox_states().values())
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

    def discard(self) -> None:
        """Drop the planned rows: a guard stopped the plan."""
        self._db.execute("delete from ledger.outbox where audience = ? and state = 'planned'", [self.audience])

    def waves(self, size: int) -> Iterator[Wave]:
        """The planned rows, removals first, at most `size` at a time.

        A wave is written as in flight, and on disk, before it is given out.
        """
        for verb, actions in _VERBS.items():
            own = {"audience": self.audience, "actions": actions}
            [(first, end)] = self._db.execute(
                "select min(plan_no), max(plan_no) from ledger.outbox"
                " where audience = $audience and state = 'planned' and list_contains($actions, action)",
                own,
            ).fetchall()
            while first is not None and first <= end:
                last = first + size - 1
                rows = self._db.execute(
                    "update ledger.outbox set state = 'in_flight' where audience = $audience and state = 'planned'"
                    " and plan_no between $first and $last and list_contains($actions, action)"
                    " returning person_key, identifier, payload, membership_unsure",
                    own | {"first": first, "last": last},
                ).fetchall()
                if rows:
                    yield Wave(verb, list(map(Row._make, rows)), first, last)
                first = last + 1

    def put_back(self, wave: Wave) -> None:
        """A wave that was never sent is planned again."""
        self._db.execute(
            "update ledger.outbox set state = 'planned' where audience = $audience and plan_no between $first and $last"
            " and list_contains($actions, action)",
            self._named(wave),
        )

    def record(self, wave: Wave, results: Iterable[RowResult]) -> None:
        """Write the answers to a wave. A row that no result accounts for is unknown."""
        answered: dict[str, tuple[str, str | None]] = {}
        for result in results:
            answered |= dict.fromkeys(result.person_keys, (result.state, result.error))
        answers = [answered.get(row.person_key, _UNMENTIONED) for row in wave.rows]
        usual, _ = Counter(answers).most_common(1)[0]
        apart = [(row.person_key, *answer) for row, answer in zip(wave.rows, answers, strict=True) if answer != usual]
        own = self._named(wave)
        whole = (
            "update ledger.outbox set state = $state, error = $error where audience = $audience"
            " and plan_no between $first and $last and list_contains($actions, action)",
            own | {"state": usual[0], "error": usual[1]},
        )
        if not apart:
            self._transaction(whole)
            return
        columns = dict(zip(_ANSWER.names, zip(*apart, strict=True), strict=True))
        self._db.register("_answers", pa.table(columns, schema=_ANSWER))
        try:
            self._transaction(
                whole,
                (
                    "update ledger.outbox as o set state = a.state, error = a.error from _answers as a"
                    " where o.audience = $audience and o.plan_no between $first and $last"
                    " and list_contains($actions, o.action) and o.person_key = a.person_key",
                    own,
                ),
            )
        finally:
            self._db.unregister("_answers")

    def _named(self, wave: Wave) -> dict[str, object]:
        return {"audience": self.audience, "first": wave.first, "last": wave.last, "actions": _VERBS[wave.verb]}

    def settle(self) -> None:
        """Fold the outbox into `delivered` and empty it; what was only planned is forgotten."""
        who = {"audience": self.audience}
        upserted = "o.audience = $audience and o.action in ('add', 'change')"
        columns = "identifier, payload, rule_version, snapshot, consent_basis, consent_decided_at, send_id"
        update = ", ".join(f"{name} = o.{name}" for name in columns.split(", "))
        self._transaction(
            (
                "delete from ledger.delivered as l using ledger.outbox as o where l.audience = o.audience"
                " and l.person_key = o.person_key and o.audience = $audience and o.action = 'remove' and o.state in ('accepted', 'confirmed')",
                who,
            ),
            (
                "update ledger.delivered as l set state = o.state, error = o.error from ledger.outbox as o"
                " where l.audience = o.audience and l.person_key = o.person_key and o.audience = $audience"
                " and o.action = 'remove' and o.state in ('in_flight', 'unknown', 'rejected')",
                who,
            ),
            (
                "update ledger.delivered as l set state = 'rejected', rejected_hash = o.payload_hash, error = o.error, sent_as_of = o.as_of"
                " from ledger.outbox as o where l.audience = o.audience and l.person_key = o.person_key"
                f" and {upserted} and o.state = 'rejected'",
                who,
            ),
            (
                f"update ledger.delivered as l set {update}, state = o.state, error = o.error, sent_as_of = o.as_of,"
                " rejected_hash = null, is_member = true, payload_hash = case when o.state in ('accepted', 'confirmed')"
                " then o.payload_hash else l.payload_hash end from ledger.outbox as o where l.audience = o.audience"
                f" and l.person_key = o.person_key and {upserted} and o.state in ('accepted', 'confirmed', 'in_flight', 'unknown')",
                who,
            ),
            (
                "insert into ledger.delivered select o.audience, o.person_key, o.identifier, o.payload,"
                " case when o.state in ('accepted', 'confirmed') then o.payload_hash end, o.state <> 'rejected', o.state,"
                " case when o.state = 'rejected' then o.payload_hash end, o.rule_version, o.snapshot, o.consent_basis,"
                " o.consent_decided_at, o.send_id, o.as_of, o.error from ledger.outbox as o"
                f" where {upserted} and o.state <> 'planned' and not exists (select 1 from ledger.delivered as l"
                " where l.audience = o.audience and l.person_key = o.person_key)",
                who,
            ),
            ("delete from ledger.outbox where audience = $audience", who),
        )

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
        self._transaction(
            (
                "update ledger.delivered set is_member = false, payload_hash = null, rejected_hash = null where audience = $audience",
                {"audience": self.audience},
            ),
            ("delete from ledger.remote where audience = $audience", {"audience": self.audience}),
            ("delete from ledger.synced where audience = $audience", {"audience": self.audience}),
        )

    def remote(self) -> tuple[str, str] | None:
        """Name and id of the remote list, when it was made or found before."""
        row = self._db.execute(
            "select name, remote_id from ledger.remote where audience = ?", [self.audience]
        ).fetchone()
        return (row[0], row[1]) if row else None

    def keep_remote(self, name: str, remote_id: str, as_of: datetime) -> None:
        self._transaction(
            ("delete from ledger.remote where audience = $audience", {"audience": self.audience}),
            (
                "insert into ledger.remote values ($audience, $name, $remote_id, $as_of)",
                {"audience": self.audience, "name": name, "remote_id": remote_id, "as_of": as_of},
            ),
        )

    def last_sync(self) -> datetime | None:
        """Business clock of the last finished pass."""
        row = self._db.execute("select as_of from ledger.synced where audience = ?", [self.audience]).fetchone()
        return row[0] if row else None

    def keep_sync(self, as_of: datetime, rule_version: int) -> None:
        self._transaction(
            ("delete from ledger.synced where audience = $audience", {"audience": self.audience}),
            (
                "insert into ledger.synced values ($audience, $as_of, $version)",
                {"audience": self.audience, "as_of": as_of, "version": rule_version},
            ),
        )

    def start_all(self) -> None:
        """Write the whole plan as in flight: the destination takes everything at once."""
        self._db.execute("update ledger.outbox set state = 'in_flight' where audience = ?", [self.audience])

    def finish_all(self, state: str, error: str | None = None) -> None:
        """Write one answer for the whole plan."""
        self._db.execute(
            "update ledger.outbox set state = ?, error = ? where audience = ?", [state, error, self.audience]
        )

    def membership(self) -> Membership:
        """Everyone who is a member once the plan is done."""
        return Membership(self._db, self.audience)

    def faults(self) -> dict[str, int]:
        """Rows of the current plan that went wrong, by reason."""
        rows = self._db.execute(
            "select coalesce(error, state), count(*) from ledger.outbox where audience = ?"
            " and state in ('rejected', 'unknown') group by 1 order by 2 desc, 1 limit 5",
            [self.audience],
        ).fetchall()
        return dict(rows)

    def outbox_states(self) -> dict[str, int]:
        """Rows of the current plan by state."""
        rows = self._db.execute(
            "select state, count(*) from ledger.outbox where audience = ? group by state", [self.audience]
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

    def _transaction(self, *statements: tuple[str, Mapping[str, object]]) -> None:
        self._db.execute("begin")
        try:
            for sql, parameters in statements:
                self._db.execute(sql, parameters)
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")
