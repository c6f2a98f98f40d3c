"""The page that shows what arrived, as a person would see it."""

from __future__ import annotations

from datetime import datetime

from sandbox.arrivals import Arrivals


def render_page(arrivals: Arrivals, calls: dict[str, dict[str, int]], as_of: datetime) -> str:
    """The whole page as HTML."""
    return f"<!doctype html><title>Sandbox</title><p>{as_of.isoformat()}"
