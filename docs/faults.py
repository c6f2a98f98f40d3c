"""docs/faults.md, made from docs/faults.yaml: what becomes of each fault at each vendor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "faults.yaml"
TARGET = HERE / "faults.md"
HEAD = """# Vendors that fail

Made by `make docs` from `faults.yaml`, which the tests do to the stand-ins over HTTP: what stands here is held.

*Once*: the fault meets one call of a pass. *For good*: it meets every call. `complete` means that raw is what it would
be without the fault, in the same pass. An error means that nothing of the source was applied, the source's status
names the error, and the pass after the fault brings what is missing. Of what is sent: `sent` (in the same pass, once),
`waiting` (a later pass or tick sends it, once), `rejected` (by row, with its reason), `failed` (told among the failures,
kept), `perhaps twice` (it can't be looked up).

Values that can't be read are another matter: they cost a row at most, never a page
([ingestion](../ingestion/README.md)). The ledger is a database: a connection that ends ends the load, and nothing is
applied."""


def render() -> str:
    """The whole page."""
    declared = yaml.safe_load(SOURCE.read_text())
    parts = [HEAD]
    for system in declared["systems"].values():
        lines = [f"## {system['title']}", "", "| fault | once | for good | how |", "|---|---|---|---|"]
        lines += [_line(declared["kinds"], name, one) for name, one in system["faults"].items()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _line(kinds: dict[str, str], name: str, one: dict[str, Any]) -> str:
    return f"| {one.get('title') or kinds[name]} | {one['passing']} | {one['lasting']} | {one['how']} |"


if __name__ == "__main__":
    TARGET.write_text(render())
