"""One finding, and running many checks side by side within a bound."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Literal

from pydantic import BaseModel

from lendloop.errors import LendloopError

State = Literal["ok", "warning", "failure"]
TIMEOUT_S = 20.0
"""All checks together; each has bounds of its own below this."""


class Finding(BaseModel):
    """What a check found; `advice` says what to do, and is empty where nothing is to be done."""

    check: str
    state: State
    found: str
    advice: str = ""


Check = Callable[[], list[Finding]]


def run_checks(checks: Mapping[str, Check], timeout_s: float = TIMEOUT_S) -> list[Finding]:
    """Run every check in a thread of its own; findings come in the order of `checks`.

    A check that fails is a finding, and so is one that has not ended after `timeout_s`.
    """
    found: dict[str, list[Finding]] = {}
    threads = {
        name: threading.Thread(target=_run, args=(name, check, found), name=f"doctor {name}", daemon=True)
        for name, check in checks.items()
    }
    deadline = time.monotonic() + timeout_s
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer within {timeout_s:.0f} s"
    return [
        finding
        for name in checks
        for finding in found.get(name) or [Finding(check=name, state="failure", found=late, advice="try it by hand")]
    ]


def _run(name: str, check: Check, found: dict[str, list[Finding]]) -> None:
    try:
        found[name] = check()
    except Exception as error:  # noqa: BLE001 - one check that breaks must not take the others along
        found[name] = [Finding(check=name, state="failure", found=fault_in_words(error))]


def fault_in_words(error: Exception) -> str:
    """One line for a person: an expected failure in its own words, another one with its kind."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else ""
    return text if isinstance(error, LendloopError) else f"{type(error).__name__}: {text}".rstrip(": ")
