"""Alerts of one rule: from its query to alerts and messages planned, first and when nothing changed.

Beside it stands what can't be left out: the same query read to its end, and a bare bulk insert of as many rows.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

from activation.alerts import advance_alerts, load_routes
from activation.rules import Rule, evaluate_rule
from benchmarks.harness import ROUNDS, Peer, Row, Size, Timing, timed_call
from benchmarks.lender import BenchLender
from lendloop.home import CHECKOUT

TITLE = "Alerts: a rule evaluated, its alerts moved on"
FINDINGS: dict[Size, tuple[int, ...]] = {"small": (3_000,), "full": (3_000, 50_000)}
SQL = """
select application_id, market, currency, approved_amount as value, $limit as threshold
from trusted.fct_application where approved_amount > $limit
"""
RULE = Rule.model_validate(
    {
        "rule": "large_application",
        "title": "Large application",
        "description": "An application above the limit, as many as the benchmark asks for.",
        "owner": "risk",
        "system": "ledger",
        "kind": "condition",
        "severity": "warning",
        "urgency": "today",
        "sla_hours": 24,
        "requires": {"sources": ["ledger"]},
        "parameters": {"limit": {"value": 400, "min": 1, "max": 10**6}},
        "entity": ["application_id"],
        "entity_label": "application {application_id}",
        "sql": SQL,
        "deviance": "value / threshold",
        "unit": "{currency}",
        "summary": "{value} {currency} against {threshold} in {market}",
        "link": "{base}/applications/{application_id}",
        "actions": ["Look at it"],
        "routes": ["operations"],
    }
)


def measure(size: Size) -> Iterator[Row]:
    for findings in FINDINGS[size]:
        yield from _measure(findings, 1 if size == "small" else ROUNDS)


def _measure(findings: int, rounds: int) -> Iterator[Row]:
    names = ("first", "unchanged")
    found: dict[str, list[Timing]] = {name: [] for name in names}
    bare: dict[str, list[Timing]] = {"query": [], "insert": []}
    for _ in range(rounds):
        home = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            BenchLender(home, findings).publish_day(0)
            for name in names:
                bare["query"].append(timed_call(read_findings, home))
                bare["insert"].append(timed_call(insert_findings, home))
                found[name].append(timed_call(evaluate_and_advance, home, findings, name))
        finally:
            shutil.rmtree(home)
    for name in names:
        yield Row(
            f"{findings:,} findings, {name}",
            found[name],
            [Peer("bare query", bare["query"]), Peer("bare bulk insert of the findings", bare["insert"])],
            amount=findings,
            unit="findings",
            note="each finding is kept, compared and decided upon in Python, and an alert's row has 30 columns to convert: the time"
            " is spread over them evenly, with no single cause",
        )


def evaluate_and_advance(home: Path, findings: int, name: str) -> float:
    """Evaluate the rule and move its alerts on; seconds of both."""
    lender = BenchLender(home, findings)
    settings, clock, status = lender.settings(), lender.clock(0), lender.status(0)
    routes = load_routes(CHECKOUT / "activation" / "definitions")
    began = time.perf_counter()
    evaluation = evaluate_rule(RULE, settings=settings, clock=clock, source_status=status)
    report = advance_alerts(settings, [RULE], routes, clock)
    seconds = time.perf_counter() - began
    if (evaluation.findings, report.open_now) != (findings, findings) or bool(report.opened) != (name == "first"):
        raise RuntimeError(f"{name}: {evaluation.reason}, {report.summary}")
    return seconds


def read_findings(home: Path) -> float:
    """The bare query, its rows in Python."""
    with duckdb.connect(str(home / "published.duckdb"), read_only=True) as connection:
        began = time.perf_counter()
        connection.execute(SQL, {"limit": 400}).fetchall()
        return time.perf_counter() - began


def insert_findings(home: Path) -> float:
    """The bare query's rows, as one transaction of inserts into an empty table."""
    with duckdb.connect(str(home / "published.duckdb"), read_only=True) as source:
        rows = source.execute(SQL, {"limit": 400}).fetchall()
    path = home / "bare.sqlite"
    path.unlink(missing_ok=True)
    target = sqlite3.connect(path)
    target.execute("pragma journal_mode=wal")
    target.execute(
        "create table finding (entity text primary key, market text, currency text, value text, threshold text)"
    )
    texts = [tuple(map(str, row)) for row in rows]
    began = time.perf_counter()
    with target:
        target.executemany("insert into finding values (?, ?, ?, ?, ?)", texts)
    seconds = time.perf_counter() - began
    target.close()
    return seconds
