"""Passes killed at chosen moments, with all their processes: by the tests, and by `python -m benchmarks.kills`.

Belongs here: how a kill is aimed, and what it met. What came of it is told by tests/end_to_end/likeness.py.
"""

from __future__ import annotations

import os
import random
import selectors
import shutil
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lendloop.home import CHECKOUT
from tests.end_to_end.installation import Installation, installed
from tests.forked import Process

STEPS = (
    "load_costs",
    "load_crm",
    "load_ledger",
    "load_support",
    "load_survey",
    "build_and_publish",
    "evaluate_rules",
    "let_go",
    "reconcile",
    "sync_approved_not_accepted",
    "sync_dormant_good",
    "sync_recovery",
    "notify",
    "operations__retention",
    "operations__site",
    "operations__verdict",
)
"""The steps of a pass, in the order in which one process takes them."""
SYNCS = tuple(step for step in STEPS if step.startswith("sync_"))
USUAL_S = {"build_and_publish": 6.0, "publish": 1.2, "end": 0.6}
"""How long a part lasts as long as no pass has shown it; a build that finds nothing new shows nothing of others."""
PATIENCE_S = 300.0
TWIN_CUSTOMERS, TWIN_DAYS = 250, 5
"""Of the lender whose undisturbed days tests share, and between its two passes."""

LOWER = {
    "rules/large_transaction.yaml": (
        ("NGN: 400000, GHS: 4000, BRL: 3000, XOF: 250000", "NGN: 30000, GHS: 300, BRL: 300, XOF: 20000"),
        ("group_over: 5", "group_over: 100"),
        ("resolve_after_hours: 336", "resolve_after_hours: 96"),
    ),
    "rules/ticket_backlog.yaml": (("    value: 25\n", "    value: 1\n"),),
    "rules/ledger_feed_stale.yaml": (("    value: 24\n", "    value: 1\n"),),
    "routes.yaml": (("slack_interval_s: 1.0", "slack_interval_s: 0"),),
}
"""Limits so low that each round has something to tell, one by one and by mail."""


@dataclass(frozen=True)
class Aim:
    """Where a kill goes: a moment of `step` (`start`, `publish` and `end` besides those of STEPS), or a request.

    With `system` the stand-in is made to take its time over one call that fits `path`, before its work or
    `after_effect`, and the kill comes while it does.
    """

    step: str
    system: str = ""
    path: str = ""
    after_effect: bool = False


def after(aim: Aim) -> Aim:
    return replace(aim, after_effect=True)


LOADS = tuple(Aim(step) for step in STEPS[1:5])
BUILD, PUBLISH, RECONCILE = Aim("build_and_publish"), Aim("publish"), Aim("reconcile")
SYNC, END = Aim("sync"), Aim("end")
LIST = after(Aim("sync", "blueshift", "custom_user_lists/create"))
BULK = Aim("sync", "blueshift", "customers/bulk")
MEMBERS = Aim("sync", "blueshift", "bulk_(add|remove)_users")
POST = Aim("notify", "slack", "chat.postMessage")


