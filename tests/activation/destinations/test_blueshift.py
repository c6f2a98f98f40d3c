from __future__ import annotations

import httpx
import pytest

from activation.audiences import Audience, failed_without_a_file, let_go_of_undefined
from activation.destinations.blueshift import CONTRACT
from tests.activation.destinations.conftest import Marketing


def test_profiles_and_membership_arrive_within_the_contract(marketing: Marketing) -> None:
    marketing.crowd(120)
    report = marketing.sync()
    part = report.destinations["blueshift"]
    assert (part.outcome, part.added, part.accepted, part.confirmed, part.remote_count) == ("done", 120, 120, 0, 120)
    assert marketing.members() == [f"p{number:04}" for number in range(120)]
    assert marketing.profiles()["p0003"]["phone_number"].startswith("+234")
    assert marketing.profiles()["p0003"]["approved_amount"] == "250.00"
    bulk = [call["body"]["customers"] for call in marketing.calls() if call["path"].endswith("/bulk")]
    lists = [call["body"]["identifier_values"] for call in marketing.calls() if "bulk_add" in call["path"]]
    assert max(map(len, bulk)) <= 50
    assert max(map(len, lists)) <= 25
    assert part.requests == len(marketing.calls())


def test_a_rerun_without_change_makes_no_request(marketing: Marketing) -> None:
    marketing.crowd(3)
    marketing.sync()
    before = len(marketing.calls())
    report = marketing.sync()
    assert (report.outcome, report.requests) == ("unchanged", 0)
    assert len(marketing.calls()) == before


def test_only_changes_are_sent_and_who_is_no_longer_desired_leaves_the_list(marketing: Marketing) -> None:
    marketing.people("stays", "changes", "leaves")
    marketing.sync()
    before = len(marketing.calls())
    marketing.lender.rows["trusted.fct_application"][1]["approved_amount"] = 999
    marketing.lender.drop("trusted.fct_application", person_key="leaves")
    report = marketing.sync()
    assert (report.added, report.changed, report.removed) == (0, 1, 1)
    assert marketing.members() == ["changes", "stays"]
    assert marketing.profiles()["changes"]["approved_amount"] == "999.00"
    bodies = [call.get("body") for call in marketing.calls()[before:]]
    assert {"identifier_key": "customer_id", "identifier_values": ["leaves"]} in bodies
    assert not any("bulk_add" in call["path"] for call in marketing.calls()[before:])


def test_the_list_has_a_neutral_name_and_is_made_once_even_when_the_answer_was_lost(marketing: Marketing) -> None:
    marketing.people("p")
    marketing.sandbox.add_fault(system="blueshift", kind="cut", path="/create", count=1, after_effect=True)
    assert marketing.sync().outcome == "done"
    assert [(one["name"], one["source"]) for one in marketing.lists()] == [("ll_a_003", "customer_id")]


def test_a_partial_failure_inside_a_200_is_taken_row_by_row_and_tried_again_after_a_day(marketing: Marketing) -> None:
    marketing.crowd(40)
    marketing.sandbox.add_fault(system="blueshift", kind="partial", share=0.25, path="customers/bulk", count=1)
    report = marketing.sync()
    part = report.destinations["blueshift"]
    assert (part.outcome, part.accepted, part.rejected, part.unknown) == ("partial", 30, 10, 0)
    assert len(marketing.members()) == 30
    assert "10 rows not delivered" in report.errors[0]
    again = marketing.sync().destinations["blueshift"]
    assert (again.outcome, again.refused, again.requests) == ("unchanged", 10, 0)
    marketing.lender.move_on(1.1)
    assert marketing.sync().destinations["blueshift"].added == 10
    assert len(marketing.members()) == 40


def test_rows_refused_by_the_list_alone_are_rejected_and_not_counted_as_members(marketing: Marketing) -> None:
    marketing.crowd(20)
    marketing.sandbox.add_fault(system="blueshift", kind="partial", share=0.1, path="bulk_add", count=1)
    part = marketing.sync().destinations["blueshift"]
    assert (part.accepted, part.rejected, part.remote_count, part.members) == (18, 2, 18, 18)


