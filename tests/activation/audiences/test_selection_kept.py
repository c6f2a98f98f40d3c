"""A selection is taken as it was while everything it rests on stands, and made again when any of that moved."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from activation.audiences import Audience, SyncReport, selection, sync_audience
from lendloop.clock import Clock
from tests.activation.audiences.lender import AS_OF, PublishedLender


@pytest.fixture
def sync(lender: PublishedLender, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[SyncReport, bool]]:
    """One pass: its report, and whether anybody was selected anew."""
    made: list[str] = []
    load = selection._load_candidates

    def watched(*arguments: object) -> None:
        made.append("selection")
        load(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(selection, "_load_candidates", watched)

    def one_pass(audience: Audience, clock: Clock | None = None) -> tuple[SyncReport, bool]:
        made.clear()
        report = sync_audience(
            audience, settings=lender.settings, clock=clock or lender.clock, source_status=lender.status
        )
        assert report.errors == []
        return report, bool(made)

    return one_pass


def dormant(audiences: dict[str, Audience], **changes: object) -> Audience:
    """An audience whose SQL looks at no clock."""
    changed = audiences["recovery"].model_copy(update={"offer": None, "once": False, "payload": PAYLOAD, **changes})
    changed._query = audiences["recovery"].query
    return changed


PAYLOAD = {"phone_number": "contact.address", "amount": "owed"}


def test_the_same_grounds_give_the_same_report_without_selecting_again(
    lender: PublishedLender, audiences: dict[str, Audience], sync: Callable[..., tuple[SyncReport, bool]]
) -> None:
    for name in ("one", "two", "three"):
        lender.written_off(lender.person(name, sms=name != "two"))
    lender.publish()
    audience = dormant(audiences, holdout=None)
    first, _ = sync(audience)
    again, made = sync(audience, Clock(AS_OF + timedelta(hours=1)))
    assert not made
    assert (again.outcome, again.requests) == ("unchanged", 0)
    facts = ("candidates", "desired", "held_back", "snapshot", "notes")
    assert [getattr(again, fact) for fact in facts] == [getattr(first, fact) for fact in facts]
    assert (first.desired, first.held_back) == (2, {"no_consent": 1})


@pytest.mark.parametrize("ground", ["publication", "definition", "source", "link", "clock back", "key"])
def test_any_ground_that_moved_makes_the_selection_anew(
    lender: PublishedLender, audiences: dict[str, Audience], sync: Callable[..., tuple[SyncReport, bool]], ground: str
) -> None:
    lender.written_off(lender.person("one"))
    for link in lender.rows["trusted.map_customer_source"]:
        link["valid_to"] = AS_OF + timedelta(hours=2)
    lender.publish()
    audience, clock = dormant(audiences, holdout=None), lender.clock
    assert sync(audience)[1]
    assert not sync(audience)[1]
    if ground == "publication":
        lender.publish()
    elif ground == "definition":
        audience = dormant(audiences, holdout=None, exclude=["opt_out"])
    elif ground == "source":
        lender.status["support"].succeeded_as_of = AS_OF - timedelta(hours=37)
    elif ground == "link":
        clock = Clock(AS_OF + timedelta(hours=3))
    elif ground == "clock back":
        clock = Clock(AS_OF - timedelta(hours=1))
    else:
        lender.overrides["hash_key"] = "another-key"
    report, made = sync(audience, clock)
    assert made
    assert report.desired == (0 if ground in ("source", "link") else 1)


def test_sql_that_looks_at_the_clock_is_asked_again_when_it_moved(
    lender: PublishedLender, audiences: dict[str, Audience], sync: Callable[..., tuple[SyncReport, bool]]
) -> None:
    lender.approved(lender.person("one"), days_ago=30)
    lender.publish()
    audience = audiences["approved_not_accepted"]
    assert sync(audience)[0].desired == 1
    assert not sync(audience)[1]
    report, made = sync(audience, Clock(AS_OF + timedelta(days=1)))
    assert (report.desired, made) == (0, True)


def test_what_a_pass_itself_remembers_is_a_ground_of_the_next(
    lender: PublishedLender, audiences: dict[str, Audience], sync: Callable[..., tuple[SyncReport, bool]]
) -> None:
    for number in range(20):
        lender.written_off(lender.person(f"p{number}"))
    lender.publish()
    made = [sync(audiences["recovery"])[1] for _ in range(4)]
    assert made[0], "nothing is known yet"
    assert made[1], "quotes, arms and who was reached are new since"
    assert made[-1] is False
