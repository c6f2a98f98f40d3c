from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from lendloop.settings import SOURCES
from tests.end_to_end.installation import Installation


@pytest.fixture
def bare(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "home", is_forked=False)


def test_an_unknown_environment_is_wrong_use_said_in_one_line(bare: Installation) -> None:
    bare.environment["LENDLOOP_ENV"] = "staging"
    done = bare.lendloop("run")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "LENDLOOP_ENV" in done.stderr


def test_what_configured_systems_lack_is_named_all_at_once(bare: Installation) -> None:
    bare.environment |= {
        "LENDLOOP_CRM_URL": "http://127.0.0.1:9",
        "LENDLOOP_SUPPORT_URL": "http://127.0.0.1:9",
        "LENDLOOP_SUPPORT_USER": "hub@lender.example",
    }
    done = bare.lendloop("run")
    assert done.returncode == 2
    assert done.stderr.startswith("lendloop: not set: LENDLOOP_CRM_TOKEN, LENDLOOP_SUPPORT_TOKEN;")


def test_an_unknown_command_and_an_unknown_source_are_wrong_use(bare: Installation) -> None:
    assert bare.lendloop("rum").returncode == 2
    done = bare.lendloop("replay", "erp")
    assert (done.returncode, done.stderr) == (
        2,
        "lendloop: unknown source 'erp': one of crm, ledger, support, costs, survey\n",
    )


def test_verbose_adds_the_trace_to_the_one_line(bare: Installation) -> None:
    bare.environment["LENDLOOP_AS_OF"] = "some day"
    assert "Traceback" not in bare.lendloop("run").stderr
    assert "Traceback" in bare.lendloop("--verbose", "run").stderr


def test_status_of_a_new_installation_says_that_nothing_is_there(bare: Installation) -> None:
    done = bare.lendloop("status", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [source["state"] for source in report["sources"]] == ["not configured"] * len(SOURCES)
    assert report["datasets"] == []


def test_a_new_installation_has_nothing_that_reconciles_and_a_wrong_day_is_said(bare: Installation) -> None:
    done = bare.lendloop("reconcile")
    assert done.returncode == 1
    assert done.stderr == "lendloop: nothing could be compared: why stands beside each pair\n"
    done = bare.lendloop("reconcile", "--on", "yesterday")
    assert (done.returncode, done.stderr) == (2, "lendloop: 'yesterday' is no day: give one as 1998-12-31\n")


def test_a_home_that_cannot_be_written_is_told_in_one_line_and_by_the_doctor(bare: Installation) -> None:
    before = bare.home.stat().st_mode
    bare.home.chmod(0o555)
    bound = ["setpriv", "--inh-caps=-dac_override", "--bounding-set=-dac_override"] if os.getuid() == 0 else []
    try:
        told = {
            name: subprocess.run(
                [*bound, *bare.command(name)], env=bare.process_environment, capture_output=True, text=True, timeout=120
            )
            for name in ("site", "doctor")
        }
    finally:
        bare.home.chmod(before)
    said = told["site"].stderr
    assert (told["site"].returncode, said.count("\n")) == (2, 1), said
    assert said.startswith(f"lendloop: can't write under {bare.home}: ")
    assert "give it back to the user who runs lendloop" in said
    assert told["doctor"].returncode == 1
    assert f"failure home: can't write in {bare.home}" in told["doctor"].stdout


def test_check_passes_offline_on_the_project_as_it_is(bare: Installation) -> None:
    done = bare.lendloop("check", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {check["name"] for check in json.loads(done.stdout)["checks"]} >= {
        "dbt project",
        "audiences",
        "rules",
        "asset graph",
    }


def test_check_names_the_file_and_the_fault_of_a_definition(bare: Installation, tmp_path: Path) -> None:
    (tmp_path / "definitions" / "rules").mkdir(parents=True)
    (tmp_path / "definitions" / "rules" / "late.yaml").write_text("rule: late\ntitle: Something is late\n")
    bare.environment["LENDLOOP_DEFINITIONS"] = str(tmp_path / "definitions")
    done = bare.lendloop("check")
    assert done.returncode == 2
    assert "late.yaml" in done.stdout
    assert "owner" in done.stdout


def test_without_any_source_a_pass_builds_empty_zones_and_says_what_is_not_configured(bare: Installation) -> None:
    bare.environment["LENDLOOP_AS_OF"] = "2026-06-30"
    report = bare.run()
    assert [source["state"] for source in report["sources"]] == ["not configured"] * len(SOURCES)
    assert bare.query("select count(*) from trusted.fct_loan") == [(0,)]
    assert report["failures"] == []
