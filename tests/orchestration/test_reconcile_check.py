"""The check that stages agree: what it says of a source that did not answer, and when it looks again."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from governance.reconcile import Comparison
from lendloop.settings import load_settings
from orchestration.reconcile import reconciliation_check
from orchestration.resources import Hub

AWAY = Comparison("ledger", "raw_ledger", "portfolio", (), not_compared="it does not answer", is_reached=False)
WELL = Comparison("ledger.m_loan", "raw_ledger.m_loan", "portfolio", ())


def test_a_source_that_did_not_answer_is_no_agreement_and_is_asked_again(
    clean_environment: pytest.MonkeyPatch,
) -> None:
    answers = [[AWAY], [WELL]]
    clean_environment.setenv("LENDLOOP_AS_OF", "2026-03-01")
    load_settings().home.prepare()
    clean_environment.setattr("orchestration.reconcile.reconcile", lambda *_, **__: answers.pop(0))
    everything = dg.define_asset_job("everything", selection=dg.AssetSelection.all_asset_checks())
    definitions = dg.Definitions(asset_checks=[reconciliation_check({})], jobs=[everything], resources={"hub": Hub()})

    def checks() -> dict[str, Any]:
        result = definitions.resolve_job_def("everything").execute_in_process()
        return {one.asset_key.path[-1]: one for one in result.get_asset_check_evaluations()}

    away = checks()
    assert (away["portfolio"].passed, away["portfolio"].severity) == (False, dg.AssetCheckSeverity.WARN)
    assert away["portfolio"].metadata["errors"].value == "ledger -> raw_ledger was not compared: it does not answer"
    assert away["support"].passed
    assert checks()["portfolio"].passed, "asked again, though nothing was built since"
    assert answers == []
    assert checks()["portfolio"].passed, "nothing was built since, so nothing is asked again"
