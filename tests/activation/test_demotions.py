"""A dataset whose promise breaks again and again: demoted, told, not acted on, and reinstated by a person."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import select as sql_select

from activation.audiences import Audience
from activation.demotions import tell_demotions
from activation.ops import open_ops
from activation.ops import tables as t
from lendloop.clock import Clock
from lendloop.days import keep_day
from lendloop.errors import ConfigurationError, PermanentError
from lendloop.home import Home
from lendloop.standing import CLEAN_DAYS, read_standing, reinstate, renew_standing
from tests.activation.alerts.conftest import Lender, make_lender  # noqa: F401
from tests.activation.audiences.conftest import audiences  # noqa: F401
from tests.activation.audiences.lender import PublishedLender

FACT = "trusted.fct_ticket"


def node(zone: str, name: str, parents: list[str], **meta: Any) -> dict[str, Any]:
    return {
        "resource_type": "model", "schema": zone, "alias": name, "config": {"meta": meta},
        "depends_on": {"nodes": [f"model.lendloop.{parent}" for parent in parents]},
    }  # fmt: skip


MANIFEST = {
    "nodes": {
        "model.lendloop.fct_ticket": node("trusted", "fct_ticket", []),
        "model.lendloop.int_ticket": node("gray", "int_ticket", ["fct_ticket"]),
        "model.lendloop.kpi_ticket": node("kpi", "kpi_ticket", ["int_ticket"]),
        "model.lendloop.dim_strict": node("trusted", "dim_strict", [], demotion={"broken_days": 1, "of_days": 1}),
        "model.lendloop.dim_customer": node("trusted", "dim_customer", []),
    }
}


class Outcome(NamedTuple):
    unique_id: str
    ok: bool
    warned: bool = False


def passed(home: Home, clock: Clock, *, ok: bool, model: str = "fct_ticket") -> None:
    """One build, in which the test of a model passes or fails."""
    outcome = Outcome(f"test.lendloop.unique_{model}.123", ok)
    keep_day(home, MANIFEST, [(outcome, f"model.lendloop.{model}")], clock.business_date())
    renew_standing(home, MANIFEST, clock)


def days(lender: Lender, *outcomes: bool, model: str = "fct_ticket") -> None:
    """Builds a day apart."""
    for ok in outcomes:
        passed(lender.settings.home, lender.clock, ok=ok, model=model)
        lender.later(days=1)


def test_a_promise_that_breaks_on_enough_days_demotes_and_what_is_made_of_it_shows_it(
    make_lender: Callable[..., Lender],  # noqa: F811
) -> None:
    lender = make_lender()
    days(lender, False, True, False)
    assert read_standing(lender.settings.home).demoted == {}
    days(lender, False)
    standing = read_standing(lender.settings.home)
    assert standing.demoted[FACT].reason == (
        "its promise broke on 3 of the last 7 days, the last time by unique_fct_ticket"
    )
    assert standing.of("kpi.kpi_ticket") == "rests on trusted.fct_ticket, demoted"
    assert standing.of("trusted.dim_customer") == "agreed"


def test_days_long_past_do_not_count_and_meta_sets_the_limit(make_lender: Callable[..., Lender]) -> None:  # noqa: F811
    lender = make_lender()
    days(lender, False, False, True, True, True, True, True, False)
    assert read_standing(lender.settings.home).demoted == {}
    days(lender, False, model="dim_strict")
    assert list(read_standing(lender.settings.home).demoted) == ["trusted.dim_strict"]


def test_what_is_built_on_a_demoted_dataset_later_shows_it_too(make_lender: Callable[..., Lender]) -> None:  # noqa: F811
    lender = make_lender()
    days(lender, False, False, False)
    newer = {**MANIFEST["nodes"], "model.lendloop.kpi_newer": node("kpi", "kpi_newer", ["int_ticket"])}
    renew_standing(lender.settings.home, {"nodes": newer}, lender.clock)
    assert read_standing(lender.settings.home).of("kpi.kpi_newer") == "rests on trusted.fct_ticket, demoted"


def test_a_demotion_ends_with_its_dataset(make_lender: Callable[..., Lender]) -> None:  # noqa: F811
    lender = make_lender()
    home = lender.settings.home
    days(lender, False, False, False)
    tell_demotions(lender.settings, lender.clock, {})
    others = {key: one for key, one in MANIFEST["nodes"].items() if one["alias"] != "fct_ticket"}
    renew_standing(home, {"nodes": others}, lender.clock)
    assert read_standing(home).demoted == {}
    tell_demotions(lender.settings, lender.clock, {})
    with open_ops(lender.settings).connect() as connection:
        assert connection.execute(sql_select(t.pipeline_failure.c.resolved_at)).scalar_one() is not None


def test_readers_are_told_rules_do_not_run_and_a_person_reinstates_after_clean_days(
    make_lender: Callable[..., Lender],  # noqa: F811
) -> None:
    lender = make_lender()
    lender.only("ticket_backlog")
    home = lender.settings.home
    days(lender, False, False, False)

    tell_demotions(lender.settings, lender.clock, {FACT: ["rules.ticket_backlog (support-ops)"]})
    [evaluation] = lender.evaluate()
    assert evaluation.outcome == "skipped"
    assert "trusted.fct_ticket is demoted: its promise broke on 3 of the last 7 days" in str(evaluation.reason)
    lender.advance()
    with open_ops(lender.settings).connect() as connection:
        [failure] = connection.execute(sql_select(t.pipeline_failure)).all()
        told = [str(row.payload) for row in connection.execute(sql_select(t.outbox)).all()]
    assert "Read by rules.ticket_backlog (support-ops)" in failure.message
    assert any("trusted.fct_ticket is demoted" in text for text in told)
    assert all("Dataset demoted: trusted.fct_ticket" in text and "lendloop reinstate" in text for text in told)

    with pytest.raises(PermanentError, match=r"clean for 0 of 3 days: it stays demoted"):
        reinstate(home, FACT, lender.clock, by="a person", because="mended")
    days(lender, *[True] * CLEAN_DAYS)
    assert FACT in read_standing(home).demoted
    with pytest.raises(ConfigurationError, match="says who stands for it"):
        reinstate(home, FACT, lender.clock, by=" ", because="mended")
    reinstate(home, FACT, lender.clock, by="a person", because="the source sends keys once again")
    assert read_standing(home).reinstated[FACT].by == "a person"
    with pytest.raises(ConfigurationError, match="is not demoted"):
        reinstate(home, FACT, lender.clock, by="a person", because="again")

    tell_demotions(lender.settings, lender.clock, {})
    with open_ops(lender.settings).connect() as connection:
        assert connection.execute(sql_select(t.pipeline_failure.c.resolved_at)).scalar_one() is not None
    lender.later(days=1)
    assert lender.evaluate()[0].outcome == "passed"

    days(lender, False)
    assert read_standing(home).demoted == {}, "days before the reinstatement counted again"


@pytest.mark.parametrize("table", ["fct_loan", "fct_suppression"])
def test_an_audience_is_held_with_the_reason_while_what_it_rests_on_is_demoted(
    tmp_path: Any,
    ops_settings: dict[str, str],
    audiences: dict[str, Audience],  # noqa: F811
    table: str,
) -> None:
    from activation.audiences import sync_audience

    lender = PublishedLender(tmp_path / "home")
    lender.overrides |= ops_settings
    lender.written_off(lender.person("p1"))
    lender.publish()
    home = lender.settings.home.prepare()
    manifest = {"nodes": {f"model.lendloop.{table}": node("trusted", table, [])}}
    for number in range(3):
        clock = Clock(lender.as_of - timedelta(days=2 - number))
        keep_day(
            home,
            manifest,
            [(Outcome("test.lendloop.some_test.1", False), f"model.lendloop.{table}")],
            clock.business_date(),
        )
        renew_standing(home, manifest, clock)
    report = sync_audience(
        audiences["recovery"], settings=lender.settings, clock=lender.clock, source_status=lender.status
    )
    assert {part.outcome for part in report.destinations.values()} <= {"blocked", "not_configured"}
    errors = [line for part in report.destinations.values() for line in part.errors]
    assert any(f"demoted_source: trusted.{table} is demoted" in line for line in errors)
