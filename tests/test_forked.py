"""Forked processes are what started ones would be: to who asks for them, and to themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import forked
from tests.forked import Process

SAY = """
import json, os, sys
print(json.dumps({
    "arguments": sys.argv[1:], "name": __name__, "main": sys.modules["__main__"].__dict__ is globals(),
    "environment": sorted(os.environ), "mine": os.environ.get("MINE"), "folder": os.getcwd(),
    "parent": os.getppid(), "leads": os.getsid(0) == os.getpid(), "path": sys.path[:2],
    "ours": sorted({"lendloop", "orchestration", "governance", "ingestion", "activation", "tests"} & set(sys.modules)),
    "files": sorted(os.listdir("/proc/self/fd"))[:-1], "said": sys.stdin.read(),
    "threads": len(os.listdir("/proc/self/task")), "is_imported": "dagster" in sys.modules,
}))
print("to standard error", file=sys.stderr)
sys.exit(7)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a process is given a parent by Linux alone")


def say(started: type[subprocess.Popen[str]], folder: Path, **more: Any) -> dict[str, Any]:
    environment = {"MINE": "é", "PATH": os.environ["PATH"], "PYTHONPATH": str(folder / "first")}
    environment |= {name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "LANG", "LC_"))}
    environment["PYTHONPATH"] = str(folder / "first")
    with started(
        [sys.executable, "-c", SAY, "one", "--two"], cwd=folder, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more,
    ) as process:  # fmt: skip
        out, err = process.communicate("typed", timeout=60)
    assert (process.returncode, err) == (7, "to standard error\n")
    answer: dict[str, Any] = json.loads(out)
    return answer


@pytest.mark.parametrize("in_session", [False, True])
def test_it_is_what_a_started_one_is_but_for_the_packages(tmp_path: Path, in_session: bool) -> None:
    assert forked.can_fork()
    is_forked, is_started = (
        say(one, tmp_path, start_new_session=in_session) for one in (Process[str], subprocess.Popen[str])
    )
    assert (is_forked.pop("is_imported"), is_started.pop("is_imported")) == (True, False)
    assert is_forked == is_started
    assert is_forked["parent"] == os.getpid()


def test_a_module_of_a_copied_checkout_is_that_of_the_copy(tmp_path: Path) -> None:
    (tmp_path / "lendloop").mkdir()
    (tmp_path / "lendloop" / "__init__.py").touch()
    (tmp_path / "lendloop" / "__main__.py").write_text("import sys; print(__name__, sys.argv)")
    done = forked.run([sys.executable, "-m", "lendloop", "run"], dict(os.environ), 60, tmp_path)
    assert done.stdout == f"__main__ ['{tmp_path}/lendloop/__main__.py', 'run']\n"


def test_an_error_is_told_and_a_killed_session_is_gone_with_its_processes() -> None:
    failed = forked.run([sys.executable, "-c", "raise ValueError('no')"], dict(os.environ), 60)
    assert (failed.returncode, failed.stderr.splitlines()[-1]) == (1, "ValueError: no")
    code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'input()']).pid, flush=True); sys.stdin.read()"
    with Process[str](
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        other = int(process.stdout.readline())
        assert os.getpgid(other) == process.pid
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    assert process.stdout.closed


def test_what_python_reads_as_it_starts_or_runs_another_program_is_no_fork(tmp_path: Path) -> None:
    seeded = {**os.environ, "PYTHONHASHSEED": "7"}
    for command in ([sys.executable, "-c", "import sys; print('dagster' in sys.modules)"], ["echo", "False"]):
        assert forked.run(command, seeded, 60).stdout == "False\n"


def test_who_forks_ends_with_who_asked(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from tests import forked\n"
        "forked.run([sys.executable, '-c', ''], dict(os.environ), 60)\n"
        "print(forked._forker()._process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z"):
                return
        except FileNotFoundError:
            return
        signal.sigtimedwait([], 0.05)
    raise AssertionError("the process that forks is still there")
