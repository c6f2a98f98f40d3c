"""Everything that arrived, in one SQLite file that outlives the server: events in order, and current state.

What belongs here: tables and their reading and writing. What does not: what a vendor makes of a request.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

_SCHEMA = """
create table if not exists event (
    seq integer primary key autoincrement, at text not null, as_of text not null,
    system text not null, kind text not null, body text not null);
create table if not exists profile (
    uuid text primary key, customer_id text unique, email text, body text not null);
create index if not exists profile_email on profile (email);
create table if not exists user_list (id integer primary key, name text unique, body text not null);
create table if not exists member (
    list_id integer not null, value text not null, primary key (list_id, value)) without rowid;
create table if not exists channel (id text primary key, name text unique not null);
create table if not exists message (
    channel text not null, ts text not null, edits integer not null, as_of text not null, body text not null,
    primary key (channel, ts));
create table if not exists mail (seq integer primary key autoincrement, as_of text not null, body text not null);
create table if not exists overlay (
    name text not null, id text not null, body text not null, primary key (name, id));
create table if not exists idempotency (key text primary key, request text not null, reply text not null);
"""


class Arrivals:
    """The store. One connection, one caller at a time; each `write` is a transaction."""

    def __init__(self, path: Path, as_of: Callable[[], datetime]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._as_of = as_of
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.executescript("pragma journal_mode=wal; pragma synchronous=off;" + _SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def now(self) -> str:
        """The sandbox's clock as ISO text."""
        return self._as_of().isoformat()

    def read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def write(self, query: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run one statement for each of `rows`, all or none."""
        with self._lock:
            self._connection.execute("begin")
            try:
                self._connection.executemany(query, rows)
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def add_event(self, system: str, kind: str, body: dict[str, Any]) -> None:
        """Append to the log; `at` is the wall clock, `as_of` the sandbox's."""
        at = datetime.now(UTC).isoformat()
        self.write(
            "insert into event (at, as_of, system, kind, body) values (?, ?, ?, ?, ?)",
            [(at, self.now(), system, kind, dump(body))],
        )

    def events(self, system: str | None = None) -> list[dict[str, Any]]:
        """The log in order of arrival."""
        found = self.read(
            "select seq, at, as_of, system, kind, body from event where ? is null or system = ? order by seq",
            system,
            system,
        )
        return [
            {"seq": seq, "at": at, "as_of": as_of, "system": origin, "kind": kind, **orjson.loads(body)}
            for seq, at, as_of, origin, kind, body in found
        ]

    def overlays(self, name: str) -> dict[str, dict[str, Any]]:
        """What clients wrote over one of the lender's tables, by id."""
        return {key: orjson.loads(body) for key, body in self.read("select id, body from overlay where name = ?", name)}

    def keep_overlay(self, name: str, identifier: str, values: dict[str, Any]) -> None:
        self.write("insert or replace into overlay values (?, ?, ?)", [(name, identifier, dump(values))])

    def everything(self) -> dict[str, Any]:
        """The content of `GET /arrivals.json`."""
        return {
            "blueshift": {
                "profiles": self.profiles(),
                "lists": self.lists(),
                "requests": self.events("blueshift"),
            },
            "slack": {"messages": self.messages()},
            "mail": self.mails(),
            "log": self.events(),
        }

    def profiles(self) -> list[dict[str, Any]]:
        return [orjson.loads(body) for (body,) in self.read("select body from profile order by rowid")]

    def lists(self) -> list[dict[str, Any]]:
        """User lists with their members' identifiers, sorted."""
        members: dict[int, list[str]] = {}
        for list_id, value in self.read("select list_id, value from member order by list_id, value"):
            members.setdefault(list_id, []).append(value)
        return [
            {**orjson.loads(body), "id": list_id, "name": name, "members": members.get(list_id, [])}
            for list_id, name, body in self.read("select id, name, body from user_list order by id")
        ]

    def messages(self) -> list[dict[str, Any]]:
        """Slack messages as they stand, oldest first."""
        names = dict(self.read("select id, name from channel"))
        return [
            {
                **orjson.loads(body),
                "channel": channel,
                "channel_name": names.get(channel),
                "ts": ts,
                "edits": edits,
                "as_of": as_of,
            }
            for channel, ts, edits, as_of, body in self.read(
                "select channel, ts, edits, as_of, body from message order by ts"
            )
        ]

    def mails(self) -> list[dict[str, Any]]:
        return [
            {"seq": seq, "as_of": as_of, **orjson.loads(body)}
            for seq, as_of, body in self.read("select seq, as_of, body from mail order by seq")
        ]


def dump(value: object) -> str:
    return orjson.dumps(value).decode()
