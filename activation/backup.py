"""Activation's part of a backup: what was delivered to whom, and operational state.

Belongs here: the locks under which delivery ledgers stand still, and copying them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb

from activation.audiences import ledger, store
from activation.audiences.readers import quote
from lendloop.formats import upgrade
from lendloop.home import Home
from lendloop.locks import file_lock


@contextmanager
def deliveries_at_rest(home: Home, purpose: str, timeout_s: float) -> Iterator[None]:
    """Hold the lock of every audience's file and every destination's ledger: nothing is being sent meanwhile.

    In the order in which a sync takes them. Raises LockTimeoutError, naming the holder.
    """
    locks = sorted(home.delivery.glob("*.lock"), key=lambda path: (not path.name.startswith("audience_"), path.name))
    with ExitStack() as stack:
        for path in locks:
            stack.enter_context(file_lock(path, purpose, timeout_s))
        yield


def copy_deliveries(home: Home, target: Path) -> None:
    """Copy every delivery file, with what a killed sync had not yet written into it. Call it under their locks."""
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in sorted(home.delivery.glob("*.duckdb")):
        with duckdb.connect(str(path)) as connection:
            connection.execute("checkpoint")
        shutil.copyfile(path, target / path.name)


def bring_deliveries_up(folder: Path) -> None:
    """Bring copied delivery files to this code's version. Raises ConfigurationError for a newer one."""
    for path in sorted(folder.glob("*.duckdb")):
        is_store = path.name.startswith("audience_")
        alias, versions = ("state", store.VERSIONS) if is_store else ("ledger", ledger.VERSIONS)
        with duckdb.connect() as connection:
            connection.execute(f"attach {quote(str(path))} as {alias}")
            upgrade(connection, alias, versions, str(path))
