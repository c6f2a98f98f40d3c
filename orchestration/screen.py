"""What a person sees on a terminal: tables for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from activation.rules.model import SEVERITIES
from lendloop.doctor import Finding
from lendloop.retention import Pruned
from orchestration.check import CheckOutcome
from orchestration.report import Report

MAX_ALERTS = 12
TROUBLE = ("failed", "blocked", "partial")
"""Outcomes of an audience's pass that need somebody."""
ALERT_COLUMNS = ["number", "rule", "entity", "severity", "state", "opened (UTC)", "told (UTC)"]
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
progress = Console(stderr=True, highlight=False)


def note(line: str) -> None:
    """One line of progress, on standard error."""
    progress.print(f"[dim]·[/] {line}")


def show_record(record: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(record)
        return
    for name, value in record.items():
        console.print(f"{name.replace('_', ' ')}: {escape(_said(value))}", soft_wrap=True)


def _said(value: Any) -> str:
    """A value as people write it: `yes`, `1,234`, `contacts 12, deals 3`; what is nested deeper a line each."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        if any(isinstance(part, dict) for part in value.values()):
            return "".join(f"\n  {name}: {_said(part)}" for name, part in value.items())
        return ", ".join(f"{name.replace('_', ' ')} {_said(part)}" for name, part in value.items())
    if isinstance(value, list):
        return "; ".join(map(_said, value)) or "none"
    return f"{value:%Y-%m-%d %H:%M} UTC" if isinstance(value, datetime) else str(value)


def show_reconciliation(compared: list[dict[str, Any]], *, as_json: bool) -> None:
    """What agrees, what is explained and what is not, then the rows that nothing explains."""
    if as_json:
        print_json({"compared": compared})
        return
    states = ("agreed", "explained", "unexplained")
    _table(
        "Days that agree",
        ["from", "to", "rows", "rows there", "counted only", *states],
        [
            [
                one["from"],
                one["to"],
                one["rows"],
                one["rows there"],
                one["counted only"],
                *(one[state] for state in states),
            ]
            if not one["not compared"]
            else [one["from"], one["to"], escape(one["not compared"]), "", "", "", "", ""]
            for one in compared
        ],
    )
    for one in compared:
        explained: Counter[str] = Counter()
        for day in one["days"]:
            explained.update(day["explained"])
        for reason, count in explained.items():
            console.print(f"[dim]{one['from']} -> {one['to']}: {count:,} {escape(reason)}[/]", soft_wrap=True)
        for day in one["days"]:
            reasons = ", ".join(f"{count} {reason}" for reason, count in day["explained"].items())
            if day["state"] == "explained":
                continue
            when = f"from {day['since']} to {day['day']}" if day["since"] else f"on {day['day']}"
            console.print(
                f"[red]{one['from']} -> {one['to']} {when}[/]: {day['unexplained']} row(s) differ"
                + (f"; explained: {reasons}" if reasons else "")
            )
            for row in day["differences"]:
                columns = f" ({', '.join(row['columns'])})" if row["columns"] else ""
                console.print(f"  {row['kind']} {escape(row['key'])}{columns}")


def show_quality(
    standings: list[dict[str, Any]],
    failing: list[dict[str, Any]],
    verdicts: dict[str, dict[str, Any]],
    *,
    as_json: bool,
) -> None:
    """Scores by dataset and dimension with their trend, then the rows that fail and what is not as it was before."""
    if as_json:
        print_json({"datasets": standings, "failing_rows": failing, "as_usual": verdicts})
        return
    shown = ("score", "accuracy", "completeness", "consistency", "timeliness", "validity", "uniqueness")
    _table(
        "Quality",
        ["dataset", *shown, "failing", "trend"],
        [
            [one["dataset"], *(_share(one[name]) for name in shown), one["failing"], small_line(one["trend"])]
            for one in standings
        ],
    )
    for row in failing:
        console.print(f"  {row['dimension']} {row['test']} {escape(row['key'])}")
    for key, verdict in verdicts.items():
        for finding in verdict["findings"]:
            console.print(f"  [red]not as usual[/] {key} {escape(finding)}")
        if verdict["not_judged"]:
            reasons = "; ".join(f"{of}: {reason}" for of, reason in verdict["not_judged"].items())
            console.print(f"  [dim]not compared with its past {key}: {escape(reasons)}[/]")


def _share(value: float | None) -> str:
    """A share as a percentage that says 100 only when nothing fails."""
    if value is None:
        return ""
    return "100%" if value == 1 else f"{min(int(value * 10_000) / 100, 99.99):.2f}%"


def small_line(values: Sequence[float | None] | Sequence[Decimal | None]) -> str:
    """Values from lowest to highest as blocks of eight heights, a space where there is none.

    One that never changes stays in the middle. Empty when nothing is known.
    """
    known = [float(value) for value in values if value is not None]
    if not known:
        return ""
    low, span = min(known), max(known) - min(known)
    return "".join(
        " " if value is None else "▁▂▃▄▅▆▇█"[round((float(value) - low) / span * 7)] if span else "▄"
        for value in values
    )


def show_report(report: Report, *, as_json: bool) -> None:
    """The four parts of a report, then what failed."""
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    console.print(
        f"\n[bold]lendloop[/] as of {report.as_of:%Y-%m-%d %H:%M} UTC, published version {report.version}"
        if report.as_of
        else "\n[bold]lendloop[/] nothing published yet: `lendloop run` does it, `lendloop demo` on a pretend lender"
    )
    if report.last_pass and report.duration_s is None:
        console.print(f"the last pass came to its end at {report.last_pass.finished_at:%Y-%m-%d %H:%M} UTC")
    _table(
        "Sources",
        ["source", "state", "new", "changed", "deleted", "quarantined", "live rows"],
        [
            [s["source"], s["state"], s["new"], s["changed"], s["deleted"], s["quarantined"], sum(s["rows"].values())]
            for s in report.sources
        ],
    )
    _table(
        "Datasets",
        ["dataset", "rows", "version", "group", "freshness", "checks"],
        [
            [
                d["dataset"],
                d["rows"],
                d["version"],
                d["group"],
                d["freshness"] + ("" if d["standing"] == "agreed" else f", [red]{d['standing'].partition(':')[0]}[/]"),
                f"{d['checks_passed']} passed"
                + (f", [red]{d['checks_failed']} failed[/]" if d["checks_failed"] else ""),
            ]
            for d in report.datasets
        ],
    )
    _table(
        "Audiences",
        ["audience", "desired", "added", "changed", "removed", "rejected", "confirmed", "held back"],
        [
            [
                a["audience"] + (f" [red]{a['outcome']}[/]" if a.get("outcome") in TROUBLE else ""),
                *(a.get(name, 0) for name in ("desired", "added", "changed", "removed", "rejected", "confirmed")),
                ", ".join(f"{reason} {count:,}" for reason, count in sorted((a.get("held_back") or {}).items())),
            ]
            for a in report.audiences
        ],
    )
    open_alerts = worst_first(report.alerts)
    _table(
        f"Alerts ({len(open_alerts)} not resolved of {len(report.alerts)})",
        ALERT_COLUMNS,
        [alert_row(alert) for alert in open_alerts[:MAX_ALERTS]],
        footer=f"… and {len(open_alerts) - MAX_ALERTS} more: lendloop alerts"
        if len(open_alerts) > MAX_ALERTS
        else None,
    )
    if report.duration_s is not None:
        changed = "published something new" if report.changed else "nothing new, nothing published"
        console.print(f"\n{changed}; took {report.duration_s:.1f} s")
    for line in report.failures:
        console.print(f"[red]failed[/] {line}")


def worst_first(alerts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are not resolved, the most severe first, of these the newest."""
    newest = sorted(
        (alert for alert in alerts if alert["state"] != "resolved"), key=lambda one: one["id"], reverse=True
    )
    newest.sort(key=lambda one: one["opened_at"], reverse=True)
    return sorted(newest, key=lambda one: SEVERITIES.index(one["severity"]), reverse=True)


def alert_row(alert: dict[str, Any]) -> list[Any]:
    """An alert below `ALERT_COLUMNS`; its number as people type it."""
    moments = [f"{at[:10]} {at[11:16]}" if at else "" for at in (alert["opened_at"], alert["notified_at"])]
    return [str(alert["id"]), *(str(alert[name]) for name in ("rule", "entity", "severity", "state")), *moments]


def show_alerts(alerts: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Alerts in the order in which somebody wants to look at them."""
    found = worst_first(alerts)
    if as_json:
        print_json({"alerts": found})
    elif not found:
        console.print("no alert is open")
    else:
        _table("Alerts", ALERT_COLUMNS, [alert_row(alert) for alert in found])


def show_checks(results: list[CheckOutcome], *, as_json: bool) -> None:
    """One line a part that is well, with a line a warning; one line a fault of the others."""
    if as_json:
        print_json({"checks": [result.model_dump() for result in results]})
        return
    for result in results:
        if not result.fault:
            console.print(f"{result.name}: [green]ok[/] {escape(result.summary)}", soft_wrap=True)
        for warning in result.warnings:
            console.print(f"{result.name}: [yellow]warning[/] {escape(warning)}", soft_wrap=True)
        for fault in (result.fault or "").splitlines():
            console.print(f"{result.name}: [red]fault[/] {escape(fault)}", soft_wrap=True)


def show_terms(records: list[dict[str, Any]], *, as_json: bool) -> None:
    """Each term with its meaning, then its fields, one a line."""
    if as_json:
        print_json({"terms": records})
        return
    for record in records:
        console.print(
            f"\n[bold]{record['term']}[/] [dim]({escape(record['found'])})[/]\n  {escape(record['meaning'])}",
            soft_wrap=True,
        )
        for name, value in record.items():
            if name not in ("term", "found", "meaning"):
                console.print(f"  [dim]{name}:[/]{escape(_inline(value))}", soft_wrap=True)


def _inline(value: Any) -> str:
    """A field of a term: lists by commas, or a line each where an entry is long."""
    if isinstance(value, dict):
        value = [f"{name}: {text if isinstance(text, str) else ', '.join(text)}" for name, text in value.items()]
        return "".join(f"\n    {line}" for line in value)
    return " " + (", ".join(value) if isinstance(value, list) else str(value))


def show_list(title: str, records: list[dict[str, Any]], *, as_json: bool) -> None:
    """Records that have the same names, as a table."""
    if as_json:
        print_json(records)
    elif not records:
        console.print(f"{title}: none")
    else:
        names = [name.replace("_", " ") for name in records[0]]
        _table(title, names, [[_said(value) for value in record.values()] for record in records])


def show_findings(findings: list[Finding], *, as_json: bool) -> None:
    """One line a finding, what to do below it, and how many of each kind."""
    counts = Counter(finding.state for finding in findings)
    if as_json:
        print_json({"ok": not counts["failure"], "findings": [finding.model_dump() for finding in findings]})
        return
    for finding in findings:
        mark = {"ok": "[green]ok     [/]", "warning": "[yellow]warning[/]", "failure": "[red]failure[/]"}[finding.state]
        console.print(f"{mark} [bold]{finding.check}[/]: {escape(finding.found)}", soft_wrap=True)
        if finding.advice:
            console.print(f"        [dim]{escape(finding.advice)}[/]", soft_wrap=True)
    console.print(f"\n{counts['failure']} failures, {counts['warning']} warnings, {counts['ok']} in order")


def show_pruned(pruned: list[Pruned], *, dry_run: bool, as_json: bool) -> None:
    """What went, or would go."""
    if as_json:
        print_json({"dry_run": dry_run, "pruned": [part.model_dump() for part in pruned]})
        return
    rows = [[part.what, part.removed, part.bytes] for part in pruned if part.removed]
    if not rows:
        console.print("nothing is older than the settings keep")
        return
    _table("Would be deleted" if dry_run else "Deleted", ["what", "how many", "bytes freed"], rows)


def _table(title: str, columns: list[str], rows: list[list[Any]], footer: str | None = None) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    numeric = [bool(rows) and all(isinstance(row[i], int) for row in rows) for i in range(len(columns))]
    for name, number in zip(columns, numeric, strict=True):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row))
    console.print()
    console.print(table)
    if footer:
        console.print(f"[dim]{footer}[/]")


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=1, default=str)
    sys.stdout.write("\n")
