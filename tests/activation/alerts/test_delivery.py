"""Delivering the outbox: exactly once through lost answers, in pace, one bad channel alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from activation.alerts import Routes, outbox_failures, resend_failed
from activation.alerts.deliver import utc_now
from activation.ops import exclusively, open_ops
from tests.postgres import ON_BOTH


def one_alert(lender: Any, number: int = 1) -> None:
    """Something new to tell."""
    lender.only("large_transaction")
    if number == 1:
        lender.run()
    lender.transaction(number, "3000000")
    lender.evaluate()
    lender.advance()


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500, "after_effect": True},
        {"kind": "cut", "after_effect": True},
        {"kind": "reset", "after_effect": True},
        {"kind": "wrong_type", "after_effect": True},
        {"kind": "status", "status": 503},
        {"kind": "reset"},
    ],
    ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}-{'done' if fault.get('after_effect') else 'undone'}",
)
def test_a_lost_answer_is_looked_up_before_it_is_repeated(lender: Any, inbox: Any, fault: dict[str, Any]) -> None:
    one_alert(lender)
    inbox.misbehave(system="slack", count=1, path="chat.postMessage", **fault)
    report = lender.deliver()
    assert len(inbox.slack) == 1
    assert (report.sent + report.recovered, report.failed, report.waiting) == (1, 0, 0)
    assert report.recovered == bool(fault.get("after_effect"))


def test_what_cannot_be_looked_up_is_not_repeated(lender: Any, inbox: Any) -> None:
    one_alert(lender)
    inbox.misbehave(system="slack", count=1, path="chat.postMessage", kind="reset", after_effect=True)
    inbox.misbehave(system="slack", count=20, path="conversations.history", kind="status", status=500)
    report = lender.deliver(budget_s=4)
    assert (report.sent, report.waiting) == (0, 1)
    assert len(inbox.slack) == 1


def test_retry_after_is_honoured_and_the_wait_is_bounded(lender: Any, inbox: Any) -> None:
    one_alert(lender)
    inbox.misbehave(system="slack", count=1, kind="status", status=429, headers={"Retry-After": "2"})
    began = utc_now()
    assert lender.deliver().sent == 1
    assert utc_now() - began >= timedelta(seconds=2)
    one_alert(lender, 2)
    inbox.misbehave(system="slack", count=1, kind="status", status=429, headers={"Retry-After": "300"})
    report = lender.deliver(budget_s=1)
    assert (report.sent, report.waiting) == (0, 1)
    assert lender.deliver(budget_s=1).waiting == 1
    assert len(inbox.slack) == 1


def test_a_clock_set_back_puts_no_message_off(lender: Any, inbox: Any) -> None:
    def an_hour_ago() -> datetime:
        return utc_now() - timedelta(hours=1)

    lender.routes = lender.routes.model_copy(update={"slack_interval_s": 0.1})
    one_alert(lender)
    assert lender.deliver().sent == 1
    one_alert(lender, 2)
    assert lender.deliver(wall=an_hour_ago, budget_s=30).sent == 1
    one_alert(lender, 3)
    inbox.misbehave(system="slack", count=1, path="chat.postMessage", kind="reset")
    assert lender.deliver(budget_s=0.05).sent == 0
    assert lender.deliver(wall=an_hour_ago, budget_s=30).sent == 1
    assert len(inbox.slack) == 3


def test_a_channel_gets_no_more_than_its_pace(lender: Any, inbox: Any) -> None:
    lender.only("large_transaction")
    lender.run()
    for number in range(4):
        lender.transaction(number, "3000000")
    lender.evaluate()
    lender.advance()
    lender.routes = lender.routes.model_copy(update={"slack_interval_s": 0.4})
    began = utc_now()
    assert lender.deliver().sent == 4
    assert utc_now() - began >= timedelta(seconds=1.2)


@ON_BOTH
def test_a_bad_channel_does_not_stop_a_good_one(lender: Any, inbox: Any) -> None:
    lender.routes = Routes.model_validate(
        {
            "slack_interval_s": 0,
            "routes": {"operations": [{"channel": "slack", "target": "#nowhere"}, {"channel": "slack"}]},
        }
    )
    one_alert(lender)
    report = lender.deliver()
    assert (report.sent, report.failed) == (1, 1)
    assert len(inbox.slack) == 1
    (line,) = outbox_failures(lender.settings)
    assert "#nowhere" in line
    assert "channel_not_found" in line
    lender.routes = lender.routes.model_copy(update={"slack_interval_s": 0.0})
    assert resend_failed(lender.settings, actor="data-platform", clock=lender.clock) == 1
    assert lender.deliver().failed == 1


def test_a_wrong_token_is_a_failure_with_its_reason(make_lender: Any, inbox: Any) -> None:
    lender = make_lender(**{**inbox.settings, "slack_token": "xoxb-wrong"})
    one_alert(lender)
    report = lender.deliver()
    assert report.failed == 1
    assert "invalid_auth" in report.failures[0]


@ON_BOTH
def test_without_slack_messages_are_held_and_sent_once_it_is_there(make_lender: Any, inbox: Any) -> None:
    lender = make_lender()
    one_alert(lender)
    report = lender.deliver()
    assert report.held == {"slack not configured": 1}
    assert make_lender(slack_url=inbox.settings["slack_url"], slack_token="x").deliver().held == {
        "LENDLOOP_SLACK_CHANNEL is not set": 1
    }
    assert make_lender(**inbox.settings).deliver().sent == 1
    assert len(inbox.slack) == 1


def test_what_could_not_be_sent_for_days_is_given_up_visibly(make_lender: Any, inbox: Any) -> None:
    lender = make_lender()
    one_alert(lender)
    lender.deliver()
    late = make_lender(**inbox.settings)
    report = late.deliver(wall=lambda: utc_now() + timedelta(hours=73))
    assert (report.sent, report.failed) == (0, 1)
    assert "given up after 72 h: " in outbox_failures(late.settings)[0]
    assert inbox.slack == []


def test_mail_keeps_its_message_id_through_a_repeat_and_threads_by_alert(lender: Any, inbox: Any) -> None:
    lender.only("large_transaction")
    lender.run()
    lender.transaction(1, "30000000")
    lender.evaluate()
    lender.advance()
    inbox.misbehave(system="smtp", kind="reset", count=1, after_effect=True)
    lender.deliver()
    lender.later(hours=1)
    lender.sql("delete from trusted.fct_account_transaction")
    lender.run()
    ids = [mail["message_id"] for mail in inbox.mail]
    threads = {str(mail["references"]) for mail in inbox.mail}
    assert len(set(ids)) == 2
    assert len(threads) == 1


def test_a_slack_that_is_down_costs_little_time_and_nothing_is_lost(make_lender: Any, inbox: Any) -> None:
    down = make_lender(**{**inbox.settings, "slack_url": "http://127.0.0.1:9/"})
    one_alert(down)
    report = down.deliver()
    assert (report.sent, report.waiting, report.failed) == (0, 1, 0)
    up = make_lender(**inbox.settings)
    assert up.deliver().sent == 1


def test_what_can_never_be_looked_up_is_given_up_visibly(lender: Any, inbox: Any) -> None:
    one_alert(lender)
    inbox.misbehave(system="slack", count=1, path="chat.postMessage", kind="reset")
    inbox.misbehave(
        system="slack", path="conversations", kind="status", status=200, body={"ok": False, "error": "missing_scope"}
    )
    report = lender.deliver()
    assert (report.sent, report.failed) == (0, 1)
    assert "perhaps sent, and it can't be looked up: Slack refused it: missing_scope" in report.failures[0]


@ON_BOTH
def test_a_second_process_that_delivers_leaves_it_to_the_first(
    lender: Any, inbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_alert(lender)
    monkeypatch.setattr("activation.alerts.deliver.LOCK_TIMEOUT_S", 0.1)
    with exclusively(open_ops(lender.settings), lender.settings, "outbox", "deliver elsewhere", 1.0):
        report = lender.deliver()
    assert "deliver elsewhere" in report.note
    assert inbox.slack == []
    assert lender.deliver().sent == 1
