"""`lendloop doctor` on real stand-ins, a real PostgreSQL and real locks: it names what is wrong and changes nothing."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from activation.ops import open_ops
from ingestion.doctor import check_ledger
from ingestion.tables import LEDGER
from lendloop.doctor import Finding, run_checks, skew_of
from lendloop.passes import record_pass
from lendloop.publish import Catalog, PublishedTable, write_catalog
from lendloop.settings import Settings, load_settings
from orchestration.doctor import check_dagster, examine
from orchestration.instance import PID_TAG, open_instance
from sandbox.serve import Options, Running, running
from tests.lendloop.test_locks import hold
from tests.postgres import Server
from tests.sandbox.sandbox_fake_world import FakeWorld


@pytest.fixture
def lender(clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Running]:
    """Stand-ins, a ledger of empty tables, and settings that point at them all."""
    with sqlite3.connect(tmp_path / "ledger.sqlite") as ledger:
        for table in LEDGER:
            ledger.execute(f"create table {table.name} ({', '.join(table.columns)})")
    with running(Options(tmp_path / "sandbox"), FakeWorld()) as sandbox:
        for name, value in sandbox.settings.items():
            clean_environment.setenv(name, value)
        clean_environment.setenv("LENDLOOP_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.sqlite'}")
        clean_environment.setenv("LENDLOOP_SLACK_CHANNEL", "lendloop-alerts")
        yield sandbox


def said(findings: list[Finding], *states: str) -> dict[str, str]:
    """What was found by the checks that ended in one of the states, as one text a check."""
    found: dict[str, str] = {}
    for finding in findings:
        if finding.state in states:
            found[finding.check] = f"{found.get(finding.check, '')} {finding.found} {finding.advice}".strip()
    return found


def files_of(home: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in home.rglob("*") if path.is_file()}


def test_all_is_well_nothing_is_changed_sent_or_given_away(lender: Running) -> None:
    settings = load_settings()
    settings.home.prepare()
    open_ops(settings).dispose()
    record_pass(settings.home, datetime.now(UTC), 0)
    before = files_of(settings.home.root)
    findings = examine()
    assert said(findings, "failure") == {}
    assert set(said(findings, "ok")) >= {
        "settings", "home", "rights", "disk", "clock", "locks", "warehouse", "load state", "deliveries",
        "operational state", "passes", "ledger", "crm", "support", "costs", "survey", "blueshift", "slack", "mail",
        "dagster",
    }  # fmt: skip
    assert files_of(settings.home.root) == before
    arrived = lender.arrivals.everything()
    assert (arrived["slack"]["messages"], arrived["mail"]) == ([], [])
    text = repr(findings)
    for name in ("CRM_TOKEN", "SUPPORT_TOKEN", "BLUESHIFT_KEY", "SLACK_TOKEN"):
        assert lender.settings[f"LENDLOOP_{name}"] not in text


def test_wrong_credentials_are_each_named_and_never_shown(
    lender: Running, clean_environment: pytest.MonkeyPatch
) -> None:
    for name in ("CRM_TOKEN", "SUPPORT_TOKEN", "BLUESHIFT_KEY", "SLACK_TOKEN"):
        clean_environment.setenv(f"LENDLOOP_{name}", "wrong-and-secret")
    failed = said(findings := examine(), "failure")
    assert "LENDLOOP_CRM_TOKEN" in failed["crm"]
    assert "LENDLOOP_SUPPORT_TOKEN" in failed["support"]
    assert "LENDLOOP_BLUESHIFT_KEY" in failed["blueshift"]
    assert "invalid_auth" in failed["slack"]
    assert "wrong-and-secret" not in repr(findings)


def test_missing_scopes_and_a_channel_nobody_knows_are_named(
    lender: Running, clean_environment: pytest.MonkeyPatch
) -> None:
    refusal = {
        "category": "MISSING_SCOPES",
        "errors": [{"message": "lacks", "context": {"requiredGranularScopes": ["crm.objects.deals.read"]}}],
    }
    lender.add_fault(system="hubspot", kind="status", status=403, body=refusal, path="objects/deals")
    clean_environment.setenv("LENDLOOP_SLACK_CHANNEL", "#nowhere")
    failed = said(examine(), "failure")
    assert "crm.objects.deals.read" in failed["crm"]
    assert "objects/deals" in failed["crm"]
    assert "#nowhere" in failed["slack"]


def test_what_does_not_answer_is_named_within_the_bound(clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"
    for name, value in {
        "CRM_URL": nobody, "CRM_TOKEN": "x", "SUPPORT_URL": nobody, "SUPPORT_USER": "x", "SUPPORT_TOKEN": "x",
        "BLUESHIFT_URL": nobody, "BLUESHIFT_KEY": "x", "SLACK_URL": f"{nobody}/", "SLACK_TOKEN": "x",
        "SMTP_URL": "smtp://127.0.0.1:9", "LEDGER_URL": "postgresql://u:hush@127.0.0.1:9/x",
        "OPS_URL": "postgresql://u:hush@127.0.0.1:9/x", "AS_OF": "2026-06-30",
    }.items():  # fmt: skip
        clean_environment.setenv(f"LENDLOOP_{name}", value)
    failed = said(findings := examine(), "failure")
    assert set(failed) == {"crm", "support", "blueshift", "slack", "mail", "ledger", "operational state"}
    assert "hush" not in repr(findings)


def test_a_check_that_hangs_or_breaks_takes_no_other_along() -> None:
    never = threading.Event()

    def hang() -> list[Finding]:
        never.wait()
        return []

    def broken() -> list[Finding]:
        raise ZeroDivisionError("by zero")

    fine = Finding(check="fine", state="ok", found="well")
    findings = run_checks({"hangs": hang, "breaks": broken, "fine": lambda: [fine]}, timeout_s=0.3)
    assert [finding.state for finding in findings] == ["failure", "failure", "ok"]
    assert "no answer" in findings[0].found
    assert "by zero" in findings[1].found


def test_settings_are_checked_all_at_once_with_what_was_meant(clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("LENDLOOP_ENV", "staging")
    clean_environment.setenv("LENDLOOP_LAG_MINUTES", "an hour")
    clean_environment.setenv("LENDLOOP_SLACK_CHANEL", "x")
    findings = examine()
    assert "LENDLOOP_ENV" in said(findings, "failure")["settings"]
    assert "LENDLOOP_LAG_MINUTES" in said(findings, "failure")["settings"]
    assert "did you mean LENDLOOP_SLACK_CHANNEL?" in said(findings, "warning")["settings"]

    clean_environment.setenv("LENDLOOP_ENV", "prod")
    clean_environment.delenv("LENDLOOP_LAG_MINUTES")
    assert "LENDLOOP_HASH_KEY" in said(examine(), "failure")["settings"]


def test_the_state_of_the_home_is_looked_through(clean_environment: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    home, now = settings.home.prepare(), datetime.now(UTC)
    home.delivery.chmod(0o755)
    (home.delivery / "drop.duckdb").write_bytes(b"no database")
    table = PublishedTable(group="g", rows=1, files=["trusted/t/gone.parquet"], published_as_of=now, version=1)
    write_catalog(home, Catalog(version=1, tables={"trusted.t": table}))
    record_pass(home, now, 0, finished_at=now - timedelta(hours=30))
    (home.root / "status.json").touch()
    failed = said(examine(), "failure")
    assert "delivery (0755)" in failed["rights"]
    assert "drop.duckdb" in failed["deliveries"]
    assert "gone.parquet" in failed["published"]
    assert "30 hours" in failed["passes"]
    home.unfinished_restore.write_text("/backup")
    assert "restore" in said(examine(), "failure")["home"]


def test_a_run_whose_process_is_gone_is_named(clean_environment: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with open_instance(settings) as instance:
        status, tags = dg.DagsterRunStatus.STARTED, {PID_TAG: str(process.pid)}
        instance.add_run(dg.DagsterRun("main", run_id="a-run", status=status, tags=tags))
    [finding] = check_dagster(settings)
    assert finding.state == "warning"
    assert f"its process {process.pid} is gone" in finding.found


def test_holders_of_locks_are_named_and_waited_for_by_nobody(clean_environment: pytest.MonkeyPatch) -> None:
    home = load_settings().home.prepare()
    home.warehouse.write_bytes(b"")
    process = hold(home.locks / "warehouse.lock")
    try:
        found = said(examine(), "ok")
        assert f"process {process.pid} (loading crm" in found["locks"]
        assert f"in use by process {process.pid}" in found["warehouse"]
    finally:
        process.kill()
        process.wait()
    assert said(examine(), "ok")["locks"] == "none is held"


def test_a_lock_that_outlives_its_process_is_a_failure(clean_environment: pytest.MonkeyPatch) -> None:
    """A child got the open file of a holder that was killed."""
    home = load_settings().home.prepare()
    path = home.locks / "warehouse.lock"
    parent = hold(path)
    keeper_code = (
        "import fcntl,sys,time;f=open(sys.argv[1]);fcntl.flock(f,fcntl.LOCK_EX);print('held',flush=True);time.sleep(60)"
    )
    left = path.read_text()
    parent.kill()
    parent.wait()
    keeper = subprocess.Popen([sys.executable, "-c", keeper_code, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "held\n"
        path.write_text(left)
        assert f"process {parent.pid}" in said(examine(), "failure")["locks"]
    finally:
        keeper.kill()
        keeper.wait()


@pytest.mark.parametrize(("skew_s", "states"), [(59, []), (-61, ["warning"]), (601, ["failure"]), (None, [])])
def test_a_clock_that_is_off_is_said_with_its_direction(skew_s: float | None, states: list[str]) -> None:
    findings = skew_of("the vendor", skew_s)
    assert [finding.state for finding in findings] == states
    assert all(("ahead of" if skew_s and skew_s > 0 else "behind") in finding.found for finding in findings)


def test_rights_on_a_ledger_are_told_from_what_the_database_says(postgres_server: Server, tmp_path: Path) -> None:
    url = sa.make_url(postgres_server.create("rights"))
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for table in LEDGER:
            if table.name != "m_office":
                connection.execute(sa.text(f"create table {table.name} (id bigint)"))
        connection.execute(sa.text("create role reader login"))
        connection.execute(sa.text("grant select on all tables in schema public to reader"))
        connection.execute(sa.text("revoke select on m_loan_transaction from reader"))

    def found(user: str) -> list[Finding]:
        address = url.set(username=user).render_as_string(hide_password=False)
        return check_ledger(settings_of(tmp_path, address))

    try:
        assert "could write" in said(found("postgres"), "warning")["ledger"]
        findings = found("reader")
        assert "may not read m_loan_transaction" in said(findings, "failure")["ledger"]
        assert "m_office" in said(findings, "warning")["ledger"]
        assert "read only" in said(findings, "ok")["ledger"]
    finally:
        engine.dispose()
        postgres_server.drop("rights")
        with sa.create_engine(postgres_server.url(), isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(sa.text("drop role reader"))


def settings_of(home: Path, ledger_url: str) -> Settings:
    return load_settings(_env_file=None, LENDLOOP_HOME=home, ledger_url=ledger_url)


def test_operational_state_is_looked_at_without_being_made_or_migrated(clean_environment: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    home = settings.home.prepare()
    assert said(examine(), "ok")["operational state"] == "not there yet"
    assert not home.ops_sqlite.exists()
    open_ops(settings).dispose()
    with sqlite3.connect(home.ops_sqlite) as database:
        database.execute("update ops_version set version_num = '9999'")
    database.close()
    assert "9999" in said(examine(), "failure")["operational state"]
    assert os.access(home.ops_sqlite, os.R_OK)
