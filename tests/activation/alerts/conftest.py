"""A small lender as published, and the sandbox's Slack and mail server, for rules and alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from activation.alerts import AlertReport, DeliveryReport, Routes, advance_alerts, deliver_outbox, load_routes
from activation.rules import Rule, RuleEvaluation, evaluate_rule, load_rules
from lendloop.clock import Clock
from lendloop.home import CHECKOUT
from lendloop.settings import Settings, load_settings
from lendloop.source_status import SourceStatus
from sandbox.serve import Options, Running, running

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DEFINITIONS = CHECKOUT / "activation" / "definitions"
TABLES = """
create schema trusted;
create schema kpi;
create table trusted.fct_account_transaction (
    account_transaction_id bigint, account_id bigint, client_id bigint, market varchar, currency varchar,
    transaction_type_id integer, transaction_type varchar, transaction_date date, amount decimal(19,6),
    running_balance decimal(19,6), is_reversed boolean, created_at timestamptz, modified_at timestamptz);
create table trusted.fct_loan_transaction (
    loan_transaction_id bigint, loan_id bigint, market varchar, product_id bigint, currency varchar,
    transaction_type_id integer, transaction_type varchar, transaction_date date, amount decimal(19,6),
    is_reversed boolean, created_at timestamptz, modified_at timestamptz);
create table trusted.fct_ticket (
    ticket_id bigint, person_key varchar, market varchar, ticket_status varchar, is_open boolean, created_at timestamptz);
create table trusted.agg_first_payment_default (
    first_due_on date, market varchar, product_id bigint, currency varchar, horizon_days integer,
    mature_loan_count bigint, defaulted_loan_count bigint);
"""


LIMITS = {"values": {"NGN": 1_500_000}, "min": 1, "max": 10**9}


def rules_with_limits() -> list[Rule]:
    """The project's rules, with limits that these tests choose."""
    found = []
    for rule in load_rules(DEFINITIONS):
        raw = rule.model_dump()
        if rule.rule == "large_transaction":
            raw["parameters"]["currency_thresholds"] = LIMITS
        found.append(Rule.model_validate(raw))
    return found


@dataclass
class Lender:
    """What is published, a clock, and one pass of rules and alerts over it."""

    settings: Settings
    now: datetime = NOON
    rules: list[Rule] = field(default_factory=rules_with_limits)
    routes: Routes = field(
        default_factory=lambda: load_routes(DEFINITIONS).model_copy(update={"slack_interval_s": 0.0})
    )
    status: dict[str, SourceStatus] = field(default_factory=dict)

    @property
    def clock(self) -> Clock:
        return Clock(self.now)

    def sql(self, statement: str, *values: Any) -> None:
        """Change what is published."""
        with duckdb.connect(str(self.settings.home.published)) as connection:
            connection.execute("set timezone = 'UTC'")
            connection.execute(statement, list(values))

    def transaction(self, number: int, amount: str | Decimal, *, currency: str = "NGN", days_ago: int = 0) -> None:
        """An account transaction in what is published."""
        day = (self.now - timedelta(days=days_ago)).date()
        self.sql(
            "insert into trusted.fct_account_transaction values (?, 1, 1, 'NG', ?, 1, 'deposit', ?, ?, 0, false, ?, ?)",
            number,
            currency,
            day,
            Decimal(amount),
            self.now,
            self.now,
        )

    def rule(self, name: str, **changes: Any) -> Rule:
        """One of the project's rules, with other values."""
        found = next(rule for rule in self.rules if rule.rule == name)
        return Rule.model_validate({**found.model_dump(), **changes})

    def only(self, name: str, **changes: Any) -> None:
        """Watch this rule alone."""
        self.rules = [self.rule(name, **changes)]

    def evaluate(self) -> list[RuleEvaluation]:
        for source in ("ledger", "support"):
            if source not in self.status:
                self.status[source] = SourceStatus.model_validate({"source": source, "configured": True})
            if self.status[source].error is None:
                self.status[source].succeeded_as_of = self.now
        return [
            evaluate_rule(rule, settings=self.settings, clock=self.clock, source_status=self.status)
            for rule in self.rules
        ]

    def advance(self) -> AlertReport:
        return advance_alerts(self.settings, self.rules, self.routes, self.clock)

    def deliver(self, **options: Any) -> DeliveryReport:
        return deliver_outbox(self.settings, self.routes, self.clock, **options)

    def run(self) -> tuple[list[RuleEvaluation], AlertReport, DeliveryReport]:
        """Evaluate, advance, deliver."""
        return self.evaluate(), self.advance(), self.deliver()

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)


@pytest.fixture
def make_lender(tmp_path: Path, ops_settings: dict[str, str]) -> Callable[..., Lender]:
    def make(**overrides: Any) -> Lender:
        settings = load_settings(LENDLOOP_HOME=tmp_path / "home", **ops_settings, **overrides)
        settings.home.prepare()
        lender = Lender(settings)
        if not settings.home.published.exists():
            lender.sql(TABLES)
        return lender

    return make


@dataclass
class Inbox:
    """What reached the sandbox's Slack and mail server."""

    served: Running

    @property
    def settings(self) -> dict[str, str]:
        """Settings that point at it."""
        return {name.lower(): self.served.settings[f"LENDLOOP_{name}"] for name in CHANNEL_SETTINGS}

    @property
    def slack(self) -> list[dict[str, Any]]:
        """Slack messages as they stand, in order."""
        return self.served.arrivals.messages()

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.slack]

    @property
    def mail(self) -> list[dict[str, Any]]:
        return self.served.arrivals.mails()

    def misbehave(self, **fault: Any) -> None:
        self.served.add_fault(**fault)


class NobodysLender:
    """A lender without data: only its messages are of interest here."""

    as_of = NOON
    version = 1
    ledger_url = "sqlite://"

    def tick(self, days: int) -> dict[str, Any]:
        return {"days": days}

    def truth(self) -> dict[str, Any]:
        return {}

    def table(self, name: str) -> Any:
        raise KeyError(name)


CHANNEL_SETTINGS = ("SLACK_URL", "SLACK_TOKEN", "SLACK_CHANNEL", "SMTP_URL", "ALERT_EMAIL")


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    """The sandbox's Slack and mail server."""
    (tmp_path / "sandbox").mkdir()
    with running(Options(tmp_path / "sandbox"), NobodysLender()) as served:
        yield Inbox(served)


@pytest.fixture
def lender(make_lender: Callable[..., Lender], inbox: Inbox) -> Lender:
    """A lender whose alerts go to the sandbox."""
    return make_lender(**inbox.settings)