@pytest.mark.parametrize("status", sorted(CONTRACT.retry_statuses))
def test_what_may_pass_is_tried_again_with_growing_waits(marketing: Marketing, status: int) -> None:
    marketing.people("p")
    marketing.sandbox.add_fault(system="blueshift", kind="status", status=status, path="customers/bulk", count=3)
    assert marketing.sync().outcome == "done"
    assert [wait for wait in marketing.slept if wait >= 1] == [1.0, 2.0, 4.0]


def test_a_limit_that_does_not_lift_leaves_the_rows_for_the_next_pass(marketing: Marketing) -> None:
    marketing.crowd(10)
    marketing.sandbox.add_fault(system="blueshift", kind="status", status=429, path="customers/bulk", count=5)
    report = marketing.sync()
    part = report.destinations["blueshift"]
    assert (part.outcome, part.accepted, part.unknown, part.unsent) == ("failed", 0, 0, 10)
    assert marketing.sync().destinations["blueshift"].accepted == 10


def test_a_refused_key_is_named_and_nothing_counts_as_sent(marketing: Marketing) -> None:
    marketing.people("p")
    marketing.lender.overrides["blueshift_key"] = "wrong"
    report = marketing.sync()
    assert report.destinations["blueshift"].outcome == "failed"
    assert "LENDLOOP_BLUESHIFT_KEY" in report.errors[0]
    assert report.destinations["drop"].outcome == "done", "the other destination goes on"


def test_a_list_deleted_at_the_vendor_is_made_again_with_everyone_in_it(marketing: Marketing) -> None:
    marketing.crowd(30)
    marketing.sync()
    delete_list(marketing)
    marketing.people("newcomer")
    part = marketing.sync().destinations["blueshift"]
    assert part.outcome == "done"
    assert [event.split(":")[0] for event in part.events] == ["list_deleted", "list_recreated"]
    assert len(marketing.members()) == 31


def test_a_list_that_is_not_found_once_and_is_there_loses_nobody(marketing: Marketing) -> None:
    marketing.crowd(5)
    marketing.sync()
    marketing.lender.add("trusted.fct_suppression", person_key="p0003", reason="opt_out")
    marketing.sandbox.add_fault(system="blueshift", path="bulk_remove", kind="status", status=404, count=1)
    part = marketing.sync().destinations["blueshift"]
    assert (part.unknown, part.members, part.events) == (1, 5, [])
    assert marketing.sync().outcome == "done"
    assert "p0003" not in marketing.members()
    assert len(marketing.members()) == 4


def test_a_deleted_list_is_left_alone_where_the_audience_says_so(marketing: Marketing) -> None:
    marketing.crowd(5)
    marketing.sync()
    delete_list(marketing)
    marketing.people("newcomer")
    query = marketing.audience.query
    guards = marketing.audience.guards.model_copy(update={"recreate_deleted_list": False})
    marketing.audience = marketing.audience.model_copy(update={"guards": guards})
    marketing.audience._query = query
    report = marketing.sync()
    assert report.destinations["blueshift"].outcome == "failed"
    assert marketing.members() == []


def delete_list(marketing: Marketing) -> None:
    settings = marketing.sandbox.settings
    [one] = marketing.lists()
    url = f"{settings['LENDLOOP_BLUESHIFT_URL']}/api/v1/custom_user_lists/id/{one['id']}"
    httpx.delete(url, auth=(settings["LENDLOOP_BLUESHIFT_KEY"], "")).raise_for_status()


def test_a_guard_stops_before_the_first_request(marketing: Marketing) -> None:
    marketing.crowd(40)
    marketing.sync()
    before = len(marketing.calls())
    del marketing.lender.rows["trusted.fct_application"][5:]
    report = marketing.sync()
    assert (report.outcome, report.requests) == ("blocked", 0)
    assert len(marketing.calls()) == before
    assert len(marketing.members()) == 40


