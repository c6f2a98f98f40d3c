"""A real bank's ledger on real servers: the known answers of its README, read as a user would read them."""

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
from tests.end_to_end.installation import Installation
from tests.mariadb import mariadb_over_tcp
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


SERVERS = {"postgresql": postgres_over_tcp, "mariadb": mariadb_over_tcp}
BATCH_ROWS = 5_000


def fill(url: str) -> None:
    """Put the bank's files into the ledger's database with Fineract's types."""
    engine = sa.create_engine(url)
    declared = {table.name: table.columns for table in LEDGER}
    for path in sorted(BANK.glob("*.csv*")):
        name = path.name.split(".")[0]
        frame = pd.read_csv(path, dtype=str, keep_default_na=False).astype(object)
        frame = frame.where(frame != "", None)
        kinds = {column: TYPES[declared[name].get(column, "text")] for column in frame}
        for column, kind in kinds.items():
            if isinstance(kind, sa.Boolean):
                frame[column] = frame[column].map({"true": True, "false": False, "t": True, "f": False, None: None})
        table = sa.Table(name, sa.MetaData(), *(sa.Column(column, kind) for column, kind in kinds.items()))
        quoted = engine.dialect.identifier_preparer.quote
        with engine.begin() as connection:
            table.create(connection)
            raw: Any = connection.connection.cursor()
            rows = list(frame.itertuples(index=False, name=None))
            marks = ", ".join(["%s"] * len(kinds))
            for at in range(0, len(rows), BATCH_ROWS):
                raw.executemany(f"insert into {quoted(name)} values ({marks})", rows[at : at + BATCH_ROWS])
    engine.dispose()


@pytest.fixture(scope="module", params=list(SERVERS))
def bank(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Installation, dict[str, Any]]]:
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
    with SERVERS[request.param]() as url, sandbox_server(folder / "sandbox", customers=50) as sandbox:
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
    absent = dict.fromkeys(("crm", "support", "costs", "survey"), "not configured")
    assert states == {"ledger": "ok", **absent}
    assert bank[1]["failures"] == []


def test_a_second_pass_finds_nothing_new_and_tells_nobody(bank: Bank) -> None:
    installation, first = bank
    before = len(installation.arrivals["slack"]["messages"])
    second = installation.run()
    assert (second["changed"], second["version"]) == (False, first["version"])
    assert len(installation.arrivals["slack"]["messages"]) == before
