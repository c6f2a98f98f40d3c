"""A small published catalogue to evaluate rules on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from activation.rules import Rule, RuleEvaluation, evaluate_rule, load_rules
from lendloop.clock import Clock
from lendloop.home import CHECKOUT
from lendloop.settings import Settings, load_settings
from lendloop.source_status import SourceStatus

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TABLES = """
create schema trusted;
create table trusted.fct_account_transaction (
    account_transaction_id bigint, account_id bigint, client_id bigint, market varchar, currency varchar,
    transaction_type varchar, transaction_date date, amount decimal(19,6), is_reversed boolean,
    created_at timestamptz, modified_at timestamptz);
create table trusted.fct_loan_transaction (
    loan_transaction_id bigint, loan_id bigint, market varchar, currency varchar, transaction_type varchar,
    transaction_date date, amount decimal(19,6), is_reversed boolean, created_at timestamptz, modified_at timestamptz);
create table trusted.fct_ticket (
    ticket_id bigint, person_key varchar, market varchar, ticket_status varchar, is_open boolean, created_at timestamptz);
create table trusted.agg_first_payment_default (
    first_due_on date, market varchar, product_id bigint, currency varchar, horizon_days integer,
    mature_loan_count bigint, defaulted_loan_count bigint);
"""


@dataclass
class Published:
    """What is published, and rules evaluated on it."""

    settings: Settings
    status: dict[str, SourceStatus] = field(default_factory=dict)
    now: datetime = NOON

    def sql(self, statement: str, *values: Any) -> None:
        with duckdb.connect(str(self.settings.home.published)) as connection:
            connection.execute("set timezone = 'UTC'")
            connection.execute(statement, list(values))

    def rule(self, name: str, **changes: Any) -> Rule:
        """One of the project's rules, with other values; `numbers` sets parameters."""
        found = next(rule for rule in load_rules(CHECKOUT / "activation" / "definitions") if rule.rule == name)
        raw = found.model_dump()
        if name == "large_transaction":
            raw["parameters"]["currency_thresholds"] = {"values": {"NGN": 1_500_000}, "min": 1, "max": 10**9}
        for parameter, value in changes.pop("numbers", {}).items():
            raw["parameters"][parameter]["value"] = value
        raw["parameters"] |= changes.pop("parameters", {})
        return Rule.model_validate({**raw, **changes})

    def evaluate(self, rule: Rule | str) -> RuleEvaluation:
        return evaluate_rule(
            self.rule(rule) if isinstance(rule, str) else rule,
            settings=self.settings,
            clock=Clock(self.now),
            source_status=self.status,
        )


@pytest.fixture
def published(tmp_path: Path) -> Published:
    settings = load_settings(LENDLOOP_HOME=tmp_path / "home")
    settings.home.prepare()
    found = Published(settings)
    found.sql(TABLES)
    return found


@pytest.fixture
def rule_file(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write the large-transaction rule with one text replaced; gives the definitions' folder."""

    def write(old: str, new: str) -> Path:
        text = (CHECKOUT / "activation/definitions/rules/large_transaction.yaml").read_text()
        assert old in text
        folder = tmp_path / "definitions"
        (folder / "rules").mkdir(parents=True)
        (folder / "rules" / "large_transaction.yaml").write_text(text.replace(old, new))
        return folder

    return write


@pytest.fixture(scope="session")
def bank() -> Path:
    """The folder of the real bank's tables."""
    folder = CHECKOUT.parent / "shared" / "data" / "bank"
    if not folder.is_dir():
        pytest.skip("the real bank's tables are not beside the checkout (../shared/data/bank)")
    return folder