def test_whoever_said_no_leaves_the_list_of_a_plan_that_may_not_start(marketing: Marketing) -> None:
    marketing.crowd(40)
    marketing.sync()
    del marketing.lender.rows["trusted.fct_application"][5:]
    marketing.lender.add("trusted.fct_suppression", person_key="p0030", reason="opt_out")
    report = marketing.sync()
    part = report.destinations["blueshift"]
    assert (report.outcome, part.removed, part.confirmed + part.accepted, part.members) == ("blocked", 1, 1, 39)
    assert len(marketing.members()) == 39
    assert "withdrawn: 1 members" in part.events[0]
    delete_list(marketing)
    marketing.lender.add("trusted.fct_suppression", person_key="p0031", reason="opt_out")
    part = marketing.sync().destinations["blueshift"]
    assert (part.outcome, part.members) == ("blocked", 0)


def test_a_no_counts_where_an_audience_that_no_file_defines_left_people(marketing: Marketing) -> None:
    marketing.crowd(5)
    marketing.sync()
    lender, folder = marketing.lender, marketing.lender.home / "exports" / marketing.audience.name

    def let_go(*defined: Audience) -> dict[str, tuple[int, int]]:
        lender.publish()
        reports = let_go_of_undefined(defined, lender.settings, lender.clock)
        assert not [error for report in reports for error in report.errors]
        return {name: (part.removed, part.members) for report in reports for name, part in report.destinations.items()}

    assert let_go(marketing.audience) == {}
    assert let_go() == {"blueshift": (0, 5), "drop": (0, 5)}
    lender.add("trusted.fct_ticket_suppression", person_key="p0001", reason="hardship")
    for permission in lender.rows["trusted.dim_contact_permission"]:
        permission["is_permitted"] = permission["person_key"] != "p0002"
    assert let_go() == {"blueshift": (2, 3), "drop": (2, 0)}
    assert sorted(marketing.members()) == ["p0000", "p0003", "p0004"]
    assert not folder.exists()
    delete_list(marketing)
    assert let_go() == {"blueshift": (0, 0)}
    assert let_go() == {}
    marketing.sync()
    assert sorted(marketing.members()) == ["p0000", "p0001", "p0003", "p0004"]
    assert folder.exists()


def test_what_cannot_be_let_go_of_is_told_until_it_can(marketing: Marketing) -> None:
    marketing.crowd(2)
    marketing.sync()
    marketing.lender.add("trusted.fct_suppression", person_key="p0001", reason="opt_out")
    marketing.lender.publish()
    settings, clock = marketing.lender.settings, marketing.lender.clock
    marketing.sandbox.add_fault(system="blueshift", path="bulk_remove", kind="expired", count=1)
    let_go_of_undefined([], settings, clock)
    [fault] = failed_without_a_file(settings, [])
    assert "LENDLOOP_BLUESHIFT_KEY" in fault
    assert failed_without_a_file(settings, [marketing.audience]) == []
    let_go_of_undefined([], settings, clock)
    assert failed_without_a_file(settings, []) == []
    assert marketing.members() == ["p0000"]


def test_a_count_that_differs_is_reported(marketing: Marketing) -> None:
    marketing.crowd(3)
    marketing.sync()
    marketing.sandbox.arrivals.write("delete from member where value = ?", [("p0001",)])
    marketing.people("newcomer")
    report = marketing.sync()
    assert any("count_mismatch: the destination counts 3 members, the ledger 4" in error for error in report.errors)


def test_only_half_of_the_settings_is_wrong_use(marketing: Marketing) -> None:
    from lendloop.errors import ConfigurationError

    marketing.people("p")
    marketing.lender.overrides["blueshift_key"] = None
    with pytest.raises(ConfigurationError, match="LENDLOOP_BLUESHIFT_KEY"):
        marketing.sync()
