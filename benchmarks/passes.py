"""How long a pass takes from process start, checks included: first, without change, after one simulated day.

Beside each stands what no pass can be faster than here: starting Python with the same imports. Writes
docs/benchmarks.md. Run with `make bench`; `--customers` and `--rounds` change the size.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestration.sandbox_process import call, sandbox_server

CHECKOUT = Path(__file__).resolve().parent.parent
TARGET = CHECKOUT / "docs" / "benchmarks.md"
IMPORTS = "import dagster, dlt, duckdb, pandas, sqlalchemy; from dbt.cli.main import dbtRunner"


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Seconds of a command from start to end. Raises CalledProcessError with what it printed."""
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return time.perf_counter() - began


def measure(customers: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each kind of pass, and of the bare start, one of each a round."""
    found: dict[str, list[float]] = {
        "first pass": [],
        "pass without change": [],
        "pass after one day": [],
        "bare start": [],
    }
    run = [sys.executable, "-m", "orchestration.cli", "run", "--json"]
    for _ in range(rounds):
        folder = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            with sandbox_server(folder / "sandbox", customers) as sandbox:
                settings = {name: value for name, value in sandbox.items() if name.startswith("LENDLOOP_")}
                environment = {**os.environ, **settings, "LENDLOOP_HOME": str(folder / "home")}
                found["bare start"].append(timed([sys.executable, "-c", IMPORTS], environment))
                found["first pass"].append(timed(run, environment))
                found["pass without change"].append(timed(run, environment))
                call(sandbox["base_url"], "/tick", {"days": 1})
                found["pass after one day"].append(timed(run, environment))
        finally:
            shutil.rmtree(folder)
    return found


def render(found: dict[str, list[float]], customers: int, rounds: int) -> str:
    bare = statistics.median(found["bare start"])
    peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    lines = [
        "# Benchmarks",
        "",
        f"`make bench`: {customers:,} customers, medians of {rounds} rounds with their range, Python {platform.python_version()},"
        f" {os.cpu_count()} cores. From process start to exit, on the pretend lender over HTTP and SQLite.",
        "",
        "| what | seconds | range | times the bare start |",
        "|---|---|---|---|",
    ]
    for name, seconds in found.items():
        median = statistics.median(seconds)
        lines.append(f"| {name} | {median:.1f} | {min(seconds):.1f} to {max(seconds):.1f} | {median / bare:.1f} |")
    lines += [
        "",
        "The bare start is Python importing the same libraries: no pass can be faster than that here. The largest single",
        f"process (the sandbox among them) took {peak_gib:.1f} GiB.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    TARGET.write_text(render(measure(options.customers, options.rounds), options.customers, options.rounds))
