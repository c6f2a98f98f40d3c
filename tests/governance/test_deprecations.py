"""A dataset that is deprecated: everyone who reads it is named, as a warning until its day and as a fault from it on."""

from __future__ import annotations

from copy import deepcopy
from datetime import date
from typing import Any

import pytest

from activation.audiences import load_audiences
from activation.rules import load_rules
from governance.lineage import Graph
from governance.manifest import Manifest, day_of, parse_manifest
from governance.versions import check_versions, going
from lendloop.errors import ConfigurationError
from lendloop.home import CHECKOUT, Home
from lendloop.project import load_manifest
from orchestration.lineage import whole_graph

DEFINITIONS = CHECKOUT / "activation" / "definitions"
DAY = date(2026, 12, 1)


@pytest.fixture(scope="module")
def whole(graph: Graph) -> Graph:
    """The graph with the definitions of the checkout at its ends."""
    return whole_graph(graph, load_audiences(DEFINITIONS / "audiences"), load_rules(DEFINITIONS))


def deprecated(home: Home, **models: str) -> Manifest:
    """The project with `deprecated` in the meta of some models."""
    changed: dict[str, Any] = deepcopy(load_manifest(home))
    for name, why in models.items():
        changed["nodes"][f"model.lendloop.{name}"]["config"]["meta"]["deprecated"] = why
    return parse_manifest(changed)


def test_audiences_rules_models_and_kpis_that_read_it_are_named_before_its_day_and_refused_from_it_on(
    parsed: Home, whole: Graph
) -> None:
    manifest = deprecated(parsed, agg_portfolio_daily=f"{DAY}: read the other", fct_loan=f"{DAY}", fct_ticket=f"{DAY}")
    portfolio, loans, tickets = check_versions(manifest, whole, DAY.replace(month=11, day=30))
    assert str(portfolio).startswith(f"trusted.agg_portfolio_daily goes on {DAY}: read by ")
    assert {"kpi.kpi_portfolio_daily", "KPI par_30"} <= set(portfolio.readers)
    assert {"audiences.recovery", "trusted.fct_loan_month"} <= set(loans.readers)
    assert "rules.ticket_backlog" in tickets.readers
    with pytest.raises(ConfigurationError) as refusal:
        check_versions(manifest, whole, DAY)
    first, second, third = str(refusal.value).splitlines()
    assert f"trusted.agg_portfolio_daily was to go on {DAY} and is read by " in first
    assert "KPI par_30" in first
    assert "audiences.recovery" in second
    assert "rules.ticket_backlog" in third


def test_a_kpi_reads_the_table_that_it_stands_in(parsed: Home, graph: Graph) -> None:
    manifest = deprecated(parsed, kpi_roll_rate=f"{DAY}", kpi_portfolio_daily=f"{DAY}")
    portfolio, rolls = going(manifest, graph)
    assert "KPI roll_rate" in rolls.readers
    assert "KPI par_30" in portfolio.readers


def test_what_is_deprecated_without_a_day_may_be_read_by_nobody(parsed: Home, graph: Graph) -> None:
    manifest = deprecated(parsed, fct_ticket="read the other")
    with pytest.raises(ConfigurationError, match=r"fct_ticket is deprecated \(read the other\) and is read by "):
        check_versions(manifest, graph, date.min)


@pytest.mark.parametrize(
    ("deprecated", "day"),
    [("2026-12-01: why", DAY), ("2026-12-01T00:00:00Z", DAY), ("why", None), ("2026-13-01", None), ("", None)],
)
def test_a_deprecation_opens_with_its_day_or_counts_at_once(deprecated: str, day: date | None) -> None:
    assert day_of(deprecated) == day
