"""docs/faults.md: what becomes of each fault at each vendor (docs/faults.yaml), of the disk, and of passes that are killed
(docs/faults_kills.json, from `python -m benchmarks.kills --keep`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "faults.yaml"
KILLS = HERE / "faults_kills.json"
TARGET = HERE / "faults.md"
HEAD = """# What fails, and what becomes of it

## Vendors

Made by `make docs` from `faults.yaml`, which the tests do to the stand-ins over HTTP: what stands here is held.

*Once*: the fault meets one call of a pass. *For good*: it meets every call. `complete` means that raw is what it would
be without the fault, in the same pass. An error means that nothing of the source was applied, the source's status
names the error, and the pass after the fault brings what is missing. Of what is sent: `sent` (in the same pass, once),
`waiting` (a later pass or tick sends it, once), `rejected` (by row, with its reason), `failed` (told among the failures,
kept), `perhaps twice` (it can't be looked up).

Values that can't be read are another matter: they cost a row at most, never a page
([ingestion](../ingestion/README.md)). The ledger is a database: a connection that ends ends the load, and nothing is
applied."""

HOME = """## The home and its passes

| fault | how it ends | how |
|---|---|---|
| the disk is full | exit 1, `the disk under … is full`: make room | readers keep what was published, every file of state can be opened, nothing is sent twice; the next pass finishes |
| a folder of the home can't be written | exit 2 before anything is done: names the folder | rights are looked at first; nothing is changed, nobody is called |
| two passes at once | both come to their end, or one names who holds the lock | each takes turns: a lock for each source, the warehouse, each audience and destination, the outbox |
| a pass is killed | the next one finishes its work | files are replaced whole, rows are in flight before they are sent |"""


def render() -> str:
    """The whole page."""
    declared = yaml.safe_load(SOURCE.read_text())
    parts = [HEAD]
    for system in declared["systems"].values():
        lines = [f"### {system['title']}", "", "| fault | once | for good | how |", "|---|---|---|---|"]
        lines += [_line(declared["kinds"], name, one) for name, one in system["faults"].items()]
        parts.append("\n".join(lines))
    parts.append(HOME)
    if KILLS.exists():
        parts.append(_kills(json.loads(KILLS.read_text())))
    return "\n\n".join(parts) + "\n"


def _kills(kept: dict[str, Any]) -> str:
    """The table of passes that were killed at random moments, by what the kill met."""
    lines = [
        f"## Passes killed at random moments: {kept['kills']} kills, {kept['customers']:,} customers",
        "",
        f"Measured {kept['measured_on']} on {kept['machine']} by `python -m benchmarks.kills`, in {kept['rounds']} rounds: in each",
        "some passes were killed with all their processes, the next was left alone, and what it came to was held against a twin",
        "on the same lender that was never disturbed: published tables row by row, reports, profiles, lists, messages, mails and",
        "exports. A difference counts for every kill of its round. *In flight*: a request was being answered when the kill came.",
        "",
        "| killed in | kills | in flight | healed | differences | sent twice | lost |",
        "|---|---|---|---|---|---|---|",
    ]
    columns = ("kills", "in flight", "healed", "differences", "doubled", "lost")
    rows = {**kept["stages"], "**all**": {name: sum(one[name] for one in kept["stages"].values()) for name in columns}}
    lines += [f"| {name} | {' | '.join(str(row[name]) for name in columns)} |" for name, row in rows.items()]
    if kept["failed"]:
        lines += ["", f"Rounds whose last pass failed: {len(kept['failed'])}."]
    return "\n".join(lines)


def _line(kinds: dict[str, str], name: str, one: dict[str, Any]) -> str:
    return f"| {one.get('title') or kinds[name]} | {one['passing']} | {one['lasting']} | {one['how']} |"


if __name__ == "__main__":
    TARGET.write_text(render())
