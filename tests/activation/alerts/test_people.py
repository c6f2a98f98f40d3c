"""What people do to alerts holds, is audited, and survives every evaluation."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from activation.alerts import (
    PipelineFailure,
    acknowledge_alert,
    alert_status,
    report_failures,
    silence_rule,
    snooze_alert,
)
from activation.ops import open_ops, reading
from activation.ops import tables as t
from lendloop.errors import ConfigurationError, PermanentError
from tests.postgres import ON_BOTH

pytestmark = ON_BOTH


def told(lender: Any) -> dict[str, Any]:
    """One alert that was told; its status."""
    lender.only("large_transaction")
    lender.run()
    lender.transaction(1, "3000000")
    lender.run()
    status: dict[str, Any] = alert_status(lender.settings)[0]
    return status


def act(lender: Any, function: Any, status: dict[str, Any], **more: Any) -> int:
    version: int = function(
        lender.settings, status["id"], expected_version=status["version"], actor="risk", clock=lender.clock,
        rules=lender.rules, routes=lender.routes, **more,
    )  # fmt: skip
    return version


def test_an_acknowledgement_shows_in_the_message_and_its_note_survives_what_comes(lender: Any, inbox: Any) -> None:
    status = told(lender)
    act(lender, acknowledge_alert, status, note="asked the branch, mail me at a.b@c.example or +234 803 555 0100")
    lender.deliver()
    (message,) = inbox.slack
    text = json.dumps(message["blocks"])
    assert "acknowledged by risk" in text
    assert "asked the branch, mail me at [address hidden] or [number hidden]" in text
    lender.later(hours=5)
    lender.sql("update trusted.fct_account_transaction set amount = 3500000")
    lender.run()
    assert len(inbox.slack) == 1
    lender.sql("update trusted.fct_account_transaction set amount = 30000000")
    lender.run()
    assert len(inbox.slack) == 2
    with reading(open_ops(lender.settings)) as connection:
        row = connection.execute(select(t.alert)).one()
        audit = connection.execute(select(t.audit.c.actor, t.audit.c.action)).all()
    assert (row.state, row.handled_by) == ("open", "risk")
    assert row.note.startswith("asked the branch")
    assert [tuple(one) for one in audit] == [("risk", "acknowledged")]


def test_a_stale_click_is_refused(lender: Any) -> None:
    status = told(lender)
    act(lender, acknowledge_alert, status)
    with pytest.raises(PermanentError, match="it is acknowledged, version 2; look again"):
        act(lender, snooze_alert, status, until=lender.now + timedelta(hours=1))
    with pytest.raises(PermanentError, match="no alert 999"):
        act(lender, acknowledge_alert, {**status, "id": 999})
    with pytest.raises(ConfigurationError, match="must end after"):
        act(lender, snooze_alert, {**status, "version": 2}, until=lender.now)


def test_a_snooze_is_over_when_it_said(lender: Any, inbox: Any) -> None:
    status = told(lender)
    act(lender, snooze_alert, status, until=lender.now + timedelta(hours=8))
    lender.later(hours=7)
    lender.run()
    assert len(inbox.slack) == 1
    lender.later(hours=1)
    lender.run()
    assert inbox.texts[1].startswith(":alarm_clock: Reminder: Large transaction")
    assert alert_status(lender.settings)[0]["state"] == "open"


def test_a_silence_holds_what_is_new_with_its_reason_and_tells_it_afterwards(lender: Any, inbox: Any) -> None:
    lender.only("large_transaction")
    lender.run()
    until = lender.now + timedelta(hours=2)
    silence_rule(
        lender.settings, "large_transaction", until=until, actor="risk", comment="migration", clock=lender.clock
    )
    lender.transaction(1, "3000000")
    for _ in range(3):
        _, advanced, _ = lender.run()
    assert advanced.held == {"silenced until 2026-03-02 14:00 UTC": 1}
    assert inbox.slack == []
    with reading(open_ops(lender.settings)) as connection:
        rows = connection.execute(select(t.notification.c.decision, t.notification.c.reason)).all()
    assert [tuple(row) for row in rows] == [("held", "silenced until 2026-03-02 14:00 UTC")]
    lender.later(hours=2)
    lender.run()
    assert len(inbox.slack) == 1


def test_a_reported_failure_inhibits_the_rules_it_concerns_until_its_recovery(lender: Any, inbox: Any) -> None:
    lender.only("large_transaction")
    lender.run()
    failure = PipelineFailure(
        key="step:dbt_build", message="Broke: +234 803 555 0100 is no date", link="/runs/1",
        datasets=("trusted.fct_account_transaction",),
    )  # fmt: skip
    for _ in range(3):
        report_failures(lender.settings, [failure], lender.clock)
    lender.transaction(1, "3000000")
    _, advanced, _ = lender.run()
    assert advanced.held == {"inhibited by pipeline alert step:dbt_build": 1}
    (message,) = inbox.slack
    text = json.dumps(message["blocks"])
    assert "Broke: [number hidden] is no date" in text
    assert "http://127.0.0.1:3000/runs/1" in text
    assert r"*Seen*\n3 times" in text
    lender.later(hours=1)
    lender.sql("create table kept as from trusted.fct_account_transaction")
    lender.sql("delete from trusted.fct_account_transaction")
    (evaluation,), advanced, _ = lender.run()
    assert evaluation.frozen == "step:dbt_build failed and has not succeeded since"
    assert (evaluation.cleared, advanced.resolved) == (0, 0)
    lender.sql("insert into trusted.fct_account_transaction from kept")
    recovery = failure.model_copy(update={"resolved": True})
    report_failures(lender.settings, [recovery], lender.clock)
    lender.run()
    lender.run()
    assert [text.split(" ", 1)[1] for text in inbox.texts[1:]] == [
        "Resolved: Step failed: dbt_build",
        "Large transaction: account transaction 1",
    ]


def test_a_failure_that_recovered_before_anybody_looked_is_told_once(lender: Any, inbox: Any) -> None:
    failure = PipelineFailure(key="run:main", kind="run", message="Broke")
    report_failures(lender.settings, [failure, failure.model_copy(update={"resolved": True})], lender.clock)
    lender.rules = []
    lender.run()
    lender.run()
    assert inbox.texts == [":white_check_mark: Resolved: Run failed: main"]
