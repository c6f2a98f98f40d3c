"""`python -m benchmarks.kills --customers 20000 --kills 200`: passes killed at random moments of every stage, and what came of it.

Batches, each on new lenders: in a round some passes are killed, the next is left alone, and what it comes to is held
against a twin that was never disturbed; then a day passes. The tally is kept in a folder after each round, so that a run
that is interrupted goes on with the next batch. With `--keep` it becomes docs/faults_kills.json, which `make docs` shows.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness import CHECKOUT, machine
from tests.end_to_end.killing import (
    BUILD,
    BULK,
    END,
    LIST,
    LOADS,
    MEMBERS,
    POST,
    PUBLISH,
    RECONCILE,
    SYNC,
    Aim,
    Victim,
    after,
    lenders,
)
from tests.end_to_end.likeness import SENT, differences

KEPT = CHECKOUT / "docs" / "faults_kills.json"
START, RULES, NOTIFY = Aim("start"), Aim("evaluate_rules"), Aim("notify")
AIMS = (
    START, *LOADS, BUILD, BUILD, PUBLISH, PUBLISH, RULES, RECONCILE, SYNC, LIST, BULK, after(BULK), SYNC, MEMBERS, after(MEMBERS), SYNC,
    NOTIFY, POST, after(POST), END,
)  # fmt: skip
"""In the order of a pass: within a round each kill may come as late as the one before, or later."""
STAGES = ("start", "load", "build", "publish", "evaluate", "reconcile", "sync", "notify", "operations", "end")
ROUNDS_A_BATCH, KILLS_A_ROUND = 3, 16
BUILD_SHARE = 0.4
"""Of a pass's seconds, about those of its build: how long after its start a kill of it may come."""


class Tally:
    """What was found so far, by round, in a file of `folder`."""

    def __init__(self, folder: Path, customers: int) -> None:
        self.folder = folder
        self.path = folder / "tally.json"
        self.customers = customers
        self.rounds: list[dict[str, Any]] = []
        if self.path.exists():
            kept = json.loads(self.path.read_text())
            if kept["customers"] != customers:
                raise SystemExit(f"{self.path} is of {kept['customers']} customers: take another --folder")
            self.rounds = kept["rounds"]

    @property
    def kills(self) -> int:
        return sum(len(one["kills"]) for one in self.rounds)

    @property
    def next_batch(self) -> int:
        return max((one["batch"] for one in self.rounds), default=-1) + 1

    def add(self, one: dict[str, Any]) -> None:
        self.rounds.append(one)
        draft = self.path.with_suffix(".tmp")
        draft.write_text(json.dumps({"customers": self.customers, "rounds": self.rounds}, indent=1, default=str))
        draft.replace(self.path)

    def result(self) -> dict[str, Any]:
        """By stage: kills, those healed, and the differences of the rounds they were in."""
        stages: dict[str, Counter[str]] = {}
        for one in self.rounds:
            found = one["differences"]
            sends = [found[name] for name in SENT if name in found]
            for kill in one["kills"]:
                row = stages.setdefault(kill["stage"], Counter())
                row["kills"] += 1
                row["in flight"] += bool(kill["in_flight"])
                row["healed"] += not one["failed"] and not found
                row["differences"] += len(found)
                row["doubled"] += sum(send["too many"] for send in sends)
                row["lost"] += sum(send["lost"] for send in sends)
        return {
            "customers": self.customers,
            "measured_on": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": machine(),
            "kills": self.kills,
            "rounds": len(self.rounds),
            "failed": [one["failed"] for one in self.rounds if one["failed"]],
            "stages": {stage: dict(stages[stage]) for stage in STAGES if stage in stages},
        }


def run_batch(tally: Tally, kills: int) -> None:
    """One batch, until `kills` are tallied in all. Raises nothing for what a round finds wrong: it is tallied."""
    batch = tally.next_batch
    folder = tally.folder / f"batch-{batch}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    draw = random.Random(batch)
    with lenders(folder, ("left_alone", "killed"), tally.customers) as (twin, other), ThreadPoolExecutor(1) as pool:
        victim = Victim(other, draw)
        for number in range(ROUNDS_A_BATCH):
            if tally.kills >= kills:
                break
            if number:
                for installation in (twin, other):
                    installation.sandbox("/tick", {"days": 1})
            undisturbed = pool.submit(twin.run)
            one = _round(victim, min(KILLS_A_ROUND, kills - tally.kills))
            expected = undisturbed.result()
            victim.usual_s["build_and_publish"] = BUILD_SHARE * expected["duration_s"]
            if not one["failed"]:
                one["differences"] = differences(other, one.pop("report"), twin, expected)
            tally.add({"batch": batch, **one})
            print(f"batch {batch}, round {number}: {tally.kills} of {kills} kills", flush=True)
            if one["failed"] or one["differences"]:
                print(json.dumps({name: one[name] for name in ("failed", "differences")}, indent=1, default=str))
                return
    shutil.rmtree(folder)


def _round(victim: Victim, kills: int) -> dict[str, Any]:
    """Some killed passes and one that is left alone. `report` is its own, `failed` says how it ended when not well."""
    chosen = sorted(victim.draw.sample(range(len(AIMS)), kills))
    struck: list[dict[str, str]] = []
    failed = ""
    report: dict[str, Any] = {}
    try:
        for aim in (AIMS[place] for place in chosen):
            struck += _strike(victim, aim)
        report = victim.installation.run()
    except (AssertionError, OSError) as error:
        failed = str(error)[:5_000]
    return {"kills": struck, "failed": failed, "differences": {}} | ({} if failed else {"report": report})


def _strike(victim: Victim, aim: Aim) -> list[dict[str, str]]:
    """What the kill met; nothing when the pass was quicker."""
    met = victim.strike(aim)
    return [{"stage": met[1], "in_flight": " ".join(met[2:])}] if met else []


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=CHECKOUT / "data" / "kills", help="where the tally is kept")
    parser.add_argument("--keep", action="store_true", help=f"write {KEPT.relative_to(CHECKOUT)}")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    tally = Tally(options.folder, options.customers)
    while (before := tally.kills) < options.kills:
        run_batch(tally, options.kills)
        if tally.kills == before:
            raise SystemExit(f"a batch met nothing to kill: see {tally.path}")
    result = tally.result()
    print(json.dumps(result, indent=1))
    if options.keep:
        KEPT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
