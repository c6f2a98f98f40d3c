"""Pass after pass over the pretend lender: no change, a source that is down, a failed audit.

What many days come to is in test_sixty_days.py.
"""

from __future__ import annotations

import urllib.request

import pytest

from lendloop.home import Home
from lendloop.settings import SOURCES
from lendloop.warehouse import open_warehouse
from tests.end_to_end.installation import Installation

pytestmark = pytest.mark.slow


def test_a_second_pass_without_change_writes_nothing_and_calls_no_destination(lender: Installation) -> None:
    first = lender.report
    assert first["failures"] == []
    before = lender.arrivals
    files = {path: path.stat().st_mtime_ns for path in (lender.home / "exports").rglob("*") if path.is_file()}
    second = lender.run()
    assert (second["changed"], second["version"]) == (False, first["version"])
    assert [(s["new"], s["changed"], s["deleted"]) for s in second["sources"]] == [(0, 0, 0)] * len(SOURCES)
    assert all(audience["requests"] == 0 for audience in second["audiences"])
    after = lender.arrivals
    assert after["blueshift"]["requests"] == before["blueshift"]["requests"]
    assert after["slack"] == before["slack"]
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_a_source_that_is_down_and_a_failed_audit_are_named_the_rest_goes_on_and_the_next_pass_heals(
    lender: Installation,
) -> None:
    """The CRM is down, and support's audit fails: the ledger's part of the truth is of today all the same."""
    yesterday = lender.query("from trusted.fct_ticket order by ticket_id")
    lender.sandbox("/tick", {"days": 1})
    lender.sandbox("/faults", {"system": "hubspot", "kind": "status", "status": 401, "count": 10_000})
    home = Home(lender.home)
    with open_warehouse(home, "breaking support", 30) as connection:
        connection.execute("create table raw_support.kept as from raw_support.tickets")
        connection.execute(
            "update raw_support.tickets set status = 'bogus', _loaded_at = _loaded_at + interval 1 second"
        )
    report = lender.run(expect=1)

    assert [line for line in report["failures"] if line.startswith("source crm")]
    states = {source["source"]: source["state"] for source in report["sources"]}
    assert states == {"crm": "failed", "ledger": "ok", "support": "ok", "costs": "ok", "survey": "ok"}
    assert [line for line in report["failures"] if line.startswith("group support is stale")]
    assert lender.query("from trusted.fct_ticket order by ticket_id") == yesterday
    groups = dict(lender.query("select name, state from publication.consistency_group"))
    assert groups["support"] == "stale"
    assert groups["portfolio"] == "fresh"
    assert lender.query("select max(as_of_date)::varchar from trusted.agg_portfolio_daily where loan_count > 0") == [
        ("2026-07-01",)
    ]
    told = str(lender.arrivals["slack"]["messages"])
    assert "crm" in told
    assert "fct_ticket" in told

    _clear_faults(lender)
    with open_warehouse(home, "mending support", 30) as connection:
        connection.execute(
            "update raw_support.tickets as t set status = k.status, _loaded_at = t._loaded_at + interval 1 second"
            " from raw_support.kept as k where k.id = t.id"
        )
        connection.execute("drop table raw_support.kept")
    healed = lender.run()
    assert healed["failures"] == []
    assert {source["state"] for source in healed["sources"]} == {"ok"}
    assert lender.query("select count(*) from trusted.fct_ticket where ticket_status = 'bogus'") == [(0,)]
    assert dict(lender.query("select name, state from publication.consistency_group"))["support"] == "fresh"


def _clear_faults(lender: Installation) -> None:
    request = urllib.request.Request(lender.base_url + "/faults", method="DELETE")
    urllib.request.urlopen(request, timeout=30).read()
