"""Faults of the disk under the home, told from all others, whichever library met them and wrapped them.

Belongs here: what such a fault is and what a person does about it. Not here: who asks.
"""

from __future__ import annotations

import re
import shutil

from lendloop.home import Home

_FULL = re.compile(r"No space left on device|Disk quota exceeded|File too large|database or disk is full", re.I)
_CLOSED = re.compile(
    r"Read-only file system|readonly database|unable to open database file|\[Errno 13\]|Cannot open file .*Permission denied",
    re.I,
)
_BROKEN = re.compile(r"disk I/O error|Input/output error", re.I)
_LEAST_FREE_BYTES = 1_000_000


def storage_fault(home: Home, *said: BaseException | str) -> str | None:
    """One line that names the folder and what to do, when errors or their texts speak of the disk; else None.

    SQLite says `disk I/O error` when a full disk meets it at an awkward place, so what is free is looked at too.
    """
    text = "\n".join(one if isinstance(one, str) else _chain(one) for one in said)
    free = shutil.disk_usage(home.root).free if home.root.exists() else None
    if _FULL.search(text) or (_BROKEN.search(text) and free is not None and free < _LEAST_FREE_BYTES):
        left = "" if free is None else f" ({free / 1e6:,.1f} MB are free)"
        return (
            f"the disk under {home.root} is full{left}: make room and run again;"
            " the next pass finishes what this one could not"
        )
    for fault, advice in (
        (_CLOSED, "give it back to the user who runs lendloop, or mount it writable, and run again"),
        (_BROKEN, "look at the disk, then run again"),
    ):
        line = next((line.strip() for line in text.splitlines() if fault.search(line)), None)
        if line is not None:
            return f"can't write under {home.root}: {line[:300]}; {advice}"
    return None


def _chain(error: BaseException) -> str:
    """The texts of an error and of what caused it, one a line."""
    lines: list[str] = []
    current: BaseException | None = error
    while current is not None:
        lines.append(str(current))
        current = current.__cause__ or current.__context__
    return "\n".join(lines)
