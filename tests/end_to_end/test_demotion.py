"""A dataset that breaks its promise in real builds, day after day: demoted, shown, and reinstated after clean days."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.checkout_copy import Copy

FACT = "trusted.fct_loan"
FAILS_UNTIL = "2026-03-04"
TEST = f"""-- depends_on: {{{{ ref('fct_loan') }}}}
select business_date from {{{{ source('raw_meta', 'clock') }}}} where business_date < date '{FAILS_UNTIL}'
"""
BUILD = """
import sys
from ingestion.load import prepare_raw
from lendloop.settings import load_settings
from lendloop.zones import build_and_publish
settings = load_settings()
prepare_raw(settings)
for day in sys.argv[1:]:
    of_day = load_settings(as_of=day)
    build_and_publish(of_day, of_day.clock())
"""


def build(copy: Copy, *days: str) -> None:
    done = copy.python("-c", BUILD, *days)
    assert done.returncode == 0, done.stderr


def standing(copy: Copy, day: str) -> tuple[dict[str, str], list[str]]:
    """How each dataset stands, and what `status` says has failed."""
    shown = copy.lendloop("status", "--json", LENDLOOP_AS_OF=day)
    assert shown.returncode == 0, shown.stderr
    report: dict[str, Any] = json.loads(shown.stdout)
    return {one["dataset"]: one["standing"] for one in report["datasets"]}, report["failures"]


@pytest.mark.slow
def test_a_broken_promise_demotes_is_shown_and_ends_by_a_persons_word_after_clean_days(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    declared = copy.path("dbt_project/models/trusted/portfolio/_trusted_portfolio.yml")
    limit = "meta:\n        demotion: {broken_days: 2, of_days: 5}\n"
    before, mark, after = declared.read_text().partition("  - name: fct_loan\n")
    declared.write_text(before + mark + after.replace("meta:\n", limit, 1))
    build(copy, "2026-03-01")
    copy.path("dbt_project/tests/loans_are_whole.sql").write_text(TEST)

    build(copy, "2026-03-02", "2026-03-03")
    datasets, failures = standing(copy, "2026-03-03")
    assert datasets[FACT].startswith("demoted since 2026-03-03: its promise broke on 2 of the last 5 days")
    assert "loans_are_whole" in datasets[FACT]
    assert datasets["trusted.agg_cohort"] == f"rests on {FACT}, demoted"
    assert datasets["trusted.fct_ticket"] == "agreed"
    assert any(line.startswith(f"dataset {FACT} is demoted") for line in failures)

    assert copy.lendloop("backup", str(tmp_path / "kept")).returncode == 0
    assert json.loads((tmp_path / "kept/standing.json").read_text())["demoted"].keys() == {FACT}
    assert FACT in json.loads((tmp_path / "kept/days.json").read_text())["datasets"]

    arguments = ("reinstate", FACT, "--by", "data-platform", "--because", "the export is whole again")
    build(copy, "2026-03-04", "2026-03-05")
    early = copy.lendloop(*arguments, LENDLOOP_AS_OF="2026-03-05")
    assert (early.returncode, "clean for 2 of 3 days" in early.stderr) == (1, True)
    build(copy, "2026-03-06")
    done = copy.lendloop(*arguments, LENDLOOP_AS_OF="2026-03-06")
    assert done.returncode == 0, done.stderr
    datasets, failures = standing(copy, "2026-03-06")
    assert set(datasets.values()) == {"agreed"}
    assert not any("demoted" in line for line in failures)
