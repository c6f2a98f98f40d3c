"""The delivery ledger of a destination: what was sent to whom, as it was sent.

One private file a destination, owned by the one process that is syncing to it. `outbox` holds the
current plan and moves by batch (planned, in_flight, then the answer); `delivered` is what the plan
joins with. Belongs here: states and their writing. Not here: what to send or how.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from activation.audiences.planner import PLAN_SQL, PlanCounts
from activation.audiences.store import attach_private
from activation.destinations.contract import Member, Row, RowResult
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


class Ledger:
    """One audience's rows in a destination's ledger. Every public method commits before it returns."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, audience: str) -> None:
        self._db = connection
        self.audience = audience

    def plan(self, *, send_id: str, as_of: datetime, retry_rejected_days: int) -> PlanCounts:
        """Replace this audience's outbox by the difference of `state.desired` and what is delivered."""
        delivered = "(select * from ledger.delivered where audience = $audience)"
        self._db.execute(
            f"create or replace temp table plan as {PLAN_SQL.format(desired='state.desired', delivered=delivered)}",
            {"audience": self.audience, "retry_before": as_of - timedelta(days=retry_rejected_days)},
        )
        rows = dict(self._db.execute("select action, count(*) from plan group by action").fetchall())
        asked = self._value(
            "select count(*) from plan join state.decision as decision using (person_key)"
            " where action = 'remove' and decision.asked"
        )
        same = self._value(
            "select count(*) from plan join ledger.delivered as l on l.person_key = plan.person_key and l.audience = $audience"
            " where plan.action = 'change' and l.rule_version = plan.rule_version and l.state not in ('in_flight', 'unknown')",
            {"audience": self.audience},
        )
        self._transaction(
            ("delete from ledger.outbox where audience = $audience", {"audience": self.audience}),
            (
                "insert into ledger.outbox select row_number() over (order by action <> 'remove', person_key), $audience, person_key,"
                " action, membership_unsure, identifier, payload, payload_hash, rule_version, snapshot, consent_basis,"
                " consent_decided_at, $send_id, $as_of, 'planned', null from plan where action in ('add', 'change', 'remove')"
                " order by action <> 'remove', person_key",
                {"audience": self.audience, "send_id": send_id, "as_of": as_of},
            ),
            (
                "delete from ledger.delivered where audience = $audience and not is_member"
                " and person_key in (select person_key from plan where action = 'forget')",
                {"audience": self.audience},
            ),
        )
        return PlanCounts(
            **{name: rows.get(name, 0) for name in (*_SENT, "unchanged", "keep", "refused")},
            members=self.members(),
            asked_removals=asked,
            same_version_changes=same,
        )

    def discard(self) -> None:
        """Drop the planned rows: a guard stopped the plan."""
        self._db.execute("delete from ledger.outbox where audience = ? and state = 'planned'", [self.audience])

    def waves(self, size: int) -> Iterator[tuple[str, list[Row]]]:
        """The planned rows, removals first, as (`remove` or `upsert`, at most `size` rows).

        A wave is written as in flight, and on disk, before it is given out.
        """
        last = 0
        while True:
            batch = self._db.execute(
                "select plan_no, action, person_key, identifier, payload, membership_unsure from ledger.outbox"
                " where audience = ? and plan_no > ? and state = 'planned' order by plan_no limit ?",
                [self.audience, last, size],
            ).fetchall()
            if not batch:
                return
            removing = batch[0][1] == "remove"
            batch = [row for row in batch if (row[1] == "remove") == removing]
            last = batch[-1][0]
            self._db.execute(
                "update ledger.outbox set state = 'in_flight' where audience = ? and plan_no between ? and ?",
                [self.audience, batch[0][0], last],
            )
            yield "remove" if removing else "upsert", [Row(*row[2:]) for row in batch]

    def record(self, rows: list[Row], results: Iterable[RowResult]) -> dict[str, int]:
        """Write the answer to a wave. A row that no result accounts for is unknown. Returns rows by state."""
        answered = {result.person_key: result for result in results}
        table = pa.table(
            {
                "person_key": [row.person_key for row in rows],
                "state": [answered[row.person_key].state if row.person_key in answered else "unknown" for row in rows],
                "error": [
                    answered[row.person_key].error
                    if row.person_key in answered
                    else "the answer does not mention this row"
                    for row in rows
                ],
            },
            schema=pa.schema([("person_key", pa.string()), ("state", pa.string()), ("error", pa.string())]),
        )
        self._db.register("_answers", table)
        try:
            self._db.execute(
                "update ledger.outbox as o set state = a.state, error = a.error from _answers as a"
                " where o.audience = $audience and o.person_key = a.person_key",
                {"audience": self.audience},
            )
        finally:
            self._db.unregister("_answers")
        counts: dict[str, int] = {}
        for state in table["state"].to_pylist():
            counts[state] = counts.get(state, 0) + 1
        return counts

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
                " where l.audience = o.audience and l.person_key = o.person_key) order by o.person_key",
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

    def membership(self, size: int = 10_000) -> Iterator[list[Member]]:
        """Everyone who is a member once the plan is done, in the order of keys, `size` at a time."""
        cursor = self._db.cursor()
        cursor.execute("set timezone = 'UTC'")
        cursor.execute(
            "select person_key, payload, rule_version, snapshot, consent_basis,"
            " strftime(consent_decided_at, '%Y-%m-%dT%H:%M:%SZ'), send_id from ("
            " select * from ledger.outbox where audience = $audience and action in ('add', 'change')"
            " union all by name select * from ledger.delivered as l where audience = $audience and is_member and not exists"
            " (select 1 from ledger.outbox as o where o.audience = $audience and o.person_key = l.person_key)"
            ") order by person_key",
            {"audience": self.audience},
        )
        while batch := cursor.fetchmany(size):
            yield [Member(*row) for row in batch]

    def faults(self) -> dict[str, int]:
        """Rows of the current plan that went wrong, by reason."""
        rows = self._db.execute(
            "select coalesce(error, state), count(*) from ledger.outbox where audience = ?"
            " and state in ('rejected', 'unknown') group by 1 order by 2 desc, 1 limit 5",
            [self.audience],
        ).fetchall()
        return dict(rows)

    def planned_adds(self) -> int:
        return self._value(
            "select count(*) from ledger.outbox where audience = $audience and action = 'add'",
            {"audience": self.audience},
        )

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
