"""What every model promises: described, owned, in a group, on the business clock, and parsed without a warning."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from dbt_lab import PROJECT, Lab

READERS_SCHEMAS = ("trusted", "kpi", "contacts")


@pytest.fixture(scope="module")
def manifest(make_lab: Callable[[str], Lab]) -> dict[str, Any]:
    lab = make_lab("parse")
    outcome = lab.dbt("--warn-error", "parse", "--no-partial-parse", "--show-all-deprecations")
    assert outcome.exception is None, outcome.exception
    loaded: dict[str, Any] = json.loads((lab.folder / "target" / "manifest.json").read_text())
    return loaded


def models(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]


def readable(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in models(manifest) if node["schema"] in READERS_SCHEMAS]


def test_every_model_is_described_and_belongs_to_a_group_with_an_owner(manifest: dict[str, Any]) -> None:
    owners = {group["name"]: group["owner"] for group in manifest["groups"].values()}
    for node in models(manifest):
        assert node["description"], node["name"]
        assert owners[node["group"]]["email"].endswith("@example.org"), node["name"]


def test_what_readers_see_has_an_enforced_contract_and_a_type_on_every_column(manifest: dict[str, Any]) -> None:
    """What else it must declare is the registry's and the dictionary's: tests/governance."""
    assert len(readable(manifest)) >= 24
    for node in readable(manifest):
        assert node["contract"]["enforced"], node["name"]
        assert all(column["data_type"] for column in node["columns"].values()), node["name"]


def test_no_column_of_trusted_or_kpi_carries_contact_data_or_a_name(manifest: dict[str, Any]) -> None:
    carried = [
        f"{node['name']}.{name}"
        for node in readable(manifest)
        if node["schema"] != "contacts"
        for name, column in node["columns"].items()
        if column["meta"]["pii"] in ("contact", "name")
    ]
    assert carried == []


def test_gray_is_not_public_and_trusted_is(manifest: dict[str, Any]) -> None:
    assert {node["access"] for node in models(manifest) if node["schema"] == "gray"} == {"protected"}
    assert {node["access"] for node in models(manifest) if node["schema"] in ("trusted", "kpi")} == {"public"}


def test_no_model_reads_the_wall_clock_or_selects_everything() -> None:
    for path in (*(PROJECT / "models").rglob("*.sql"), *(PROJECT / "macros").rglob("*.sql")):
        sql = re.sub(r"--.*|\{#.*?#\}", "", path.read_text(), flags=re.S if "macros" in path.parts else 0).lower()
        assert not re.search(r"\b(current_date|current_timestamp|now\(\)|today\(\)|getdate)", sql), path.name
        assert not re.search(r"select\s+\*", sql), path.name


def test_what_only_duckdb_can_do_is_in_macros() -> None:
    own_words = re.compile(
        r"strip_accents|damerau|unnest\(|range\(|timezone\(|::|epoch|list_|struct_|read_csv|qualify\b"
    )
    for path in (PROJECT / "models").rglob("*.sql"):
        assert not own_words.search(path.read_text().lower()), path.name


def test_exposures_name_the_audiences_the_rules_and_the_catalogue(manifest: dict[str, Any]) -> None:
    exposures = {exposure["name"] for exposure in manifest["exposures"].values()}
    assert exposures == {
        "approved_not_accepted",
        "closed_well_dormant",
        "recovery",
        "large_transaction",
        "first_payment_default_spike",
        "ticket_backlog",
        "ledger_feed_stale",
        "published_catalogue",
    }
