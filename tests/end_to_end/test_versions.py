"""A dataset in two versions: each is a table of its own, and the old one's readers are named before and after its day."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkout_copy import Copy

SUPPORT = "dbt_project/models/trusted/support"
VERSIONS = """    latest_version: 2
    versions:
      - v: 1
        deprecation_date: 2999-01-01
      - v: 2
        config: {alias: fct_ticket}
"""
OLD_REPORT = """
  - name: old_report
    type: dashboard
    description: A report that reads the old version.
    owner: {name: finance, email: finance@example.org}
    depends_on:
      - ref('fct_ticket', v=1)
"""
KEYS = """
from orchestration.definitions import build_defs
keys = build_defs().resolve_asset_graph().get_all_asset_keys()
print(sorted(key.to_user_string() for key in keys if "fct_ticket" in key.to_user_string()))
"""


@pytest.mark.slow
def test_readers_of_an_old_version_are_listed_warned_of_and_after_its_day_refused(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    declared, exposures = copy.path(f"{SUPPORT}/_trusted_support.yml"), copy.path("dbt_project/models/exposures.yml")
    declared.write_text(declared.read_text().replace("  - name: fct_ticket\n", f"  - name: fct_ticket\n{VERSIONS}", 1))
    sql = copy.path(f"{SUPPORT}/fct_ticket.sql")
    copy.path(f"{SUPPORT}/fct_ticket_v1.sql").write_text(sql.read_text())
    sql.rename(copy.path(f"{SUPPORT}/fct_ticket_v2.sql"))
    without = exposures.read_text()
    exposures.write_text(without + OLD_REPORT)

    checked = copy.lendloop("check")
    outcomes = {line.partition(":")[0]: line for line in checked.stdout.splitlines()}
    said = "trusted.fct_ticket_v1 goes on 2999-01-01: read by exposure old_report"
    assert outcomes["versions"] == f"versions: warning {said}"
    # the snapshot of the asset graph is a test of the checkout, no part of `check`
    assert checked.returncode == 0, checked.stdout
    listed = copy.lendloop("consumers", "fct_ticket.v1").stdout
    assert listed == "trusted.fct_ticket_v1, goes on 2999-01-01: 1 consumers\n  exposure old_report\n"
    both = copy.lendloop("consumers", "fct_ticket").stdout
    assert "trusted.fct_ticket: " in both
    assert "  rules.ticket_backlog (support-ops)\n" in both
    assert copy.python("-c", KEYS).stdout == (
        "['trusted/fct_ticket', 'trusted/fct_ticket_suppression', 'trusted/fct_ticket_v1']\n"
    )

    in_meta = "config: {meta: {deprecated: '2026-01-01: read the newest'}}"
    declared.write_text(declared.read_text().replace("deprecation_date: 2999-01-01", in_meta))
    checked = copy.lendloop("check")
    faults = [line for line in checked.stdout.splitlines() if ": fault " in line]
    assert (checked.returncode, len(faults)) == (2, 1)
    assert "trusted.fct_ticket_v1 was to go on 2026-01-01 and is read by exposure old_report" in faults[0]
    exposures.write_text(without)
    assert copy.lendloop("check").returncode == 0
