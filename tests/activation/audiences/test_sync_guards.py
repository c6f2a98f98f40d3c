"""Guard rails, re-runs, and what is written down about a pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from activation.audiences import Audience, SyncReport, audience_status, sync_audience
from activation.audiences import sync as sync_module
from activation.audiences.ledger import Ledger, ledger_path
from activation.audiences.planner import PlanCounts
from activation.audiences.store import store_path
from lendloop.errors import LockTimeoutError
from lendloop.formats import write_json
from lendloop.locks import file_lock
from lendloop.standing import Demotion, Standing, standing_file
from tests.activation.audiences.lender import PublishedLender
from tests.postgres import ON_BOTH

NAME = "approved_not_accepted"


@pytest.fixture
def audience(audiences: dict[str, Audience]) -> Audience:
    return audiences[NAME]


def run(lender: PublishedLender, audience: Audience, publish: bool = True) -> SyncReport:
    if publish:
        lender.publish()
    return sync_audience(audience, settings=lender.settings, clock=lender.clock, source_status=lender.status)


def files(lender: PublishedLender) -> dict[str, tuple[int, int]]:
    found = [path for path in (lender.home / "exports").rglob("*") if path.is_file()]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def crowd(lender: PublishedLender, size: int) -> None:
    for number in range(size):
        lender.approved(lender.person(f"p{number:03}"))


def test_a_second_pass_with_no_change_writes_no_file(lender: PublishedLender, audience: Audience) -> None:
    crowd(lender, 5)
    assert run(lender, audience).outcome == "done"
    before = files(lender)
    report = run(lender, audience)
    assert (report.outcome, report.added, report.confirmed) == ("unchanged", 0, 0)
    assert files(lender) == before


def test_files_are_private_named_in_the_manifest_and_written_again_when_gone(
    lender: PublishedLender, audience: Audience
) -> None:
    crowd(lender, 3)
    run(lender, audience)
    folder = lender.home / "exports" / NAME
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["rows"] == 3
    assert set(manifest["files"]) == {f"{NAME}.csv", f"{NAME}.jsonl"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (lender.home / "delivery").glob("*.duckdb")} == {0o600}
    (folder / f"{NAME}.csv").unlink()
    run(lender, audience)
    assert (folder / f"{NAME}.csv").exists()


def test_only_what_changed_is_delivered_and_each_row_keeps_the_proof_it_was_sent_with(
    lender: PublishedLender, audience: Audience
) -> None:
    crowd(lender, 3)
    run(lender, audience)
    lender.rows["trusted.fct_application"][0]["approved_amount"] = 300
    lender.approved(lender.person("new"))
    report = run(lender, audience)
    assert (report.added, report.changed, report.removed) == (1, 1, 0)
    lines = (lender.home / "exports" / NAME / f"{NAME}.jsonl").read_text().splitlines()
    rows = {row["person_key"]: row for row in map(json.loads, lines)}
    assert {key: row["snapshot"] for key, row in rows.items()} == {
        "new": "v2",
        "p000": "v2",
        "p001": "v1",
        "p002": "v1",
    }
    assert rows["p000"]["send_id"] == rows["new"]["send_id"] != rows["p001"]["send_id"]
    assert rows["p001"]["consent_basis"] == "crm:sms_consent"


@pytest.mark.parametrize("version", [1, 2])
def test_sending_everybody_again_needs_a_new_version(lender: PublishedLender, audience: Audience, version: int) -> None:
    crowd(lender, 20)
    run(lender, audience)
    for application in lender.rows["trusted.fct_application"]:
        application["approved_amount"] = 999
    changed = audience.model_copy(update={"version": version})
    changed._query = audience.query
    report = run(lender, changed)
    assert report.outcome == ("blocked" if version == 1 else "done")
    assert (version == 1) == any("unexpected_full_sync" in error for error in report.errors)


def test_a_mass_removal_is_blocked_and_nothing_moves(lender: PublishedLender, audience: Audience) -> None:
    crowd(lender, 40)
    run(lender, audience)
    before = files(lender)
    del lender.rows["trusted.fct_application"][10:]
    report = run(lender, audience)
    assert report.outcome == "blocked"
    assert "drop: too_many_removals: 30 of 40" in report.errors[0]
    assert (report.removed, report.requests) == (0, 0)
    assert files(lender) == before


def exported(lender: PublishedLender) -> set[str]:
    lines = (lender.home / "exports" / NAME / f"{NAME}.jsonl").read_text().splitlines()
    return {json.loads(line)["person_key"] for line in lines}


def lose_candidates(lender: PublishedLender) -> None:
    lender.rows["trusted.fct_application"] = []


def lose_table(lender: PublishedLender) -> None:
    lender.absent = {"trusted.fct_application"}


def demote(lender: PublishedLender) -> None:
    demoted = {"trusted.dim_contact_permission": Demotion(since=lender.as_of, reason="it broke its promise")}
    write_json(standing_file(lender.settings.home), Standing(demoted=demoted))


def let_crm_age(lender: PublishedLender) -> None:
    lender.status["crm"].succeeded_as_of = lender.as_of - timedelta(days=9)


def forget_crm(lender: PublishedLender) -> None:
    lender.status["crm"].configured = False


@pytest.mark.parametrize(
    ("trouble", "outcome"),
    [
        (lose_candidates, "blocked"),
        (lose_table, "blocked"),
        (demote, "blocked"),
        (let_crm_age, "blocked"),
        (forget_crm, "skipped"),
    ],
)
def test_whoever_said_no_leaves_whatever_stops_the_rest(
    lender: PublishedLender, audience: Audience, trouble: Callable[[PublishedLender], None], outcome: str
) -> None:
    crowd(lender, 30)
    run(lender, audience)
    trouble(lender)
    lender.rows["trusted.dim_contact_permission"][0]["is_permitted"] = False
    lender.add("trusted.fct_suppression", person_key="p001", reason="opt_out")
    lender.add("trusted.fct_suppression", person_key="p002", reason="not a reason that the audience excludes")
    lender.add("trusted.fct_ticket_suppression", person_key="p003", reason="dispute")
    report = run(lender, audience)
    assert (report.outcome, report.added, report.removed) == (outcome, 0, 3)
    assert exported(lender) == {f"p{number:03}" for number in range(30)} - {"p000", "p001", "p003"}
    before = files(lender)
    assert (run(lender, audience, publish=False).removed, files(lender)) == (0, before)


def test_a_no_reaches_who_was_merged_meanwhile(lender: PublishedLender, audience: Audience) -> None:
    crowd(lender, 30)
    run(lender, audience)
    lose_candidates(lender)
    for link in lender.rows["trusted.map_customer_source"]:
        if link["person_key"] == "p000":
            link["valid_to"] = lender.as_of
    lender.add("trusted.map_customer_source", person_key="other", source="crm", source_id="c-p000", probability=1)
    lender.add("trusted.fct_suppression", person_key="other", reason="opt_out")
    assert run(lender, audience).removed == 1
    assert "p000" not in exported(lender)


def test_an_empty_source_is_blocked_but_everyone_opting_out_is_not(lender: PublishedLender, audience: Audience) -> None:
    crowd(lender, 30)
    run(lender, audience)
    applications = lender.rows["trusted.fct_application"]
    lender.rows["trusted.fct_application"] = []
    assert "empty_source" in run(lender, audience).errors[0]
    lender.rows["trusted.fct_application"] = applications
    for number in range(30):
        lender.add("trusted.fct_suppression", person_key=f"p{number:03}", reason="opt_out")
    assert run(lender, audience).removed == 30


def test_rows_that_repeat_a_key_stop_the_plan(lender: PublishedLender, audience: Audience, tmp_path: Path) -> None:
    from activation.sqlguard import guard_sql

    crowd(lender, 2)
    run(lender, audience)
    doubled = audience.model_copy(update={})
    columns = ", ".join(audience.query.columns)
    once = f"select {columns} from ({audience.sql})"
    doubled._query = guard_sql(f"{once} union all {once}", "doubled")
    assert "duplicate_keys: 2 rows repeat" in run(lender, doubled).errors[0]


def test_a_consent_withdrawn_after_planning_is_not_sent(
    lender: PublishedLender, audience: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(lender, 5)
    lender.publish()
    plan = Ledger.plan
    plans = 0

    def plan_and_then_someone_withdraws(self: Ledger, **arguments: object) -> PlanCounts:
        nonlocal plans
        plans += 1
        counts = plan(self, **arguments)  # type: ignore[arg-type]
        if plans == 1:
            lender.rows["trusted.dim_contact_permission"][2]["is_permitted"] = False
            lender.publish()
        return counts

    monkeypatch.setattr(Ledger, "plan", plan_and_then_someone_withdraws)
    report = run(lender, audience, publish=False)
    assert plans == 2
    assert (report.added, report.held_back, report.snapshot) == (4, {"no_consent": 1}, "v2")


@ON_BOTH
def test_the_last_pass_of_each_audience_is_told_without_a_network(
    lender: PublishedLender, audiences: dict[str, Audience]
) -> None:
    crowd(lender, 4)
    run(lender, audiences[NAME])
    status = {row["audience"]: row for row in audience_status(lender.settings, audiences.values())}
    assert status["recovery"]["outcome"] == "never"
    assert (status[NAME]["outcome"], status[NAME]["desired"], status[NAME]["added"]) == ("done", 4, 4)
    assert status[NAME]["destinations"]["blueshift"]["outcome"] == "not_configured"


def test_another_process_on_the_same_audience_is_named_instead_of_waited_for_without_end(
    lender: PublishedLender, audience: Audience
) -> None:
    crowd(lender, 1)
    lender.overrides["lock_timeout_s"] = 0.2
    with file_lock(lender.home / "delivery" / f"audience_{NAME}.lock", "a test", 1):
        report = run(lender, audience)
    assert report.outcome == "failed"
    assert "a test" in report.errors[0]
    assert issubclass(LockTimeoutError, Exception)


def test_before_any_publication_the_report_says_what_to_do(lender: PublishedLender, audience: Audience) -> None:
    report = run(lender, audience, publish=False)
    assert report.outcome == "failed"
    assert "nothing is published yet" in report.errors[0]


def test_contacts_of_another_publication_are_not_written_to(lender: PublishedLender, audience: Audience) -> None:
    crowd(lender, 2)
    lender.publish()
    with duckdb.connect(str(lender.home / "contacts.duckdb")) as connection:
        connection.execute("update publication.version set version = version + 1")
    report = run(lender, audience, publish=False)
    assert (report.outcome, report.desired) == ("failed", 0)
    assert "of two publications" in report.errors[0]
    assert run(lender, audience).outcome == "done"


def test_nothing_personal_is_in_the_report_or_the_audience_file_beyond_payloads(
    lender: PublishedLender, audience: Audience
) -> None:
    crowd(lender, 2)
    report = run(lender, audience)
    assert "+234" not in report.model_dump_json()
    with duckdb.connect(str(store_path(lender.settings.home, NAME)), read_only=True) as connection:
        assert connection.execute("select count(*) from decision").fetchone() == (2,)
    assert ledger_path(lender.settings.home, "drop").exists()
    assert sync_module.REPLANS > 1
