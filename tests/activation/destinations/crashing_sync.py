"""A sync in a process of its own, which dies where it is told. Run by tests, never imported by them.

Arguments: the home, the Blueshift URL and key, the pickled lender's clock and status as JSON, and
where to die: `answer` (a vendor answered, nothing is written down yet), `file` (one file of two is in
its place), `never` (the parent kills, or nobody).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from activation.audiences import load_audiences, sync_audience
from activation.audiences.ledger import Ledger
from activation.destinations import drop
from lendloop.clock import Clock
from lendloop.settings import load_settings
from lendloop.source_status import SourceStatus


def die(*_: object, **__: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    order = json.loads(sys.argv[1])
    if order["die_at"] == "answer":
        Ledger.record = die  # type: ignore[method-assign]
    if order["die_at"] == "file":
        replaced: list[object] = []
        replace = os.replace

        def replace_once(source: Path, target: Path) -> None:
            die() if replaced else replaced.append(target)
            replace(source, target)

        drop.os.replace = replace_once  # type: ignore[assignment,attr-defined]
    [audience] = [one for one in load_audiences(Path(order["definitions"])) if one.name == order["audience"]]
    settings = load_settings(
        _env_file=None, **{**order["settings"], "LENDLOOP_HOME": Path(order["settings"]["LENDLOOP_HOME"])}
    )
    as_of = datetime.fromisoformat(order["as_of"])
    status = {
        name: SourceStatus(source=name, configured=True, succeeded_as_of=as_of)  # type: ignore[arg-type]
        for name in ("crm", "ledger", "support")
    }
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    report = sync_audience(audience, settings=settings, clock=Clock(as_of), source_status=status)
    sys.stdout.write(report.model_dump_json() + "\n")


if __name__ == "__main__":
    main()
