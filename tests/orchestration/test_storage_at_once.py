from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

OPEN = """
import sys
from lendloop.settings import load_settings
from orchestration.instance import open_instance
settings = load_settings(_env_file=None)
print("ready", flush=True)
sys.stdin.readline()
with open_instance(settings):
    pass
"""
PROCESSES = 4


def test_processes_that_make_dagsters_storage_at_once_leave_one_version_in_it(tmp_path: Path) -> None:
    environment = {**os.environ, "LENDLOOP_HOME": str(tmp_path / "home")}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(PROCESSES)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=120)
        assert process.returncode == 0
    files = sorted((tmp_path / "home" / "dagster").rglob("*.db"))
    assert len(files) >= 3
    for file in files:
        with sqlite3.connect(file) as connection:
            assert len(connection.execute("select version_num from alembic_version").fetchall()) == 1, file
