"""Python's cycle collector, out of the way of work that makes many things at once."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

LOOKED_THROUGH = 50_000
"""Young objects before the collector looks through them; Python's own 700 is for processes with few."""


def collect_seldom() -> None:
    """For a process that starts: it makes a million objects of modules, nearly all for good, and may end soon after."""
    gc.set_threshold(LOOKED_THROUGH)


@contextmanager
def uncollected() -> Iterator[None]:
    """Make many rows without the collector, which would look through all of them, again and again, for cycles."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
