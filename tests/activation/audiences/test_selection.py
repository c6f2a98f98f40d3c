"""Who may be written to: through whole passes, as the files of the drop show it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from activation.audiences import Audience, SyncReport, sync_audience
from activation.audiences.definition import HoldOut
from activation.audiences.selection import _GROUPS_OF_SOURCE, REASON_ORDER
from activation.audiences.store import store_path
from lendloop.settings import SOURCES
from lendloop.source_status import SourceStatus
from tests.activation.audiences.lender import PublishedLender

Sync = Callable[[str], SyncReport]


@pytest.fixture
def sync(lender: PublishedLender, audiences: dict[str, Audience]) -> Sync:
    def run(name: str) -> SyncReport:
        lender.publish()
        return sync_audience(audiences[name], settings=lender.settings, clock=lender.clock, source_status=lender.status)

    return run


def exported(lender: PublishedLender, audience: str) -> dict[str, dict[str, Any]]:
    folder = lender.home / "exports" / audience
    rows = [json.loads(line) for line in (folder / f"{audience}.jsonl").read_text().splitlines()]
    with open(folder / f"{audience}.csv", encoding="utf-8", newline="") as file:
        assert [row["person_key"] for row in csv.DictReader(file)] == [row["person_key"] for row in rows]
    return {row["person_key"]: row for row in rows}


def reasons(lender: PublishedLender, audience: str) -> dict[str, list[str]]:
    with duckdb.connect(str(store_path(lender.settings.home, audience)), read_only=True) as connection:
        return dict(connection.execute("select person_key, reasons from decision where len(reasons) > 0").fetchall())


def without_holdout(audience: Audience) -> Audience:
    copy = audience.model_copy(update={"holdout": None})
    copy._query = audience.query
    return copy


def test_each_reason_holds_its_person_back_and_the_first_is_counted(lender: PublishedLender, sync: Sync) -> None:
    for name in ("fine", "silent", "refuses", "opted", "dead", "fraud", "disputes", "complains", "twice", "weak"):
        lender.approved(lender.person(name))
    lender.drop("contacts.customer_contact", person_key="silent")
    lender.drop("trusted.dim_contact_permission", person_key="silent")
    lender.drop("trusted.dim_contact_permission", person_key="refuses")
    for name, reason in (("opted", "opt_out"), ("dead", "deceased"), ("fraud", "fraud"), ("disputes", "dispute")):
        lender.add("trusted.fct_suppression", person_key=name, reason=reason)
    lender.add("trusted.fct_suppression", person_key="twice", reason="dispute")
    lender.add("trusted.fct_suppression", person_key="twice", reason="opt_out")
    lender.add("trusted.fct_ticket_suppression", person_key="complains", reason="complaint")
    for link in lender.rows["trusted.map_customer_source"]:
        if link["person_key"] == "weak":
            link["probability"] = Decimal("0.94")
    report = sync("approved_not_accepted")
    assert report.held_back == {
        "no_contact_point": 1, "no_consent": 1, "opt_out": 2, "deceased": 1, "fraud": 1, "dispute": 1, "no_sure_link": 1,
    }  # fmt: skip
    assert set(exported(lender, "approved_not_accepted")) == {"fine", "complains"}, (
        "a complaint excludes from recovery only"
    )
    assert report.candidates == report.desired + sum(report.held_back.values()) == 10
    why = reasons(lender, "approved_not_accepted")
    assert why["silent"] == ["no_contact_point", "no_consent"]
    assert why["twice"] == ["opt_out", "dispute"]


def test_a_complaint_a_dispute_and_a_death_exclude_from_recovery(
    lender: PublishedLender, audiences: dict[str, Audience]
) -> None:
    for name in ("fine", "disputes", "complains", "dead"):
        lender.written_off(lender.person(name))
    lender.add("trusted.fct_ticket_suppression", person_key="disputes", reason="dispute")
    lender.add("trusted.fct_ticket_suppression", person_key="complains", reason="complaint")
    lender.add("trusted.fct_suppression", person_key="dead", reason="deceased")
    lender.publish()
    report = sync_audience(
        without_holdout(audiences["recovery"]),
        settings=lender.settings,
        clock=lender.clock,
        source_status=lender.status,
    )
    assert report.held_back == {"dispute": 1, "complaint": 1, "deceased": 1}
    assert set(exported(lender, "recovery")) == {"fine"}


def test_with_no_crm_no_support_and_no_addresses_everyone_is_held_back_for_want_of_a_contact_point(
    lender: PublishedLender, sync: Sync
) -> None:
    for number in range(31):
        lender.written_off(f"p{number}")
    lender.status["crm"].configured = lender.status["support"].configured = False
    report = sync("recovery")
    assert (report.candidates, report.desired, report.held_back) == (31, 0, {"no_contact_point": 31})
    assert report.outcome == "unchanged"
    assert report.requests == 0
    assert report.errors == []
    assert not (lender.home / "exports" / "recovery").exists()
    assert sync("approved_not_accepted").outcome == "skipped"


@pytest.mark.parametrize(
    "tables", [["trusted.fct_ticket_suppression"], ["trusted.fct_suppression", "trusted.dim_contact_permission"]]
)
def test_an_exclusion_that_is_not_published_holds_everyone_back(
    lender: PublishedLender, sync: Sync, tables: list[str]
) -> None:
    lender.written_off(lender.person("p"))
    lender.absent.update(tables)
    report = sync("recovery")
    assert report.desired == 0
    assert set(report.held_back) <= {"support_absent", "no_consent", "crm_absent"}


def test_a_stale_exclusion_source_adds_nobody_keeps_members_and_still_lets_withdrawals_out(
    lender: PublishedLender, sync: Sync
) -> None:
    for name in ("stays", "withdraws"):
        lender.approved(lender.person(name))
    assert sync("approved_not_accepted").added == 2
    lender.move_on(2)
    lender.status["support"].succeeded_as_of = lender.as_of - timedelta(hours=37)
    lender.approved(lender.person("newcomer"))
    for permission in lender.rows["trusted.dim_contact_permission"]:
        permission["is_permitted"] = permission["person_key"] != "withdraws"
    report = sync("approved_not_accepted")
    assert report.held_back == {"no_consent": 1, "support_stale": 2}
    assert (report.desired, report.added, report.removed) == (0, 0, 1)
    assert report.destinations["drop"].kept == 1
    assert set(exported(lender, "approved_not_accepted")) == {"stays"}
    lender.move_on(0.1)
    assert sync("approved_not_accepted").added == 1


def test_files_that_could_not_be_read_add_nobody_where_files_are_read_at_all(
    lender: PublishedLender, sync: Sync
) -> None:
    lender.approved(lender.person("p"))
    lender.status["survey"] = SourceStatus(source="survey")
    assert sync("approved_not_accepted").desired == 1
    lender.status["survey"] = SourceStatus(source="survey", configured=True)
    assert sync("approved_not_accepted").held_back == {"survey_absent": 1}
    earlier = lender.as_of - timedelta(hours=37)
    lender.status["survey"] = SourceStatus(source="survey", configured=True, succeeded_as_of=earlier)
    assert sync("approved_not_accepted").held_back == {"survey_stale": 1}
    lender.status["survey"] = SourceStatus(source="survey", configured=True, succeeded_as_of=lender.as_of)
    assert sync("approved_not_accepted").desired == 1


def test_every_source_that_an_audience_may_require_can_hold_people_back() -> None:
    assert {f"{source}_{state}" for source in SOURCES for state in ("absent", "stale")} <= set(REASON_ORDER)
    assert set(_GROUPS_OF_SOURCE) == set(SOURCES)


def test_a_group_whose_audit_failed_is_as_old_as_what_readers_see_of_it(lender: PublishedLender, sync: Sync) -> None:
    lender.approved(lender.person("p"))
    lender.groups = {"support": ("stale", lender.as_of - timedelta(hours=30)), "portfolio": ("fresh", None)}
    assert sync("approved_not_accepted").desired == 1
    lender.groups["support"] = ("stale", lender.as_of - timedelta(hours=40))
    assert sync("approved_not_accepted").held_back == {"support_stale": 1}
    lender.groups = {"customer": ("absent", None)}
    assert sync("approved_not_accepted").outcome == "skipped"


def test_a_stale_ledger_stops_the_plan_by_name(lender: PublishedLender, sync: Sync) -> None:
    lender.written_off(lender.person("p"))
    lender.status["ledger"].succeeded_as_of = lender.as_of - timedelta(hours=37)
    report = sync("recovery")
    assert report.outcome == "blocked"
    assert "stale_source: ledger" in report.errors[0]


def test_a_withdrawn_consent_and_an_erased_person_become_removals(lender: PublishedLender, sync: Sync) -> None:
    for name in ("a", "b", "c"):
        lender.approved(lender.person(name))
    sync("approved_not_accepted")
    lender.rows["trusted.dim_contact_permission"][0]["is_permitted"] = False
    for table in (
        "trusted.fct_application",
        "trusted.map_customer_source",
        "contacts.customer_contact",
        "contacts.customer_profile",
    ):
        lender.drop(table, person_key="b")
    report = sync("approved_not_accepted")
    assert (report.removed, report.desired) == (2, 1)
    assert set(exported(lender, "approved_not_accepted")) == {"c"}


def test_the_hold_out_is_a_steady_share_that_another_salt_draws_anew(
    lender: PublishedLender, audiences: dict[str, Audience], sync: Sync
) -> None:
    for number in range(400):
        lender.written_off(lender.person(f"p{number}"))
    report = sync("recovery")
    assert 40 <= report.held_back["hold_out"] <= 80
    held = {key for key, why in reasons(lender, "recovery").items() if why == ["hold_out"]}
    lender.move_on()
    lender.overrides["hash_key"] = "another key"
    lender.written_off(lender.person("newcomer"))
    assert sync("recovery").removed == 0, "nobody changes sides, even under another key"
    assert (
        held <= {key for key, why in reasons(lender, "recovery").items() if why == ["hold_out"]} <= held | {"newcomer"}
    )
    salted = audiences["recovery"].model_copy(
        update={"version": 2, "holdout": HoldOut(share=Decimal("0.15"), salt="anew")}
    )
    salted._query = audiences["recovery"].query
    lender.overrides["hash_key"] = "test-key"
    sync_audience(salted, settings=lender.settings, clock=lender.clock, source_status=lender.status)
    drawn = {key for key, why in reasons(lender, "recovery").items() if why == ["hold_out"]}
    assert drawn
    assert drawn != held


def test_who_is_held_out_stays_so_when_somebody_behind_the_same_phone_was_reached(
    lender: PublishedLender, sync: Sync
) -> None:
    for number in range(400):
        lender.written_off(lender.person(f"p{number}"))
    for number in range(0, 400, 2):
        shared = next(row for row in lender.rows["contacts.customer_contact"] if row["person_key"] == f"p{number}")
        other = next(row for row in lender.rows["contacts.customer_contact"] if row["person_key"] == f"p{number + 1}")
        other |= {"address": shared["address"], "address_hash": shared["address_hash"]}
    first = sync("recovery")
    assert first.held_back["hold_out"] > 20
    lender.add("trusted.fct_suppression", person_key="nobody", reason="opt_out")
    assert sync("recovery").held_back == first.held_back


def test_a_quote_is_frozen_while_it_is_valid_and_offered_once_in_a_lifetime(
    lender: PublishedLender, audiences: dict[str, Audience]
) -> None:
    recovery = without_holdout(audiences["recovery"])

    def sync_recovery() -> SyncReport:
        lender.publish()
        return sync_audience(recovery, settings=lender.settings, clock=lender.clock, source_status=lender.status)

    lender.written_off(lender.person("p"), owed="1000.55")
    lender.written_off(lender.person("x", market="CI"), owed="1001", market="CI", currency="XOF")
    sync_recovery()
    quote = exported(lender, "recovery")["p"]
    assert (quote["offer_amount"], quote["offer_currency"], quote["offer_expires_on"]) == (
        "600.33",
        "NGN",
        "2026-07-30",
    )
    assert exported(lender, "recovery")["x"]["offer_amount"].split(".")[0] == "601"

    lender.move_on(10)
    lender.rows["trusted.fct_loan"][0]["principal_written_off"] = Decimal(500)
    assert sync_recovery().outcome == "unchanged"
    assert exported(lender, "recovery")["p"] == quote

    lender.move_on(21)
    report = sync_recovery()
    assert (report.removed, report.held_back) == (2, {"once": 2})
    lender.move_on(400)
    assert sync_recovery().held_back == {"once": 2}

    lender.drop("contacts.customer_contact", person_key="q")
    lender.written_off(lender.person("q"))
    address = lender.rows["contacts.customer_contact"][0]
    lender.rows["contacts.customer_contact"][-1] |= {
        "address": address["address"],
        "address_hash": address["address_hash"],
    }
    assert sync_recovery().held_back == {"once": 3}, "another person behind the same phone is not offered it again"


def test_one_loan_is_chosen_for_a_person_with_several(lender: PublishedLender, sync: Sync) -> None:
    for number, owed in enumerate(("100", "900", "500")):
        lender.written_off("p", owed=owed, loan_id=number + 1)
    assert sync("recovery").candidates == 1


def test_approved_counts_business_days_of_the_market_from_1_to_30(lender: PublishedLender, sync: Sync) -> None:
    for name, days in (("today", 0), ("yesterday", 1), ("edge", 30), ("over", 31)):
        lender.approved(lender.person(name), days_ago=days)
    lender.approved(lender.person("accepted"), accepted_at=lender.as_of)
    sync("approved_not_accepted")
    assert set(exported(lender, "approved_not_accepted")) == {"yesterday", "edge"}


def test_dormant_are_those_who_closed_30_days_ago_paid_in_time_and_did_not_come_back(
    lender: PublishedLender, sync: Sync
) -> None:
    def closed(name: str, days_ago: int = 30, days_late: int = 0, **more: Any) -> None:
        number = len(lender.rows["trusted.fct_loan"]) + 1
        day = lender.as_of.date() - timedelta(days=days_ago)
        loan = {
            "loan_id": number, "person_key": name, "market": "NG", "currency": "NGN", "loan_status": "closed",
            "principal_disbursed": Decimal(100), "principal_written_off": Decimal(0), "submitted_on": day - timedelta(days=30),
            "closed_on": day,
        }  # fmt: skip
        lender.add("trusted.fct_loan", **{**loan, **more})
        lender.add("trusted.fct_installment", loan_id=number, days_late=days_late)

    for name in ("good", "fresh", "late", "active", "lost", "applied"):
        lender.person(name)
    closed("good", days_late=5)
    closed("fresh", days_ago=29)
    closed("late", days_late=6)
    closed("active", days_ago=90)
    closed("active", status="active", closed_on=None, submitted_on=lender.as_of.date() - timedelta(days=10))
    closed("lost", days_ago=90)
    closed("lost", days_ago=200, status="written_off", written_off_on=lender.as_of.date() - timedelta(days=200))
    closed("applied")
    lender.approved("applied", days_ago=3)
    report = sync("dormant_good")
    assert report.candidates == 1
    assert set(exported(lender, "dormant_good")) == {"good"}
