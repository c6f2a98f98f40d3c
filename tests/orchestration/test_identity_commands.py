"""`lendloop identity`: what is asked, answered and taken back, as a script sees it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from lendloop.clock import Clock
from lendloop.home import Home
from lendloop.identity import decide, read_decisions, write_raw_decisions
from lendloop.settings import load_settings
from lendloop.zones import _inputs
from orchestration.cli import main

EVENT = "0123456789abcdef"


@pytest.fixture
def home(tmp_path: Path, clean_environment: pytest.MonkeyPatch) -> Home:
    """A warehouse in which crm:2 went from person B to A yesterday."""
    clean_environment.setenv("LENDLOOP_HOME", str(tmp_path))
    home = Home(tmp_path).prepare()
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("create schema gray; create schema trusted")
        connection.execute("create table gray.int_identity_record as select unnest(['crm:1', 'crm:2']) as record_key")
        connection.execute(
            "create table gray.int_person_record as select record_key, 'A' as person_key from gray.int_identity_record"
        )
        connection.execute(
            "create table gray.int_identity_review as select 'crm:1,crm:2' as pair, 0.9::decimal(5, 4) as probability,"
            " 'phone +17.9' as because, 'A… B…' as one_shown, 'A… C…' as other_shown"
        )
        connection.execute(
            f"create table gray.int_identity_event as select '{EVENT}' as event, 'merge' as kind, date '2026-06-30' as happened_on,"
            " 'B' as from_person, 'A' as to_person, 'crm:2' as records"
        )
        connection.execute(
            "create table trusted.map_customer_source as select 'B' as person_key, 'crm' as source, '2' as source_id,"
            " date '2026-06-30' as valid_to"
        )
    return home


def lendloop(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as leaving:
        main(["identity", *arguments])
    said = capsys.readouterr()
    return int(leaving.value.code or 0), said.out, said.err


def test_a_question_is_listed_and_answered(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = lendloop(capsys, "review", "--json")
    assert status == 0
    [question] = json.loads(out)
    assert question["pair"] == "crm:1,crm:2"
    status, _, _ = lendloop(capsys, "decide", question["pair"], "same", "--by", "Ada", "--because", "called")
    assert status == 0
    [decision] = read_decisions(home)
    assert (decision.one, decision.other, decision.verdict, decision.decided_by) == ("crm:1", "crm:2", "same", "Ada")


def test_a_merge_is_listed_and_undone_by_decisions_on_its_pairs(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = lendloop(capsys, "events", "--json")
    assert [event["kind"] for event in json.loads(out)] == ["merge"]
    status, _, _ = lendloop(capsys, "undo", EVENT[:6], "--by", "Bo", "--because", "a sister")
    assert status == 0
    assert [(one.one, one.other, one.verdict) for one in read_decisions(home)] == [("crm:1", "crm:2", "different")]


def test_wrong_use_is_told_in_one_line_and_decides_nothing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    reason = ("--by", "Ada", "--because", "called")
    for arguments, said in (
        (("decide", "crm:1,crm:9", "same", *reason), "no record crm:9"),
        (("decide", "crm:1", "same", *reason), "no pair of records"),
        (("decide", "crm:1,crm:2", "perhaps", *reason), "unknown verdict"),
        (("decide", "crm:1,crm:2", "same", "--by", "Ada", "--because", " "), "--because"),
        (("undo", "fff", *reason), "0 events begin with"),
    ):
        status, _, err = lendloop(capsys, *arguments)
        assert status == 2
        assert said in err
        assert len(err.strip().splitlines()) == 1
    assert read_decisions(home) == []


def test_before_the_first_build_nothing_is_asked(
    tmp_path: Path, clean_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clean_environment.setenv("LENDLOOP_HOME", str(tmp_path / "new"))
    assert lendloop(capsys, "review", "--json")[:2] == (0, "[]\n")


def test_a_decision_makes_the_next_pass_build_and_is_in_raw_then(home: Home) -> None:
    settings = load_settings()
    clock = Clock(datetime(2026, 6, 30, 12, tzinfo=UTC))
    with duckdb.connect(str(home.warehouse)) as connection:
        before = _inputs(connection, settings, clock, None)
    decide(settings, "crm:1,crm:2", "same", by="Ada", because="called")
    decide(settings, "crm:2,crm:1", "open", by="Bo", because="unsure")
    with duckdb.connect(str(home.warehouse)) as connection:
        assert _inputs(connection, settings, clock, None) != before
        write_raw_decisions(connection, home)
        raw = connection.execute("select number, one, other, verdict from raw_identity.decision order by 1").fetchall()
    assert raw == [(1, "crm:1", "crm:2", "same"), (2, "crm:1", "crm:2", "open")]
