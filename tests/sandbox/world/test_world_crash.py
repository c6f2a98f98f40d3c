"""A process that is killed while it makes or moves the world leaves a world that the next one carries on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from world_lab import CUSTOMERS, MakeWorld, all_tables

from sandbox.world import LEDGER_TABLES, World
from sandbox.world.ledger_db import LedgerDatabase

KILLED = """
import os, signal, sys
from pathlib import Path
from sandbox.world import World
from sandbox.world import {module} as module

folder, ticks, after = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "after"
target = module if "{owner}" == "module" else module.{owner}
usual = target.{method}

def killed(*arguments, **options):
    if after:
        usual(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)

if ticks:
    world = World.open(folder, customers={customers})
    target.{method} = killed
    world.tick(ticks)
else:
    target.{method} = killed
    World.open(folder, customers={customers})
"""
OF_THE_STORE = [
    ("store", "Store", "write", "before"),
    ("store", "Store", "point", "before"),
    ("store", "Store", "point", "after"),
    ("store", "module", "_write", "after"),
]
WHILE_MADE = [
    *OF_THE_STORE,
    ("new_ledger", "module", "_write", "after"),
    ("new_ledger", "module", "_mark", "before"),
    ("new_ledger", "module", "_mark", "after"),
    ("ledger_db", "module", "write_new", "after"),
]
DURING_A_TICK = [
    *OF_THE_STORE,
    ("ledger_db", "LedgerDatabase", "_mark", "before"),
    ("ledger_db", "LedgerDatabase", "_mark", "after"),
    ("ledger_db", "LedgerDatabase", "_insert", "after"),
]


def _run_killed(folder: Path, ticks: int, point: tuple[str, str, str, str]) -> None:
    module, owner, method, when = point
    script = KILLED.format(module=module, owner=owner, method=method, customers=CUSTOMERS)
    done = subprocess.run([sys.executable, "-c", script, str(folder), str(ticks), when], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL


def _assert_whole(world: World, like: World) -> None:
    expected = all_tables(like)
    assert all(table.equals(expected[name]) for name, table in all_tables(world).items())
    ledger, other = LedgerDatabase(world.ledger_url), LedgerDatabase(like.ledger_url)
    for name in LEDGER_TABLES:
        assert sorted(map(repr, ledger.read(f"SELECT * FROM {name}"))) == sorted(
            map(repr, other.read(f"SELECT * FROM {name}"))
        )


@pytest.mark.slow
@pytest.mark.parametrize("point", WHILE_MADE, ids="-".join)
def test_a_kill_while_a_world_is_made_is_made_good(
    make_world: MakeWorld, tmp_path: Path, point: tuple[str, str, str, str]
) -> None:
    _run_killed(tmp_path / "killed", 0, point)
    _assert_whole(make_world("killed"), make_world("usual"))


@pytest.mark.slow
@pytest.mark.parametrize("point", DURING_A_TICK, ids="-".join)
def test_a_kill_during_a_tick_leaves_the_day_before_or_the_day_after(
    make_world: MakeWorld, tmp_path: Path, point: tuple[str, str, str, str]
) -> None:
    make_world("killed")
    _run_killed(tmp_path / "killed", 2, point)
    world, usual = make_world("killed"), make_world("usual")
    assert world.version in (1, 3)
    if world.version == 1:
        world.tick(2)
    usual.tick(2)
    _assert_whole(world, usual)
