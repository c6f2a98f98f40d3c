"""`lendloop promote` on a draft made ready: refused by name, then moved by a diff after which every check passes."""

from __future__ import annotations

import subprocess
from datetime import date, timedelta
from pathlib import Path

import pytest

from lendloop.days import Day, Days
from tests.checkout_copy import Copy
from tests.end_to_end.filled import GRAY, fill_agreed


@pytest.mark.slow
def test_a_draft_made_ready_is_promoted_by_a_diff_and_passes_every_check(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    assert copy.lendloop("new", "model", "int_agreed", "--group", "portfolio", "--trusted").returncode == 0
    fill_agreed(copy)

    refused = copy.lendloop("promote", "int_agreed", "--as", "agg_market_loan")
    assert refused.returncode == 1
    lacking = [line.partition(":")[0] for line in refused.stdout.splitlines() if ": missing" in line]
    assert lacking == ["consumers", "clean days", "approver"]
    assert "not ready for trusted: consumers, clean days, approver" in refused.stderr

    declared = copy.path(f"{GRAY}/portfolio/_int_agreed.yml")
    declared.write_text(declared.read_text().replace("meta:\n", "meta:\n        consumers: [finance]\n", 1))
    days = {date(2026, 3, 1) + timedelta(days=number): Day(checks=3) for number in range(5)}
    copy.path("data/days.json").write_text(Days(datasets={"gray.int_agreed": days}).model_dump_json())

    accepted = ("promote", "int_agreed", "--as", "agg_market_loan", "--approver", "data-platform")
    shown = copy.lendloop(*accepted)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert declared.exists()
    applied = subprocess.run(
        ["git", "apply", "--check", "-"], input=shown.stdout, cwd=copy.root, capture_output=True, text=True, check=False
    )
    assert applied.returncode == 0, applied.stderr
    assert copy.lendloop(*accepted, "--apply").stdout == shown.stdout
    assert not declared.exists()

    checked = copy.lendloop("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    outcomes = {line.partition(":")[0]: line for line in checked.stdout.splitlines()}
    assert "datasets of trusted and kpi pass the gate" in outcomes["promotion"]
    promoted = copy.path("dbt_project/models/trusted/portfolio/_agg_market_loan.yml")
    assert "approved: {by: data-platform" in promoted.read_text()

    promoted.write_text("\n".join(line for line in promoted.read_text().splitlines() if "consumers:" not in line))
    checked = copy.lendloop("check")
    assert checked.returncode == 2
    faults = [line for line in checked.stdout.splitlines() if ": fault " in line]
    assert len(faults) == 1
    assert "agg_market_loan: consumers: nobody reads it" in faults[0]
