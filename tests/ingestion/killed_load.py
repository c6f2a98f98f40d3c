"""Loads a ledger in a process of its own, for tests that kill it: `python killed_load.py HOME LEDGER_URL`."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    from ingestion.load import load_source
    from lendloop.clock import parse_clock
    from lendloop.settings import load_settings

    settings = load_settings(_env_file=None, LENDLOOP_HOME=Path(sys.argv[1]), ledger_url=sys.argv[2])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    load_source("ledger", settings, parse_clock("2024-03-01T12:00:00Z"))


if __name__ == "__main__":
    main()
