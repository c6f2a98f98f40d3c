"""From what is published to messages that people read: real DuckDB, operational state, Slack and SMTP."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import pytest

from activation.alerts import PipelineFailure, alert_status, report_failures
from activation.alerts.store import fingerprint
from tests.postgres import ON_BOTH


def content(message: dict[str, Any]) -> str:
    return json.dumps(message["blocks"], ensure_ascii=False)


def test_an_alert_carries_everything_a_person_needs_and_nothing_personal(lender: Any, inbox: Any) -> None:
    lender.only("large_transaction")
    lender.run()
    lender.transaction(171812, "3000000")
    lender.run()
    (message,) = inbox.slack
    text = content(message)
    for part in (
        "Large transaction", "ledger", "account transaction 171812", "2 × threshold",
        "3,000,000 NGN against 1,500,000 NGN", "today", "warning", "risk", "24 h, by 2026-03-03 12:00 UTC", "episode 1",
        "http://127.0.0.1:3000/assets/rules/large_transaction", "Report it to compliance",
    ):  # fmt: skip
        assert part in text, part
    (status,) = alert_status(lender.settings)
    assert (status["rule"], status["state"], status["episode"], status["severity"]) == (
        "large_transaction", "open", 1, "warning",
    )  # fmt: skip
    assert status["notified_at"] == lender.now.isoformat()


def test_the_same_issue_is_told_once_however_often_it_is_seen(lender: Any, inbox: Any) -> None:
    lender.only("large_transaction")
    lender.run()
    lender.transaction(1, "3000000")
    for _ in range(3):
        lender.run()
        lender.later(hours=1)
    assert len(inbox.slack) == 1


@ON_BOTH
def test_a_resolved_alert_changes_its_message_says_so_and_comes_back_as_a_new_episode(lender: Any, inbox: Any) -> None:
    lender.only("large_transaction")
    lender.run()
    lender.transaction(1, "3000000")
    lender.run()
    lender.later(hours=1)
    lender.sql("update trusted.fct_account_transaction set is_reversed = true")
    _, advanced, delivered = lender.run()
    assert (advanced.resolved, delivered.updated, delivered.sent) == (1, 1, 1)
    first, second = inbox.slack
    assert first["edits"] == 1
    assert "Resolved: Large transaction" in first["text"]
    assert "Resolved: Large transaction" in second["text"]
    lender.later(hours=1)
    lender.sql("update trusted.fct_account_transaction set is_reversed = false")
    lender.run()
    assert len(inbox.slack) == 3
    assert "episode 2" in content(inbox.slack[2])
    (status,) = alert_status(lender.settings)
    assert (status["state"], status["episode"]) == ("open", 2)


def test_a_first_load_is_one_digest_over_all_rules_and_later_findings_are_told(lender: Any, inbox: Any) -> None:
    for number in range(30):
        lender.transaction(number, "2000000")
    lender.sql(
        "insert into trusted.fct_ticket select i, 'p', 'NG', 'open', true, ?::timestamptz - interval 5 day from range(40) t(i)",
        lender.now,
    )
    _, advanced, _ = lender.run()
    assert advanced.opened == 31
    (digest,) = inbox.slack
    assert "Baseline: 31 alerts" in digest["text"]
    assert "Large transaction: 30 open" in content(digest)
    assert "Ticket backlog: 1 open" in content(digest)
    assert all(row["baseline"] and row["notified_at"] for row in alert_status(lender.settings))
    lender.later(hours=1)
    lender.transaction(100, "2000000")
    lender.run()
    assert [message["text"] for message in inbox.slack[1:]] == [
        ":large_orange_circle: Large transaction: account transaction 100"
    ]


def test_notify_backfill_tells_each_of_194_in_grouped_messages(lender: Any, inbox: Any) -> None:
    lender.only(
        "large_transaction",
        notify_backfill=True,
        parameters={
            **lender.rule("large_transaction").parameters,
            "threshold": {"value": 50000, "min": 1, "max": 10**9},
        },
    )
    lender.sql(
        "insert into trusted.fct_account_transaction select i, 1, 1, 'ZZ', 'CZK', 1, 'deposit', date '1994-01-01' + i::integer,"
        " case when i < 194 then 50000.01 + i else 50000 end, 0, false, null, null from range(300) t(i)"
    )
    _, advanced, delivered = lender.run()
    assert (advanced.opened, delivered.sent) == (194, 10)
    texts = [content(message) for message in inbox.slack]
    assert all(sum(f"account transaction {number}:" in text for text in texts) == 1 for number in range(194))
    assert all(row["notified_at"] for row in alert_status(lender.settings))
    _, advanced, delivered = lender.run()
    assert (advanced.messages, delivered.sent) == (0, 0)


def test_history_that_a_later_backfill_brings_goes_into_a_digest(lender: Any, inbox: Any) -> None:
    lender.only("large_transaction")
    lender.run()
    for number in range(8):
        lender.transaction(number, "2000000", days_ago=30)
    lender.transaction(100, "2000000")
    lender.run()
    assert [text.split(":")[2].strip() for text in inbox.texts] == ["Baseline", "Large transaction"]


@ON_BOTH
def test_a_worse_severity_is_told_again_and_by_mail(lender: Any, inbox: Any) -> None:
    lender.only("large_transaction")
    lender.run()
    lender.transaction(1, "3000000")
    lender.run()
    assert inbox.mail == []
    lender.later(hours=1)
    lender.sql("update trusted.fct_account_transaction set amount = 30000000")
    lender.run()
    assert len(inbox.slack) == 2
    assert inbox.slack[1]["text"].startswith(":red_circle:")
    (mail,) = inbox.mail
    assert "Large transaction" in json.dumps(mail)
    assert "20 × threshold" in json.dumps(mail, ensure_ascii=False)


def test_what_eased_is_told_again_once_it_is_as_bad_as_before(lender: Any, inbox: Any) -> None:
    lender.only("large_transaction", remind_after_hours=24)
    lender.run()
    lender.transaction(1, "30000000")
    lender.run()
    lender.sql("update trusted.fct_account_transaction set amount = 3000000")
    lender.later(hours=25)
    lender.run()
    assert [text.split()[0] for text in inbox.texts] == [":large_orange_circle:", ":alarm_clock:"]
    lender.sql("update trusted.fct_account_transaction set amount = 30000000")
    lender.later(hours=1)
    lender.run()
    assert [text.split()[0] for text in inbox.texts][2:] == [":red_circle:"]
    lender.run()
    assert len(inbox.texts) == 3


@ON_BOTH
def test_a_source_that_fails_is_one_pipeline_alert_and_closes_no_data_alert(lender: Any, inbox: Any) -> None:
    lender.only("large_transaction")
    lender.run()
    lender.transaction(1, "3000000")
    lender.run()
    lender.later(hours=1)
    lender.status["ledger"].error = "the ledger does not answer"
    lender.sql("delete from trusted.fct_account_transaction")
    lender.transaction(2, "3000000")
    for _ in range(2):
        (evaluation,), advanced, _ = lender.run()
        assert evaluation.frozen == "the last read of ledger failed"
    assert advanced.held == {"inhibited by pipeline alert source:ledger": 1}
    assert [text for text in inbox.texts if "Source failed: ledger" in text] == [inbox.texts[1]]
    assert len(inbox.slack) == 2
    states = {row["entity"]: row["state"] for row in alert_status(lender.settings)}
    assert set(states.values()) == {"open"}
    assert len(states) == 3
    lender.later(hours=1)
    lender.status["ledger"].error = None
    lender.run()
    lender.run()
    states = {row["entity"]: row["state"] for row in alert_status(lender.settings)}
    assert states == {
        "source:ledger": "resolved",
        "trusted.fct_account_transaction 1": "resolved",
        "trusted.fct_account_transaction 2": "open",
    }
    assert sum("Large transaction: account transaction 2" in text for text in inbox.texts) == 1


@ON_BOTH
def test_what_fires_and_ceases_before_anybody_looks_is_still_told(lender: Any, inbox: Any) -> None:
    lender.only("large_transaction")
    lender.run()
    lender.transaction(1, "3000000")
    lender.evaluate()
    lender.sql("delete from trusted.fct_account_transaction")
    lender.run()
    (message,) = inbox.slack
    assert "Resolved: Large transaction" in message["text"]
    (status,) = alert_status(lender.settings)
    assert status["state"] == "resolved"


def test_many_that_are_over_at_once_are_one_message(lender: Any, inbox: Any) -> None:
    lender.only("large_transaction")
    lender.run()
    for number in range(12):
        lender.transaction(number, "3000000")
    lender.run()
    assert len(inbox.slack) == 1
    assert "12 alerts" in inbox.texts[0]
    lender.later(hours=1)
    lender.sql("delete from trusted.fct_account_transaction")
    lender.run()
    assert inbox.texts[1:] == [":white_check_mark: Resolved: Large transaction: 12 alerts"]


def test_a_rule_that_cannot_be_evaluated_is_a_system_failure_until_it_can(lender: Any, inbox: Any) -> None:
    lender.only("ticket_backlog")
    lender.sql("alter table trusted.fct_ticket rename to fct_ticket_away")
    (evaluation,), _, _ = lender.run()
    assert not evaluation.passed
    assert "trusted.fct_ticket is not published" in evaluation.error
    assert "Rule failed: ticket_backlog" in inbox.texts[0]
    lender.sql("alter table trusted.fct_ticket_away rename to fct_ticket")
    lender.later(hours=1)
    lender.run()
    assert "Resolved: Rule failed: ticket_backlog" in inbox.texts[-1]


def test_failures_of_one_kind_are_told_together_each_with_what_is_wrong_and_what_to_do(lender: Any, inbox: Any) -> None:
    lender.rules = []
    late = [
        PipelineFailure(
            key=f"check:trusted/fct_{name}:made_in_time",
            kind="late",
            message=f"trusted.fct_{name} was last made in May",
        )
        for name in ("loan", "ticket", "client", "visit", "offer", "call")
    ]
    report_failures(lender.settings, late, lender.clock)
    lender.run()
    [message] = inbox.slack
    assert message["text"] == ":large_orange_circle: Dataset late: 6 alerts"
    assert "• trusted.fct_visit was last made in May" in content(message)
    assert "See what `lendloop doctor` says" in content(message)
    lender.later(hours=1)
    failed = [PipelineFailure(key=f"step:{name}", message=f"{name} broke") for name in "abcde"]
    report_failures(lender.settings, [*failed, PipelineFailure(key="run:x", kind="run", message="Broke")], lender.clock)
    lender.run()
    assert inbox.texts[1] == ":red_circle: Pipeline failure: 6 alerts"
    assert "• x: Broke" in content(inbox.slack[1])
    [mail] = inbox.mail
    assert "What can be done:\r\n- Open the failed step and its log" in mail["text"]


@pytest.mark.slow
def test_a_big_first_load_is_quick_and_still_one_message_within_slacks_limits(lender: Any, inbox: Any) -> None:
    lender.only("large_transaction")
    lender.sql(
        "insert into trusted.fct_account_transaction select i, 1, 1, 'NG', 'NGN', 1, 'deposit', date '2026-01-01', 2000000,"
        " 0, false, null, null from range(3000) t(i)"
    )
    began = time.monotonic()
    _, advanced, _ = lender.run()
    assert advanced.opened == 3000
    assert len(inbox.slack) == 1
    _, advanced, _ = lender.run()
    assert (advanced.open_now, advanced.messages) == (3000, 0)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("entity", ["loan-1", 'a "quoted" \\ key', "clé\n", "\u2028|é"])
def test_an_alert_keeps_its_identity(entity: str) -> None:
    text = json.dumps(["a_rule", entity], ensure_ascii=False)
    assert fingerprint("a_rule", entity) == hashlib.sha256(text.encode()).hexdigest()[:32]
