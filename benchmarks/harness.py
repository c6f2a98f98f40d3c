"""How anything here is timed, kept and shown.

A benchmark is a module of this package with a `TITLE` and a function `measure(size)` that yields rows.
It takes turns between the work and its peer, so that a noisy machine is noisy for both.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Size = Literal["small", "full"]
"""`small` tries the benchmark itself out in a minute or so; figures come from `full`."""
ROUNDS = 3


@dataclass(frozen=True)
class Timing:
    """One run: wall-clock seconds, and the most memory its process (or the largest of its children) held, in MB.

    A peak of 0 was not measured.
    """

    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Peer:
    """What the work is compared with. `aim`: how many times the peer's seconds the work may take, if that was set."""

    name: str
    timings: list[Timing]
    aim: float | None = None

    @property
    def seconds(self) -> float:
        return statistics.median(timing.seconds for timing in self.timings)


@dataclass(frozen=True)
class Row:
    """One line of the report. `amount` of `unit` (rows, requests) were worked on in each run.

    `aim_s`: seconds that the work may take, if that was set. `note`: what explains the figure, above all where it misses.
    """

    what: str
    timings: list[Timing]
    peers: list[Peer] = field(default_factory=list)
    amount: int | None = None
    unit: str = "rows"
    aim_s: float | None = None
    note: str = ""

    @property
    def seconds(self) -> float:
        return statistics.median(timing.seconds for timing in self.timings)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Row:
        peers = [Peer(one["name"], [Timing(**t) for t in one["timings"]], one["aim"]) for one in kept["peers"]]
        return cls(**{**kept, "timings": [Timing(**timing) for timing in kept["timings"]], "peers": peers})


def timed_call(function: Callable[..., Any], *arguments: Any) -> Timing:
    """Time a module's function in a fresh process: what it leaves in memory is its own.

    When it returns a float, that is its own count of seconds (of the part that matters). Raises RuntimeError when it fails.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        seconds, peak_mb = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{function.__qualname__} ended with exit code {process.exitcode}") from None
    process.join()
    return Timing(seconds, peak_mb)


def _call(sender: Any, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    began = time.perf_counter()
    own = function(*arguments)
    seconds = own if isinstance(own, float) else time.perf_counter() - began
    sender.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def timed_command(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Timing:
    """Time a command from process start to end. The peak is the largest of its processes, not their sum.

    Raises RuntimeError with the end of what it said when it fails.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.append(process.stdout.read()))  # type: ignore[union-attr]
    reader.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    reader.join()
    process.stdout.close()
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {process.returncode}: {said[0].decode()[-3000:]}")
    return Timing(seconds, usage.ru_maxrss / 1024)


def peak_mb(pid: int) -> float:
    """The most memory that a process has held, mapped files included; none when it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 10**6
    return 0.0


def render(kept: Mapping[str, Any]) -> str:
    """The report: `kept` has, by module, title, rows, when and on what they were measured."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; `make bench ONLY=passes` measures one part again. Each figure is the median of the runs of one",
        "sitting, with its range; the peer ran in the same sitting, in turns with the work. *Ratio* is the work's seconds over",
        "the peer's: 1 is as fast as the peer. Machines are noisy: trust the ratios more than the seconds.",
    ]
    for part in kept.values():
        lines += ["", f"## {part['title']}", "", f"Measured {part['measured_on']} on {part['machine']}.", ""]
        lines += [
            "| what | seconds (range) | rate | peak MB | beside | its seconds | ratio | aim |",
            "|---|---|---|---|---|---|---|---|",
        ]
        notes = []
        for row in map(Row.of, part["rows"]):
            lines += _lines(row)
            if row.note:
                notes.append(f"- **{row.what}**: {row.note}")
        if notes:
            lines += ["", *notes]
    return "\n".join(lines) + "\n"


def _lines(row: Row) -> list[str]:
    runs = [timing.seconds for timing in row.timings]
    rate = f"{row.amount / row.seconds:,.0f} {row.unit}/s" if row.amount and row.seconds else ""
    peak = max(timing.peak_mb for timing in row.timings)
    span = f"{_short(row.seconds)} ({_short(min(runs))} to {_short(max(runs))})"
    first = f"| {row.what} | {span} | {rate} | {f'{peak:,.0f}' if peak else ''} |"
    own_aim = f"{'met' if row.seconds <= row.aim_s else 'missed'}: {_short(row.aim_s)} s" if row.aim_s else ""
    if not row.peers:
        return [f"{first} | | | {own_aim} |"]
    lines = []
    for number, peer in enumerate(row.peers):
        ratio = row.seconds / peer.seconds
        aim = f"{'met' if ratio <= peer.aim else 'missed'}: {peer.aim:.2f}" if peer.aim else ""
        aims = "; ".join(part for part in (own_aim if number == 0 else "", aim) if part)
        lines.append(
            f"{first if number == 0 else '| | | | |'} {peer.name} | {_short(peer.seconds)} | {ratio:.2f} | {aims} |"
        )
    return lines


def _short(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 100 else f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.3f}"


def machine() -> str:
    """What the figures were measured on, without naming it."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, Python {platform.python_version()}"


CHECKOUT = Path(__file__).resolve().parent.parent
