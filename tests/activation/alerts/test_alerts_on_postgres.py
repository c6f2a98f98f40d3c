"""The same alerts with operational state in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pgserver
import pytest

from activation.alerts import acknowledge_alert, alert_status


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = pgserver.get_server(tmp_path_factory.mktemp("pg"))
    yield server.get_uri()
    server.cleanup()


def test_opened_acknowledged_resolved_and_told_once_on_postgresql(
    make_lender: Any, inbox: Any, postgres_url: str
) -> None:
    lender = make_lender(ops_url=postgres_url, **inbox.settings)
    lender.only("large_transaction")
    lender.run()
    for number in range(12):
        lender.transaction(number, "3000000")
    lender.run()
    lender.later(hours=1)
    lender.transaction(100, "3000000.000001")
    lender.run()
    newest = next(row for row in alert_status(lender.settings) if row["entity"].endswith(" 100"))
    acknowledge_alert(
        lender.settings, newest["id"], expected_version=newest["version"], actor="risk", clock=lender.clock,
        rules=lender.rules, routes=lender.routes,
    )  # fmt: skip
    lender.sql("delete from trusted.fct_account_transaction")
    _, advanced, _ = lender.run()
    assert advanced.resolved == 13
    assert [text.split(" ", 1)[1] for text in inbox.texts] == [
        "Large transaction: 12 alerts",
        "Resolved: Large transaction: account transaction 100",
        "Resolved: Large transaction: 13 alerts",
    ]
    assert {row["state"] for row in alert_status(lender.settings)} == {"resolved"}
    assert not lender.settings.home.ops_sqlite.exists()
