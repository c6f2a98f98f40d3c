"""Homes of earlier versions, made from the text that pins them: a folder `v<n>` for each version there was."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import duckdb

FOLDER = Path(__file__).parent
VERSIONS = sorted(path.name for path in FOLDER.glob("v*"))


def make_home(version: str, root: Path) -> Path:
    """State of that version under `root`: delivery files, operational state, catalogue, a source's status and memory."""
    source = FOLDER / version
    for name in ("delivery", "published", "dlt"):
        (root / name).mkdir(parents=True)
    for script, target in (("ledger.sql", "drop.duckdb"), ("store.sql", "audience_recovery.duckdb")):
        with duckdb.connect(str(root / "delivery" / target)) as connection:
            connection.execute("set timezone = 'UTC'")
            connection.execute((source / script).read_text())
    with sqlite3.connect(root / "ops.sqlite") as database:
        database.executescript((source / "ops.sql").read_text())
    database.close()
    shutil.copy(source / "catalog.json", root / "published")
    for name in ("status_crm.json", "memory_crm.json"):
        shutil.copy(source / name, root / "dlt")
    with duckdb.connect(str(root / "warehouse.duckdb")) as connection:
        connection.execute(
            "create schema raw_meta; create table raw_meta.clock (as_of timestamptz, business_date date)"
        )
    return root
