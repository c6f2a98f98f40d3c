"""`lendloop reconcile`. Each command is a call and its picture."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from governance.reconcile import Comparison

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


def reconcile(
    on: Annotated[
        datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="Only this day, row by row where it differs.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare rows and sums from source to raw to trusted, every day, and name the rows that make a difference."""
    from lendloop.settings import load_settings
    from orchestration import reconcile as reconciliation
    from orchestration.screen import show_reconciliation

    settings = load_settings()
    day = on.date() if on else None
    compared = reconciliation.reconcile(settings, settings.clock(), whole=True, on=day)
    show_reconciliation([describe(one) for one in compared], as_json=as_json)
    raise typer.Exit(1 if any(one.unexplained for one in compared) else 0)


def describe(comparison: Comparison) -> dict[str, Any]:
    """A comparison as a record: its days that do not simply agree, and how many there are of each state."""
    return {
        "from": comparison.left,
        "to": comparison.right,
        "columns": list(comparison.columns),
        "rows": sum(day.left.rows for day in comparison.days),
        "rows there": sum(day.right.rows for day in comparison.days),
        "not compared": comparison.not_compared,
        **{state: comparison.count(state) for state in ("agreed", "explained", "unexplained")},
        "days": [
            {
                "day": _text(day.day),
                "state": day.state,
                "rows": day.left.rows,
                "rows there": day.right.rows,
                "explained": day.explained,
                "unexplained": day.unexplained,
                "differences": [asdict(row) for row in day.differences],
            }
            for day in comparison.days
            if day.state != "agreed"
        ],
    }


def _text(day: date | None) -> str:
    return day.isoformat() if day else "none"
