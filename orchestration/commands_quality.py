"""`lendloop reconcile` and `lendloop quality`. Each command is a call and its picture."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lendloop.clock import parse_day
from lendloop.errors import PermanentError

if TYPE_CHECKING:
    from governance.reconcile import Comparison

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


def reconcile(
    on: Annotated[
        date | None,
        typer.Option("--on", parser=parse_day, metavar="DAY", help="Only this day, row by row where it differs."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare rows and sums from source to raw to trusted, every day, and name the rows that make a difference."""
    from lendloop.settings import load_settings
    from orchestration import reconcile as reconciliation
    from orchestration.screen import show_reconciliation

    settings = load_settings()
    compared = reconciliation.reconcile(settings, settings.clock(), whole=True, on=on)
    show_reconciliation([describe(one) for one in compared], as_json=as_json)
    if all(one.not_compared for one in compared):
        raise PermanentError("nothing could be compared: why stands beside each pair")
    raise typer.Exit(1 if any(one.unexplained or not one.is_reached for one in compared) else 0)


def describe(comparison: Comparison) -> dict[str, Any]:
    """A comparison as a record: its days that do not simply agree, and how many there are of each state."""
    return {
        "from": comparison.left,
        "to": comparison.right,
        "columns": list(comparison.columns),
        "rows": sum(day.left.rows for day in comparison.days),
        "rows there": sum(day.right.rows for day in comparison.days),
        "counted only": sum(day.left.rows for day in comparison.days if day.since),
        "not compared": comparison.not_compared,
        **{state: comparison.count(state) for state in ("agreed", "explained", "unexplained")},
        "days": [
            {
                "day": _text(day.day),
                "since": _text(day.since) if day.since else None,
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


def quality(
    dataset: Annotated[str | None, typer.Argument(help="A dataset, as schema.table, with the rows that fail.")] = None,
    as_json: Json = False,
) -> None:
    """The score of every dataset in six dimensions, how it went over the last builds, and what is not as usual."""
    from governance.quality import OVERALL, read_failing_rows, read_standings
    from governance.registry import Dimension
    from governance.watch import read_verdicts
    from lendloop.settings import load_settings
    from lendloop.warehouse import open_warehouse
    from orchestration.screen import show_quality

    settings = load_settings()
    settings.home.prepare()
    with open_warehouse(settings.home, "read quality", settings.lock_timeout_s) as connection:
        standings = read_standings(connection, dataset)
        rows = read_failing_rows(connection, dataset) if dataset else []
    if not standings:
        raise PermanentError(f"{dataset or 'no dataset'} was measured yet: run `lendloop run`, or correct the name")
    records = [
        {
            "dataset": standing.dataset,
            "as_of": standing.as_of.isoformat(),
            "score": standing.shares[OVERALL],
            **{dimension.value: standing.shares.get(dimension.value) for dimension in Dimension},
            "failing": standing.failing,
            "trend": list(standing.trend),
        }
        for standing in standings
    ]
    failing = [dict(zip(("dimension", "test", "column", "key"), row, strict=True)) for row in rows]
    verdicts = {
        key: verdict.model_dump(mode="json") | {"findings": [str(finding) for finding in verdict.findings]}
        for key, verdict in sorted(read_verdicts(settings.home).items())
        if dataset in (None, key)
    }
    show_quality(records, failing, verdicts, as_json=as_json)


def _text(day: date | None) -> str:
    return day.isoformat() if day else "none"
