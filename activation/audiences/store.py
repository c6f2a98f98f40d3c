"""What an audience remembers from plan to plan, one private file an audience.

The frozen desired rows, everybody's reasons for being held back, payoff quotes, who was reached
once already, and who is in the hold-out. Belongs here: the file, its tables, its lock. Not here:
deciding (selection) or sending (ledger, delivery).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from activation.audiences.readers import quote
from lendloop.formats import upgrade
from lendloop.home import Home
from lendloop.locks import file_lock

MEMORY_LIMIT = "1GB"
"""What one sync may hold; above it DuckDB goes on in a private folder on disk."""
VERSIONS = (
    """
create table if not exists state.desired (
    person_key varchar, identifier varchar, payload varchar, payload_hash varchar, hold boolean, rule_version integer,
    snapshot varchar, consent_basis varchar, consent_decided_at timestamptz, as_of timestamptz, address_hash varchar);
create table if not exists state.decision (person_key varchar, reasons varchar[], asked boolean, as_of timestamptz, rule_version integer);
create table if not exists state.quote (
    person_key varchar, offer_id varchar, amount decimal(38, 6), currency varchar, issued_as_of timestamptz,
    issued_on date, expires_on date, share decimal(5, 4), rule_version integer);
create table if not exists state.engagement (
    person_key varchar, address_hash varchar, first_sent_as_of timestamptz, left_as_of timestamptz);
create table if not exists state.arm (
    person_key varchar, salt varchar, is_held_out boolean, assigned_as_of timestamptz, rule_version integer);
""",
    """
create table state.selection (
    basis varchar, as_of timestamptz, until timestamptz, candidates bigint, desired bigint, held_back varchar, notes varchar);
""",
    """
create table state.new_desired (
    person_key varchar using compression uncompressed, identifier varchar using compression uncompressed,
    payload varchar using compression zstd, payload_hash varchar using compression uncompressed, hold boolean,
    rule_version integer, snapshot varchar, consent_basis varchar, consent_decided_at timestamptz, as_of timestamptz,
    address_hash varchar using compression uncompressed);
insert into state.new_desired select * from state.desired;
drop table state.desired;
alter table state.new_desired rename to desired;
create table state.new_decision (
    person_key varchar using compression uncompressed, reasons varchar[], asked boolean, as_of timestamptz,
    rule_version integer);
insert into state.new_decision select * from state.decision;
drop table state.decision;
alter table state.new_decision rename to decision;
""",
)
"""What makes each version of the file out of the one before (`lendloop.formats.upgrade`).

Keys and digests are random text, as in the ledger: they are written as they are.
"""


def store_path(home: Home, audience: str) -> Path:
    return home.delivery / f"audience_{audience}.duckdb"


@contextmanager
def open_store(home: Home, audience: str, timeout_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory connection with the audience's file attached as `state`, owned while inside.

    Raises LockTimeoutError when another process is syncing the same audience, ConfigurationError for a newer file.
    """
    path = store_path(home, audience)
    with file_lock(home.delivery / f"audience_{audience}.lock", f"sync of audience {audience}", timeout_s):
        connection = duckdb.connect(":memory:")
        try:
            connection.execute("set timezone = 'UTC'")
            connection.execute("set python_enable_replacements = false")
            connection.execute(f"set memory_limit = '{MEMORY_LIMIT}'")
            connection.execute(f"set temp_directory = {quote(path.with_suffix('.spill'))}")
            attach_private(connection, path, "state")
            upgrade(connection, "state", VERSIONS, f"{path}")
            yield connection
        finally:
            connection.close()


def attach_private(connection: duckdb.DuckDBPyConnection, path: Path, alias: str) -> None:
    """Attach a read-write file that only its owner can read, its write-ahead log included."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    connection.execute(f"attach {quote(path)} as {alias}")
    path.chmod(0o600)
