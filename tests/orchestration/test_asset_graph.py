"""The code location as a whole: it loads, every asset says what it is, and the graph is the one we mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from governance.manifest import read_manifest
from governance.registry import read_registry
from lendloop.errors import ConfigurationError
from lendloop.home import Home
from orchestration.definitions import build_defs
from orchestration.jobs import cron_of
from orchestration.names import MAIN_JOB

SNAPSHOT = Path(__file__).with_name("asset_graph.json")


def graph_of(definitions: dg.Definitions) -> dict[str, Any]:
    graph = definitions.resolve_asset_graph()
    checks: dict[str, list[str]] = {}
    for key in graph.asset_check_keys:
        checks.setdefault(key.asset_key.to_user_string(), []).append(key.name)
    return {
        key.to_user_string(): {
            "group": (node := graph.get(key)).group_name,
            "executable": node.is_executable,
            "upstream": sorted(parent.to_user_string() for parent in node.parent_keys),
            "checks": sorted(checks.get(key.to_user_string(), [])),
        }
        for key in sorted(graph.get_all_asset_keys(), key=lambda key: key.to_user_string())
    }


def test_the_asset_graph_is_the_one_we_mean(definitions: dg.Definitions) -> None:
    """After a change that is meant: `python tests/orchestration/test_asset_graph.py` writes the snapshot anew."""
    assert graph_of(definitions) == json.loads(SNAPSHOT.read_text())


def test_every_asset_has_group_kinds_owner_and_description(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        missing = [
            name
            for name, value in {
                "group": node.group_name,
                "kinds": node.kinds,
                "owners": node.owners,
                "description": node.description,
            }.items()
            if not value
        ]
        assert not missing, f"{key.to_user_string()} has no {', '.join(missing)}"


def test_from_the_sources_to_what_is_agreed_groups_lead_one_way(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    before: dict[str, set[str]] = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        before.setdefault(str(node.group_name), set()).update(
            str(graph.get(parent).group_name) for parent in node.parent_keys
        )
    assert before["gray"] <= {"gray", "raw", "sources"}
    assert before["gray_of_trusted"] <= {"gray_of_trusted", "gray", "trusted", "raw", "sources"}


def test_trusted_and_raw_assets_have_freshness_policies(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    without = [
        key.to_user_string()
        for key in graph.get_all_asset_keys()
        if key.path[0] in ("trusted", "kpi") and graph.get(key).freshness_policy is None
    ]
    assert without == []


def test_owners_freshness_and_terms_of_assets_are_those_of_the_registry(
    definitions: dg.Definitions, parsed: Home
) -> None:
    datasets = read_registry(read_manifest(parsed))
    graph = definitions.resolve_asset_graph()
    for dataset in datasets.values():
        node = graph.get(dg.AssetKey(dataset.key.split(".")))
        promised = dataset.parameters.freshness
        assert node.owners == [f"team:{dataset.parameters.owner}"]
        assert node.freshness_policy == dg.FreshnessPolicy.time_window(promised.fail, promised.warn)
        columns = node.metadata["dagster/column_schema"].columns
        assert {column.name: column.tags["term"] for column in columns} == {
            name: column.term for name, column in dataset.columns.items()
        }
        assert not [column.name for column in columns if "- kind" in (column.description or "")]
    assert graph.get(dg.AssetKey(["gray", "stg_ledger__loans"])).owners == ["team:risk"]


@pytest.mark.parametrize(
    ("minutes", "cron"), [(15, "*/15 * * * *"), (60, "0 */1 * * *"), (180, "0 */3 * * *"), (1440, "0 0 * * *")]
)
def test_the_schedule_follows_the_shortest_refresh(minutes: int, cron: str) -> None:
    assert cron_of(minutes) == cron


def test_without_a_setting_passes_start_as_often_as_the_datasets_ask(definitions: dg.Definitions) -> None:
    assert [one.cron_schedule for one in definitions.get_repository_def().schedule_defs] == ["*/15 * * * *"]


def test_the_steps_of_a_pass_share_one_process_whoever_starts_it(definitions: dg.Definitions) -> None:
    for job in (MAIN_JOB, "__ASSET_JOB"):
        assert definitions.get_repository_def().get_job(job).executor_def is dg.in_process_executor


@pytest.mark.parametrize(("environment", "running"), [("local", False), ("prod", True)])
def test_schedule_and_sensor_run_by_themselves_only_in_prod(
    parsed_environment: pytest.MonkeyPatch, environment: str, running: bool
) -> None:
    parsed_environment.setenv("LENDLOOP_ENV", environment)
    repository = build_defs().get_repository_def()
    states = [schedule.default_status.value for schedule in repository.schedule_defs]
    states += [sensor.default_status.value for sensor in repository.sensor_defs]
    assert set(states) == {"RUNNING" if running else "STOPPED"}
    assert len(states) == 2


def test_the_schedule_is_a_setting_and_a_wrong_one_is_named(parsed_environment: pytest.MonkeyPatch) -> None:
    parsed_environment.setenv("LENDLOOP_SCHEDULE", "0 6 * * *")
    assert [one.cron_schedule for one in build_defs().get_repository_def().schedule_defs] == ["0 6 * * *"]
    parsed_environment.setenv("LENDLOOP_SCHEDULE", "hourly please")
    with pytest.raises(ConfigurationError, match="LENDLOOP_SCHEDULE='hourly please'"):
        build_defs()


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(graph_of(build_defs()), indent=1) + "\n")
