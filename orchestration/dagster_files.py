"""Dagster's SQLite files at a bearable price, without touching what Dagster writes in them.

Dagster opens and closes a file for every event. The last one that closes it writes the log back and waits for the
disk, some thousand times in a pass; here somebody always has it open still. It also makes an engine for every event,
which learns about the file and compiles its statements anew; here a file has one, and its connections.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dagster._core.storage.event_log.sqlite import sqlite_event_log

KEPT_OPEN = 8
"""Files at a time: those of all runs, and of the few runs that are written or read now."""


@contextmanager
def kept_open(folder: Path) -> Iterator[None]:
    """Inside the block, SQLite files under `folder` stay open in this process once it opened them, with their engines.

    A commit there waits for the disk only when the log is written back: a loss of power, but no kill, may cost the
    last events of a run, and leaves the files whole.
    """
    root = folder.resolve()
    kept: OrderedDict[str, sqlite3.Connection] = OrderedDict()
    one_at_a_time = threading.Lock()

    def opened(connection: Any, _: object) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        # what is wrong with a file is told by Dagster's own statement, which comes next
        with one_at_a_time, suppress(sqlite3.Error):
            path = connection.execute("pragma database_list").fetchone()[2]
            if not path or not Path(path).is_relative_to(root):
                return
            connection.execute("pragma synchronous = normal")
            if path not in kept:
                kept[path] = sqlite3.connect(path, check_same_thread=False)
            kept.move_to_end(path)
            # only who has read since the file has a log keeps it open
            kept[path].execute("pragma schema_version").fetchone()
            while len(kept) > KEPT_OPEN:
                kept.popitem(last=False)[1].close()

    sa.event.listen(sa.Engine, "connect", opened)
    try:
        with _one_engine_a_file():
            yield
    finally:
        sa.event.remove(sa.Engine, "connect", opened)
        for connection in kept.values():
            connection.close()


@contextmanager
def _one_engine_a_file() -> Iterator[None]:
    """Engines of event files stay, each with its connections, though Dagster disposes of them after every event."""
    names = vars(sqlite_event_log)
    make = names["create_engine"]
    made: OrderedDict[str, sa.Engine] = OrderedDict()

    def create_engine(url: str, **options: Any) -> sa.Engine:
        if url not in made:
            made[url] = make(url, **{**options, "poolclass": sa.QueuePool})
            vars(made[url])["dispose"] = _stay
        made.move_to_end(url)
        while len(made) > KEPT_OPEN:
            sa.Engine.dispose(made.popitem(last=False)[1])
        return made[url]

    names["create_engine"] = create_engine
    try:
        yield
    finally:
        names["create_engine"] = make
        for engine in made.values():
            sa.Engine.dispose(engine)


def _stay() -> None:
    """What an engine that is kept answers to Dagster's `dispose`."""
