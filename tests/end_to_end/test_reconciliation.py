"""A pretend lender's stages agree after its passes, and the command says so."""

from __future__ import annotations

import json

import pytest

from tests.end_to_end.installation import Installation

pytestmark = pytest.mark.slow


def test_the_pretend_lenders_stages_agree_or_the_difference_is_explained(loaded: Installation) -> None:
    done = loaded.lendloop("reconcile", "--json")
    compared = {one["to"]: one for one in json.loads(done.stdout)["compared"]}
    assert done.returncode == 0, [day for one in compared.values() for day in one["days"]]
    assert not [one["not compared"] for one in compared.values() if one["not compared"]]
    assert compared["raw_ledger.m_loan_transaction"]["agreed"] > 100
    assert compared["trusted.fct_loan_transaction"]["agreed"] > 100
    assert {"raw_crm.contacts", "raw_support.tickets", "trusted.fct_application", "trusted.fct_ticket"} <= set(compared)
