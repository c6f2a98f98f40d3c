"""The switch `--on servers`, by the databases that it gives an installation."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from activation.ops import open_ops
from lendloop.home import CHECKOUT
from lendloop.settings import load_settings
from tests.end_to_end.installation import Installation
from tests.servers import copy_state, drop_state, ledger_of, on_servers, servers, state_of


def tables(url: str) -> list[str]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    return sa.inspect(engine).get_table_names()


@pytest.mark.skipif(on_servers(), reason="it starts servers of its own")
def test_each_home_and_each_sandbox_has_a_database_of_its_own(tmp_path: Path) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    assert (state_of(home), ledger_of(tmp_path)) == ({}, None)
    with servers():
        settings = Installation(home).process_environment
        open_ops(load_settings(LENDLOOP_HOME=home, ops_url=settings["LENDLOOP_OPS_URL"])).dispose()
        assert settings["LENDLOOP_DAGSTER_URL"] == settings["LENDLOOP_OPS_URL"]
        held = tables(state_of(home)["LENDLOOP_OPS_URL"])
        assert {"alert", "outbox"} <= set(held)
        assert not list(home.glob("*.sqlite"))
        copy_state(home, copy)
        drop_state(home)
        assert tables(state_of(copy)["LENDLOOP_OPS_URL"]) == held
        assert tables(state_of(home)["LENDLOOP_OPS_URL"]) == []
        ledgers = [ledger_of(home / "sandbox"), ledger_of(copy / "sandbox")]
        assert ledgers == [ledger_of(home / "sandbox"), ledger_of(copy / "sandbox")]
        assert [tables(url) for url in set(ledgers) if url] == [[], []]
    assert not on_servers()


_STARTS_A_SERVER = """
import subprocess, sys, time
from pathlib import Path
from tests.reaper import ended_with_us
place = Path(sys.argv[1])
server = subprocess.Popen(["sleep", "60"])
(place / "pid").write_text(f"{server.pid}\\n")
with ended_with_us("KILL", place / "pid", place):
    print(server.pid, flush=True)
    time.sleep(60)
"""


def test_whoever_is_killed_leaves_no_server_behind(tmp_path: Path) -> None:
    place = tmp_path / "server"
    place.mkdir()
    command = [sys.executable, "-c", _STARTS_A_SERVER, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as tester:
        assert tester.stdout
        server = Path("/proc") / tester.stdout.readline().strip()
        assert place.exists()
        tester.kill()
    until = time.monotonic() + 30
    while place.exists() or (server.exists() and "Z" not in (server / "stat").read_text().split()[2]):
        assert time.monotonic() < until
        time.sleep(0.02)
