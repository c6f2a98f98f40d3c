"""A real bank's ledger on a real PostgreSQL: the known answers of its README, read as a user would read them."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
import yaml

from ingestion.tables import LEDGER
from lendloop.home import CHECKOUT
from orchestration.sandbox_process import sandbox_server
from tests.end_to_end.conftest import Installation
from tests.postgres import postgres_over_tcp

BANK = CHECKOUT.parent / "shared" / "data" / "bank"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BANK.is_dir(), reason="the bank's data are not beside the checkout (../shared/data/bank)"),
]
TYPES = {
    "bigint": sa.BigInteger(),
    "text": sa.Text(),
    "money": sa.Numeric(19, 6),
    "date": sa.Date(),
    "timestamp": sa.DateTime(),
    "bool": sa.Boolean(),
}


def fill(url: str) -> None:
    """Put the bank's files into PostgreSQL with Fineract's types."""
    engine = sa.create_engine(url)
    declared = {table.name: table.columns for table in LEDGER}
    for path in sorted(BANK.glob("*.csv*")):
        name = path.name.split(".")[0]
        frame = pd.read_csv(path, dtype=str, keep_default_na=False).astype(object)
        frame = frame.where(frame != "", None)
        kinds = {column: TYPES[declared[name].get(column, "text")] for column in frame}
        definitions = ", ".join(f'"{column}" {kind.compile(engine.dialect)}' for column, kind in kinds.items())
        with engine.begin() as connection:
            connection.execute(sa.text(f'create table "{name}" ({definitions})'))
            raw: Any = connection.connection.cursor()
            with raw.copy(f'copy "{name}" from stdin') as copy:
                for row in frame.itertuples(index=False):
                    copy.write_row(row)
    engine.dispose()


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, dict[str, Any]]]:
    """One pass over the bank, with the large-transaction rule pointed at it and Slack listening."""
    folder = tmp_path_factory.mktemp("bank")
    source = CHECKOUT / "activation" / "definitions"
    definitions = folder / "definitions"
    (definitions / "rules").mkdir(parents=True)
    (definitions / "audiences").mkdir()
    rule = yaml.safe_load((source / "rules" / "large_transaction.yaml").read_text())
    rule["notify_backfill"] = True
    rule["parameters"]["threshold"]["value"] = 50_000
    (definitions / "rules" / "large_transaction.yaml").write_text(yaml.safe_dump(rule))
    (definitions / "audiences" / "recovery.yaml").write_text((source / "audiences" / "recovery.yaml").read_text())
    (definitions / "routes.yaml").write_text((source / "routes.yaml").read_text())
    with postgres_over_tcp() as url, sandbox_server(folder / "sandbox", customers=50) as sandbox:
        fill(url)
        installation = Installation(
            folder / "home",
            {name: value for name, value in sandbox.items() if name.startswith("LENDLOOP_SLACK")}
            | {"LENDLOOP_LEDGER_URL": url, "LENDLOOP_AS_OF": "1998-12-31", "LENDLOOP_DEFINITIONS": str(definitions)},
            sandbox["base_url"],
        )
        yield installation, installation.run()


Bank = tuple[Installation, dict[str, Any]]


def test_loans_by_status_and_their_money(bank: Bank) -> None:
    rows = bank[0].query(
        "select status_id, count(*), sum(principal_disbursed) from trusted.fct_loan group by 1 order by 1"
    )
    assert rows == [(300, 448, Decimal(80296176)), (600, 203, Decimal(18603216)), (601, 31, Decimal(4362348))]
    assert bank[0].query("select sum(principal_disbursed), sum(principal_outstanding) from trusted.fct_loan") == [
        (Decimal(103261740), Decimal(47096724))
    ]


def test_arrears_are_in_one_bucket(bank: Bank) -> None:
    assert bank[0].query(
        "select dpd_bucket, count(*), min(days_past_due), max(days_past_due) from trusted.fct_loan"
        " where days_past_due > 0 group by 1"
    ) == [("31-60", 45, 31, 59)]


def test_portfolio_at_risk(bank: Bank) -> None:
    (row,) = bank[0].query(
        "select par_1_principal, par_7_principal, par_30_principal, par_60_principal, par_90_principal,"
        " outstanding_principal, par_1, par_7, par_30, par_60, par_90"
        " from kpi.kpi_portfolio_market_daily where as_of_date = '1998-12-31'"
    )
    assert row[:6] == (Decimal(6357983),) * 3 + (Decimal(0),) * 2 + (Decimal(47096724),)
    assert [round(value, 4) for value in row[6:]] == [Decimal("0.1350")] * 3 + [Decimal(0)] * 2


def test_joint_account_holders_are_two_people(bank: Bank) -> None:
    assert bank[0].query("select count(*), count(distinct person_key) from trusted.dim_customer") == [(5369, 5369)]


def test_recovery_has_its_31_candidates_and_nobody_can_be_contacted(bank: Bank) -> None:
    (audience,) = bank[1]["audiences"]
    assert audience["candidates"] == 31
    assert audience["held_back"] == {"no_contact_point": 31}
    assert audience["desired"] == 0


def test_large_account_transactions_open_194_alerts_in_grouped_messages(bank: Bank) -> None:
    installation, report = bank
    assert installation.query(
        "select count(*), max(amount) from trusted.fct_account_transaction where amount > 50000"
    ) == [(194, Decimal(76500))]
    alerts = [alert for alert in report["alerts"] if alert["rule"] == "large_transaction"]
    assert len(alerts) == 194
    assert {alert["state"] for alert in alerts} == {"open"}
    assert all(alert["notified_at"] for alert in alerts)
    messages = installation.arrivals["slack"]["messages"]
    assert 1 <= len(messages) <= 20
    listed = {alert["entity"] for alert in alerts}
    text = str(messages)
    assert all(entity.split()[-1] in text for entity in listed)


def test_what_is_not_configured_is_shown_so_and_is_no_error(bank: Bank) -> None:
    states = {source["source"]: source["state"] for source in bank[1]["sources"]}
    assert states == {"crm": "not configured", "ledger": "ok", "support": "not configured"}
    assert bank[1]["failures"] == []


def test_a_second_pass_finds_nothing_new_and_tells_nobody(bank: Bank) -> None:
    installation, first = bank
    before = len(installation.arrivals["slack"]["messages"])
    second = installation.run()
    assert (second["changed"], second["version"]) == (False, first["version"])
    assert len(installation.arrivals["slack"]["messages"]) == before
