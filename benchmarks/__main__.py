"""`python -m benchmarks [NAME ...] [--size small|full]`: measure, keep what was found, write docs/benchmarks.md.

`full` keeps its figures in docs/benchmarks.json, so that one part can be measured again; `small` only prints.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from datetime import UTC, datetime

from benchmarks.harness import CHECKOUT, machine, render

PARTS = (
    "passes",
    "schedule",
    "history",
    "build",
    "sandbox",
    "http_sources",
    "push",
    "audiences",
    "identity",
    "alerts",
    "ledger",
)
KEPT = CHECKOUT / "docs" / "benchmarks.json"
PAGE = CHECKOUT / "docs" / "benchmarks.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(PARTS)}; all without")
    parser.add_argument("--size", choices=("small", "full"), default="full")
    options = parser.parse_args()
    if unknown := set(options.names) - set(PARTS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    kept = json.loads(KEPT.read_text()) if KEPT.exists() and options.size == "full" else {}
    for name in options.names or PARTS:
        module = importlib.import_module(f"benchmarks.{name}")
        rows = []
        for row in module.measure(options.size):
            rows.append(row.as_dict())
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        kept[name] = {
            "title": module.TITLE,
            "measured_on": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": machine(),
            "rows": rows,
        }
        if options.size == "full":
            ordered = {part: kept[part] for part in PARTS if part in kept}
            KEPT.write_text(json.dumps(ordered, indent=1) + "\n")
            PAGE.write_text(render(ordered))
        print(render({name: kept[name]}))


if __name__ == "__main__":
    main()
