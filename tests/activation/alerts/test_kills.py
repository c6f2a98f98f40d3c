"""Killed at random moments, the next pass ends as if nothing had happened: every alert told exactly once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select

from activation.alerts import alert_status
from activation.ops import open_ops, reading
from activation.ops import tables as t
from lendloop.home import CHECKOUT
from tests import forked
from tests.forked import Process

KILLS = 12
PASS = """
import sys
from datetime import datetime
from pathlib import Path
from activation.alerts import advance_alerts, deliver_outbox, load_routes
from activation.rules import evaluate_rule, load_rules
from lendloop.clock import Clock
from lendloop.settings import load_settings

settings, folder = load_settings(), Path(sys.argv[1])
clock = Clock(datetime.fromisoformat(sys.argv[2]))
rules, routes = load_rules(folder), load_routes(folder)
print("started", flush=True)
for rule in rules:
    evaluate_rule(rule, settings=settings, clock=clock, source_status={})
advance_alerts(settings, rules, routes, clock)
print(deliver_outbox(settings, routes, clock).summary, flush=True)
"""


def in_flight(lender: Any) -> int:
    """How many messages are being sent."""
    with reading(open_ops(lender.settings)) as connection:
        return Counter(connection.execute(select(t.outbox.c.state)).scalars())["in_flight"]


def wait_for_sending(lender: Any, timeout_s: float = 20.0) -> None:
    """Until a message is being sent."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and not in_flight(lender):
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_at_random_every_alert_is_told_exactly_once(make_lender: Any, inbox: Any, tmp_path: Any) -> None:
    lender = make_lender(**inbox.settings)
    lender.only("large_transaction")
    lender.run()
    folder = tmp_path / "definitions"
    (folder / "rules").mkdir(parents=True)
    text = (CHECKOUT / "activation/definitions/rules/large_transaction.yaml").read_text()
    (folder / "rules" / "large_transaction.yaml").write_text(text.replace("group_over: 5", "group_over: 1000"))
    (folder / "routes.yaml").write_text("slack_interval_s: 0\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LENDLOOP_")}
    environment |= {f"LENDLOOP_{name.upper()}": value for name, value in inbox.settings.items()}
    environment |= {"LENDLOOP_HOME": str(lender.settings.home.root), "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-c", PASS, str(folder), lender.now.isoformat()]
    draw = random.Random(7)
    inbox.misbehave(system="slack", kind="delay", delay_s=0.05, share=0.5)
    inbox.misbehave(system="slack", kind="delay", delay_s=0.05, share=0.5, after_effect=True)
    number = killed_in_flight = 0
    for kill in range(KILLS):
        for _ in range(4):
            number += 1
            lender.transaction(number, "500000")
        with Process[str](command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            if kill % 2:
                wait_for_sending(lender)
                time.sleep(draw.uniform(0.0, 0.08))
            else:
                time.sleep(draw.uniform(0.0, 0.8))
            process.send_signal(signal.SIGKILL)
        killed_in_flight += in_flight(lender)
    assert killed_in_flight, "no kill met a message in flight: the test proves nothing"
    for _ in range(10):
        last = forked.run(command, environment, timeout_s=120)
        assert last.returncode == 0, last.stderr
        if last.stdout.splitlines()[-1].startswith("0 sent, 0 updated, 0 found again, 0 failed, 0 waiting"):
            break
    told = Counter(message["text"].rsplit(" ", 1)[1] for message in inbox.slack)
    assert told == Counter(str(one) for one in range(1, number + 1))
    assert all(row["state"] == "open" and row["notified_at"] for row in alert_status(lender.settings))
    assert len(alert_status(lender.settings)) == number
