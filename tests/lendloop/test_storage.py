from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import duckdb
import pytest
from sqlalchemy.exc import OperationalError

from lendloop.errors import PermanentError
from lendloop.home import Home
from lendloop.storage import storage_fault


def _wrapped(cause: Exception) -> Exception:
    try:
        raise PermanentError("the load failed") from cause
    except PermanentError as error:
        return error


@pytest.mark.parametrize(
    "said",
    [
        OSError(28, "No space left on device", "/x/load.parquet"),
        OSError(27, "File too large"),
        duckdb.IOException('Could not write file "/x/warehouse.duckdb": No space left on device'),
        OperationalError("insert", {}, sqlite3.OperationalError("database or disk is full")),
        _wrapped(OSError(28, "No space left on device")),
        "build_and_publish: [Errno 28] No space left on device",
    ],
)
def test_a_full_disk_is_known_by_whoever_met_it(tmp_path: Path, said: Exception | str) -> None:
    fault = storage_fault(Home(tmp_path), said)
    assert fault is not None
    assert fault.startswith(f"the disk under {tmp_path} is full (")
    assert "\n" not in fault


@pytest.mark.parametrize(
    "said",
    [
        PermissionError(13, os.strerror(13), "/x/ops.sqlite"),
        duckdb.IOException('IO Error: Cannot open file "/x/warehouse.duckdb": Permission denied'),
        OperationalError("insert", {}, sqlite3.OperationalError("attempt to write a readonly database")),
        "load_crm: [Errno 30] Read-only file system: '/x/dlt'",
    ],
)
def test_a_file_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path, said: Exception | str) -> None:
    fault = storage_fault(Home(tmp_path), said)
    assert fault is not None
    assert fault.startswith(f"can't write under {tmp_path}: ")
    assert fault.endswith("mount it writable, and run again")


@pytest.mark.parametrize("said", ["permission denied for table loans", "HTTP 507 at the vendor", "disk offer expired"])
def test_faults_of_others_are_not_taken_for_the_disk(tmp_path: Path, said: str) -> None:
    assert storage_fault(Home(tmp_path), said, RuntimeError(said)) is None


def test_a_broken_disk_with_room_on_it_is_not_called_full(tmp_path: Path) -> None:
    fault = storage_fault(Home(tmp_path), sqlite3.OperationalError("disk I/O error"))
    assert fault is not None
    assert "look at the disk" in fault
