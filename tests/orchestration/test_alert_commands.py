"""`lendloop alerts`: what is open, and what people do about it, as operations see it."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select, update

from activation.alerts import PipelineFailure, advance_alerts, alert_status, load_routes, report_failures
from activation.ops import open_ops, reading, writing
from activation.ops import tables as t
from lendloop.settings import Settings, load_settings
from orchestration.cli import main

BY = ("--by", "Ada")


@pytest.fixture
def settings(clean_environment: pytest.MonkeyPatch) -> Settings:
    """An installation whose CRM does not answer: one alert, told."""
    settings = load_settings()
    settings.home.prepare()
    failure = PipelineFailure(key="source:crm", kind="source", message="it does not answer")
    report_failures(settings, [failure], settings.clock())
    advance_alerts(settings, [], load_routes(settings.definitions), settings.clock())
    return settings


def lendloop(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as leaving:
        main(["alerts", *arguments])
    said = capsys.readouterr()
    return int(leaving.value.code or 0), said.out, said.err


def test_what_is_open_is_listed_with_its_number(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = lendloop(capsys)
    assert status == 0
    assert all(word in out for word in ("1", "pipeline", "source:crm", "critical", "open"))
    [alert] = json.loads(lendloop(capsys, "--json")[1])["alerts"]
    assert (alert["id"], alert["state"]) == (1, "open")


def test_an_alert_is_taken_on_and_put_off_by_a_person(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert lendloop(capsys, "acknowledge", "1", *BY, "--note", "asked the vendor")[0] == 0
    [alert] = alert_status(settings)
    assert alert["state"] == "acknowledged"
    status, out, _ = lendloop(capsys, "snooze", "1", "--hours", "8", *BY)
    assert status == 0
    assert "alert 1 is snoozed until" in out
    [alert] = alert_status(settings)
    assert alert["state"] == "snoozed"
    with reading(open_ops(settings)) as connection:
        done = connection.execute(select(t.audit.c.actor, t.audit.c.action).order_by(t.audit.c.id)).all()
    assert [tuple(one) for one in done] == [("Ada", "acknowledged"), ("Ada", "snoozed")]


def test_a_rule_is_silenced_and_given_up_messages_are_sent_again(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = ("--hours", "2", *BY, "--because", "a migration")
    status, out, _ = lendloop(capsys, "silence", "large_transaction", *reason)
    assert status == 0
    assert "large_transaction is silent until" in out
    with writing(open_ops(settings)) as connection:
        connection.execute(update(t.outbox).values(state="failed"))
        messages = connection.execute(select(t.outbox.c.id)).all()
    status, out, _ = lendloop(capsys, "resend", *BY)
    assert (status, out) == (0, f"{len(messages)} messages are planned again\n")


def test_wrong_use_is_told_in_one_line_and_does_nothing(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, said in (
        (("acknowledge", "7", *BY), 1, "there is no alert 7: `lendloop alerts` lists those that are open"),
        (("acknowledge", "1", "--by", " "), 2, "says who (--by)"),
        (
            ("silence", "large_transactions", "--hours", "1", *BY, "--because", "x"),
            2,
            "unknown rule 'large_transactions'",
        ),
        (("silence", "pipeline", "--hours", "1", *BY, "--because", " "), 2, "why (--because)"),
    ):
        status, _, err = lendloop(capsys, *arguments)
        assert (status, err.count("\n")) == (code, 1)
        assert said in err
    assert alert_status(settings)[0]["state"] == "open"