@dataclass
class Victim:
    """An installation whose passes are killed; `hits` counts what each kill met."""

    installation: Installation
    draw: random.Random
    hits: Counter[str] = field(default_factory=Counter)
    usual_s: dict[str, float] = field(default_factory=lambda: dict(USUAL_S))

    def suffer(self, aims: tuple[Aim, ...]) -> dict[str, Any]:
        """Killed passes, then one that is left alone: its report."""
        for aim in aims:
            self.strike(aim)
        return self.installation.run()

    def strike(self, aim: Aim) -> list[str]:
        """One pass that is killed where the aim says.

        Returns what the kill met: `kills`, the part of the pass, the request in flight if one was; nothing when the
        pass was quicker.
        """
        if aim == SYNC:
            aim = Aim(self.draw.choice(SYNCS))
        with _fault(self.installation, aim):
            met = self._kill(aim)
        self.hits.update(met)
        return met

    def _kill(self, aim: Aim) -> list[str]:
        before = published_files(self.installation)
        # a pass that is killed while it starts is started as a person starts it
        start = subprocess.Popen if aim.step == "start" else Process[bytes]
        process = start(
            self.installation.command("run"),
            env=self.installation.process_environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        lines = Lines(process)
        answered = False
        try:
            if aim.system:
                last = SYNCS[-1] if aim.step == "sync" else aim.step
                lines.wait(lambda: last in lines.done or self._is_met())
                answered = self._is_met()
                lines.pause(self.draw.uniform(0.0, 0.5 if answered else 0.05))
            elif aim.step == "start":
                lines.pause(self.draw.uniform(0.5, 8.0))
            elif aim.step == "publish":
                lines.wait(lambda: published_files(self.installation) != before)
                lines.pause(self.draw.uniform(0.0, self.usual_s["publish"]))
            else:
                previous = STEPS[STEPS.index(aim.step) - 1] if aim.step in STEPS else STEPS[-1]
                lines.wait(lambda: previous in lines.done)
                lines.pause(self.draw.uniform(0.0, 0.8 * self.usual_s.get(aim.step, 0.6)))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        lines.rest()
        self.usual_s.update((step, length_s) for step, length_s in lines.done.items() if step != "build_and_publish")
        if code != -signal.SIGKILL:
            assert code == 0, f"a pass that was quicker than its kill ended with {code}: {lines.text}"
            return []
        return _met(aim, lines, answered, published=published_files(self.installation) != before)

    def _is_met(self) -> bool:
        return any(fault["met"] for fault in self.installation.sandbox("/faults")["faults"])


class Lines:
    """What a pass says while it runs: `done` has the seconds of each step that ended."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self._process, self._stream = process, process.stderr
        os.set_blocking(self._stream.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stream, selectors.EVENT_READ)
        self.text = ""
        self.done: dict[str, float] = {}

    def wait(self, happened: Callable[[], bool]) -> bool:
        """Until it happened, or the pass is over."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if happened():
                return True
            self._read(0.05)
        return happened()

    def pause(self, length_s: float) -> None:
        deadline = time.monotonic() + length_s
        while (left := deadline - time.monotonic()) > 0 and self._process.poll() is None:
            self._read(left)

    def rest(self) -> None:
        while self._read(0.0):
            pass
        self._selector.close()
        self._stream.close()

    def _read(self, timeout_s: float) -> bool:
        if not self._selector.select(timeout_s):
            return False
        piece = self._stream.read()
        if not piece:
            time.sleep(min(timeout_s, 0.02))
            return False
        self.text += piece.decode()
        for line in self.text.splitlines():
            words = line.split()
            if len(words) == 4 and words[1] in STEPS and words[3] == "s":
                self.done[words[1]] = float(words[2])
        return True


def published_files(installation: Installation) -> set[str]:
    """The files that are published, or being written for it."""
    return {path.name for folder in ("published", "contacts") for path in (installation.home / folder).glob("*/*/*")}


def _met(aim: Aim, lines: Lines, answered: bool, *, published: bool) -> list[str]:
    """What was going on when the kill came: the part of the pass, and the request in flight, if one was."""
    current = next((step for step in STEPS if step not in lines.done), "end")
    part = current.split("_")[0]
    if current == STEPS[0]:
        part = "start"  # no line tells the first step from what comes before it
    if current == "build_and_publish" and published:
        part = "publish"
    flying = [f"in flight to {aim.system}"] if aim.system and answered and part == aim.step else []
    return ["kills", part, *flying]


@contextmanager
def _fault(installation: Installation, aim: Aim) -> Iterator[None]:
    """The stand-in's slowness that an aim asks for."""
    if not aim.system:
        yield
        return
    fault = {"system": aim.system, "path": aim.path, "delay_s": 0.6, "after_effect": aim.after_effect}
    installation.sandbox("/faults", {"kind": "delay", "count": 1, **fault})
    try:
        yield
    finally:
        request = urllib.request.Request(installation.base_url + "/faults", method="DELETE")
        urllib.request.urlopen(request, timeout=30).read()


@contextmanager
def lenders(folder: Path, names: Sequence[str], customers: int) -> Iterator[list[Installation]]:
    """Installations of the same kind, each on its own lender of the same seed, with rules that have much to tell."""
    definitions = folder / "definitions"
    shutil.copytree(CHECKOUT / "activation" / "definitions", definitions)
    for name, changes in LOWER.items():
        text = (definitions / name).read_text()
        for old, new in changes:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        (definitions / name).write_text(text)
    with ExitStack() as stack:
        found = []
        for name in names:
            installation = stack.enter_context(installed(folder / name, customers))
            installation.environment["LENDLOOP_DEFINITIONS"] = str(definitions)
            found.append(installation)
        yield found
