"""Passes killed at any moment: the next one ends as if nothing had happened, as the vendors and readers see it.

Three lenders live the same days. One installation is left alone; the others are killed, with all their
processes, again and again, before each may finish a pass. What arrived and what is published must be the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import selectors
import shutil
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from lendloop.home import CHECKOUT, Home
from orchestration.sandbox_process import sandbox_server
from tests.end_to_end.conftest import Installation, installation_on

pytestmark = pytest.mark.slow

CUSTOMERS, SEED, MIN_KILLS = 250, 41, 50
DAYS = (5, 4)
STEPS = (
    "load_crm",
    "load_ledger",
    "load_support",
    "build_and_publish",
    "evaluate_rules",
    "sync_approved_not_accepted",
    "sync_dormant_good",
    "sync_recovery",
    "notify",
    "operations__verdict",
)
"""The steps of a pass, in the order in which one process takes them."""
SYNCS = STEPS[5:8]
USUAL_S = {"load_crm": 1.5, "build_and_publish": 6.0, "publish": 1.2, "end": 0.6}
"""How long a part lasts as long as no pass has shown it; a build that finds nothing new shows nothing of others."""
PATIENCE_S = 120.0

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


def _after(aim: Aim) -> Aim:
    return replace(aim, after_effect=True)


LOADS = (Aim("load_crm"), Aim("load_ledger"), Aim("load_support"))
BUILD, PUBLISH, SYNC, END = Aim("build_and_publish"), Aim("publish"), Aim("sync"), Aim("end")
LIST = _after(Aim("sync", "blueshift", "custom_user_lists/create"))
BULK = Aim("sync", "blueshift", "customers/bulk")
MEMBERS = Aim("sync", "blueshift", "bulk_(add|remove)_users")
POST = Aim("notify", "slack", "chat.postMessage")
ROUNDS = (
    (
        (Aim("start"), *LOADS, BUILD, LIST, BULK, _after(MEMBERS), SYNC, POST),
        (Aim("start"), *LOADS, PUBLISH, SYNC, LIST, _after(BULK), MEMBERS, _after(POST)),
    ),
    (
        (*LOADS, PUBLISH, _after(BULK), SYNC, _after(POST), POST, END),
        (*LOADS, BUILD, BULK, SYNC, Aim("notify"), POST, END),
    ),
    (
        (*LOADS, BUILD, MEMBERS, SYNC, POST, Aim("notify"), END),
        (*LOADS, PUBLISH, _after(MEMBERS), SYNC, _after(POST), POST, END),
    ),
)
"""What is aimed at in each round, for each victim; each pass may come as far as the one before."""


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
            if aim == SYNC:
                aim = Aim(self.draw.choice(SYNCS))
            with _fault(self.installation, aim):
                met = self._kill(aim)
            self.hits.update(met)
        return self.installation.run()

    def _kill(self, aim: Aim) -> list[str]:
        """Start a pass and kill it where the aim says. Returns what the kill met; nothing when the pass was quicker."""
        before = _published(self.installation)
        process = subprocess.Popen(
            self.installation.command("run"),
            env=self.installation.process_environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        lines = _Lines(process)
        answered = False
        try:
            if aim.system:
                last = SYNCS[-1] if aim.step == "sync" else aim.step
                lines.wait(lambda: last in lines.done or self._is_met(aim))
                answered = self._is_met(aim)
                lines.pause(self.draw.uniform(0.0, 0.5 if answered else 0.05))
            elif aim.step == "start":
                lines.pause(self.draw.uniform(0.5, 8.0))
            elif aim.step == "load_crm":
                answered = lines.wait(lambda: self._is_met(aim))
                lines.pause(self.draw.uniform(0.0, self.usual_s["load_crm"]))
            elif aim.step == "publish":
                lines.wait(lambda: _published(self.installation) != before)
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
        return _met(aim, lines, answered, published=_published(self.installation) != before)

    def _is_met(self, aim: Aim) -> bool:
        return any(fault["met"] for fault in self.installation.sandbox("/faults")["faults"])


class _Lines:
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


def _published(installation: Installation) -> set[str]:
    """The files that are published, or being written for it."""
    return {path.name for folder in ("published", "contacts") for path in (installation.home / folder).glob("*/*/*")}


def _met(aim: Aim, lines: _Lines, answered: bool, *, published: bool) -> list[str]:
    """What was going on when the kill came: the part of the pass, and the request in flight, if one was."""
    current = next((step for step in STEPS if step not in lines.done), "end")
    part = current.split("_")[0]
    if current == "load_crm" and not answered:
        part = "start"
    if current == "build_and_publish" and published:
        part = "publish"
    flying = [f"in flight to {aim.system}"] if aim.system and answered and part == aim.step else []
    return ["kills", part, *flying]


@contextmanager
def _fault(installation: Installation, aim: Aim) -> Iterator[None]:
    """The stand-in's slowness that an aim asks for; for the CRM's load only a mark that it was called."""
    if aim.system:
        fault = {"system": aim.system, "path": aim.path, "delay_s": 0.6, "after_effect": aim.after_effect}
    elif aim.step == "load_crm":
        fault = {"system": "hubspot", "delay_s": 0.0}
    else:
        yield
        return
    installation.sandbox("/faults", {"kind": "delay", "count": 1, **fault})
    try:
        yield
    finally:
        request = urllib.request.Request(installation.base_url + "/faults", method="DELETE")
        urllib.request.urlopen(request, timeout=30).read()


@pytest.fixture
def installations(tmp_path: Path) -> Iterator[list[Installation]]:
    """Three of the same kind, each on its own lender of the same seed."""
    definitions = tmp_path / "definitions"
    shutil.copytree(CHECKOUT / "activation" / "definitions", definitions)
    for name, changes in LOWER.items():
        text = (definitions / name).read_text()
        for old, new in changes:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        (definitions / name).write_text(text)
    with ExitStack() as stack:
        found = []
        for name in ("left_alone", "killed", "killed_too"):
            sandbox = stack.enter_context(sandbox_server(tmp_path / name / "sandbox", customers=CUSTOMERS))
            found.append(
                installation_on({**sandbox, "LENDLOOP_DEFINITIONS": str(definitions)}, tmp_path / name / "home")
            )
        yield found


@pytest.mark.timeout(1800)
def test_killed_at_any_moment_the_next_pass_ends_as_if_nothing_had_happened(installations: list[Installation]) -> None:
    twin, *others = installations
    victims = [Victim(other, random.Random(SEED + number)) for number, other in enumerate(others)]
    with ThreadPoolExecutor(len(installations)) as pool:
        for days, aims in zip((0, *DAYS), ROUNDS, strict=True):
            if days:
                list(pool.map(Installation.sandbox, installations, ["/tick"] * 3, [{"days": days}] * 3))
            undisturbed = pool.submit(twin.run)
            work = [pool.submit(victim.suffer, own) for victim, own in zip(victims, aims, strict=True)]
            expected = {**_facts(undisturbed.result()), **_seen(twin)}
            for victim, report in zip(victims, [one.result() for one in work], strict=True):
                _assert_same({**_facts(report), **_seen(victim.installation)}, expected)
        list(pool.map(_assert_nothing_left_to_do, others))
    hits = victims[0].hits + victims[1].hits
    assert hits["kills"] >= MIN_KILLS, hits
    for part, least in {"load": 10, "build": 3, "publish": 2, "sync": 8, "notify": 4}.items():
        assert hits[part] >= least, hits
    assert hits["in flight to blueshift"] >= 5, hits
    assert hits["in flight to slack"] >= 4, hits
    logging.getLogger(__name__).info("what the kills met: %s", dict(hits))
    assert expected["slack"]
    assert expected["mails"]
    assert any(members for _, members in expected["lists"])


def _facts(report: dict[str, Any]) -> dict[str, Any]:
    """What a report says of how things stand, without what the last pass itself happened to do."""
    assert report["failures"] == []
    return {
        "sources": {source["source"]: source["rows"] for source in report["sources"]},
        "datasets": {
            one["dataset"]: (one["rows"], one["freshness"], one["checks_failed"]) for one in report["datasets"]
        },
        "audiences": {one["audience"]: (one["desired"], one["held_back"]) for one in report["audiences"]},
        "alerts": Counter(
            json.dumps([alert[name] for name in ("rule", "entity", "severity", "state", "episode", "notified_at")])
            for alert in report["alerts"]
        ),
    }


def _seen(installation: Installation) -> dict[str, Any]:
    """What vendors received and what readers read, without ids that are drawn and times of loading."""
    arrived = installation.arrivals
    blueshift, mails = arrived["blueshift"], {mail["message_id"]: mail for mail in arrived["mail"]}
    tables = installation.query(
        "select table_schema || '.' || table_name from information_schema.tables where table_schema in ('trusted', 'kpi')"
    )
    return {
        "profiles": {
            profile["customer_id"]: {name: value for name, value in profile.items() if name != "uuid"}
            for profile in blueshift["profiles"]
        },
        "lists": sorted((one["name"], one["members"]) for one in blueshift["lists"]),
        "slack": Counter(
            json.dumps([message[name] for name in ("channel_name", "as_of", "text", "blocks")])
            for message in arrived["slack"]["messages"]
        ),
        "mails": Counter(json.dumps([mail["to"], mail["subject"], mail["text"]]) for mail in mails.values()),
        "exports": {folder.name: _export(folder) for folder in (installation.home / "exports").iterdir()},
        **{
            table: Counter(installation.query(f"select columns(lambda c: c <> 'loaded_at') from {table}"))
            for (table,) in tables
        },
    }


def _export(folder: Path) -> Counter[str]:
    """The members of an export, whose files are what its manifest says and have nothing left half beside them."""
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *manifest["files"]}
    for name, said in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == said["sha256"]
    members = [json.loads(line) for line in next(folder.glob("*.jsonl")).read_text().splitlines()]
    drawn = ("send_id", "snapshot")
    return Counter(json.dumps({name: value for name, value in one.items() if name not in drawn}) for one in members)


def _assert_same(seen: dict[str, Any], expected: dict[str, Any]) -> None:
    assert seen.keys() == expected.keys()
    different = {}
    for name, value in expected.items():
        if seen[name] == value:
            continue
        if isinstance(value, Counter):
            different[name] = {
                "too many": list((seen[name] - value).items())[:5],
                "lost": list((value - seen[name]).items())[:5],
            }
        else:
            different[name] = {"seen": seen[name], "expected": value}
    assert different == {}, json.dumps(different, indent=1, default=str)[:20_000]


def _assert_nothing_left_to_do(installation: Installation) -> None:
    """One pass more calls nobody, and no run of those killed looks as if it went on."""
    before = installation.arrivals
    report = installation.run()
    assert report["changed"] is False
    assert installation.arrivals["log"] == before["log"]
    with dg.DagsterInstance.from_config(str(Home(installation.home).dagster)) as instance:
        states = Counter(run.status for run in instance.get_runs())
    assert states.keys() == {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE}, states
    with duckdb.connect(str(installation.home / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.execute("select count(*) > 0 from trusted.fct_loan").fetchone() == (True,)
