"""Every declared fault at Slack and the mail server: no message is lost, and none comes twice without saying so.
Outcomes: docs/faults.yaml."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import pytest

import activation.alerts.email
import activation.alerts.slack
from activation.alerts import Routes, outbox_failures, resend_failed
from activation.alerts.bounded import within
from activation.alerts.deliver import utc_now
from tests.activation.alerts.test_delivery import one_alert
from tests.faults import Case, declared


class Wall:
    """A clock that a wait moves on without waiting."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return utc_now() + self.ahead

    def pause(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation.alerts.slack, "TIMEOUT_S", 1)
    monkeypatch.setattr(activation.alerts.email, "TIMEOUT_S", 1)


@pytest.mark.parametrize("case", declared("slack", "smtp"), ids=str)
def test_a_fault_has_its_declared_outcome_and_no_message_is_lost_or_doubled(
    case: Case, lender: Any, inbox: Any
) -> None:
    wall = Wall()
    channel = "slack" if case.system == "slack" else "email"
    lender.routes = Routes.model_validate({"slack_interval_s": 0, "routes": {"operations": [{"channel": channel}]}})

    def arrived() -> list[str]:
        if channel == "slack":
            return [message["metadata"]["event_payload"]["outbox_id"] for message in inbox.slack]
        return [mail["message_id"] for mail in inbox.mail]

    def deliver() -> Any:
        return lender.deliver(wall=wall.now, pause=wall.pause)

    def held(outcome: str, number: int) -> None:
        report = deliver()
        if outcome == "sent":
            assert (report.sent + report.recovered, report.waiting, report.failed) == (1, 0, 0)
            assert len(arrived()) == len(set(arrived())) == number
        elif outcome == "failed":
            assert (report.failed, len(report.failures)) == (1, 1)
            assert outbox_failures(lender.settings)
        else:
            assert report.failed == 0
            assert report.sent + report.recovered + report.waiting == 1
            assert len(set(arrived())) <= number

    one_alert(lender)
    inbox.misbehave(**case.fault)
    held(case.lasting, 1)
    inbox.served.faults.clear()
    wall.pause(600)
    if case.lasting == "failed":
        resend_failed(lender.settings, actor="data-platform", clock=lender.clock)
    deliver()
    assert len(set(arrived())) == 1, "nothing is lost"
    one_alert(lender, 2)
    inbox.misbehave(**case.fault, count=1)
    held(case.passing, 2)
    inbox.served.faults.clear()
    wall.pause(600)
    if case.passing == "failed":
        resend_failed(lender.settings, actor="data-platform", clock=lender.clock)
    deliver()
    assert len(set(arrived())) == 2
    if case.passing != "perhaps twice":
        assert len(arrived()) == 2, "nothing is doubled"
    assert deliver().sent == 0


def test_a_call_that_takes_too_long_is_given_up_and_its_error_is_its_own() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no whole answer in 0\.05 s"):
        within(0.05, lambda: time.sleep(60))
    assert time.monotonic() - began < 30
    assert within(30, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(30, lambda: 1 / 0)
