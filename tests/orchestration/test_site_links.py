"""An asset tells in Dagster what its page tells: zone, terms, and where the page is."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import dagster as dg
import pytest

from governance.lineage import Graph
from governance.manifest import read_manifest
from governance.registry import read_registry
from lendloop.publish import Catalog, write_catalog
from lendloop.settings import load_settings
from orchestration.definitions import build_defs
from orchestration.resources import Hub
from orchestration.site import served_site, site_asset


def node(definitions: dg.Definitions, *path: str) -> dg.AssetSpec:
    (spec,) = (spec for spec in definitions.resolve_all_asset_specs() if spec.key == dg.AssetKey(list(path)))
    return spec


def test_with_an_address_assets_link_to_their_page_and_terms(parsed_environment: pytest.MonkeyPatch) -> None:
    parsed_environment.setenv("LENDLOOP_SITE_URL", "https://data.example.org/site/")
    definitions = build_defs()
    base = "https://data.example.org/site"
    assert node(definitions, "trusted", "fct_loan").metadata["site"] == dg.MetadataValue.url(
        f"{base}/datasets/trusted.fct_loan.html"
    )
    for path, page in {
        ("gray", "stg_ledger__loans"): "datasets/gray.stg_ledger__loans.html",
        ("raw_crm", "deals"): "datasets/raw_crm.deals.html",
        ("sources", "crm"): "sources.html#crm",
        ("audiences", "recovery"): "consumers.html#audiences.recovery",
        ("rules", "ticket_backlog"): "consumers.html#rules.ticket_backlog",
    }.items():
        assert node(definitions, *path).metadata["site"].value == f"{base}/{page}"
    assert "site" not in node(definitions, "operations", "verdict").metadata
    terms = node(definitions, "kpi", "kpi_portfolio_daily").metadata["terms"]
    assert f"[par_30]({base}/terms/par_30.html)" in terms.value


def test_every_table_says_its_zone_and_without_an_address_the_file_of_its_page(
    parsed_environment: pytest.MonkeyPatch,
) -> None:
    definitions = build_defs()
    settings = load_settings()
    datasets = read_registry(read_manifest(settings.home))
    specs = {".".join(spec.key.path): spec for spec in definitions.resolve_all_asset_specs()}
    for key in datasets:
        zone = key.partition(".")[0]
        assert specs[key].metadata["zone"] == specs[key].tags["zone"] == zone
        assert specs[key].metadata["site"].value == str(settings.home.site / "datasets" / f"{key}.html")
    assert specs["gray.int_person_record"].tags["zone"] == "gray"
    assert specs["raw_ledger.m_loan"].tags["zone"] == "raw"
    assert "zone" not in specs["audiences.recovery"].tags


def test_a_pass_writes_the_site_when_what_it_shows_has_changed(
    parsed_environment: pytest.MonkeyPatch, graph: Graph
) -> None:
    home = load_settings().home.prepare()

    def outcome() -> object:
        result = dg.materialize([site_asset(graph)], resources={"hub": Hub()}, instance=instance)
        [made] = result.asset_materializations_for_node("operations__site")
        return made.metadata["outcome"].value

    with dg.DagsterInstance.ephemeral() as instance:
        assert outcome() == "written"
        assert "Dictionary" in (home.site / "index.html").read_text()
        assert outcome() == "nothing that it shows has changed"
        write_catalog(home, Catalog(version=2))
        assert outcome() == "written"
        parsed_environment.setenv("LENDLOOP_SITE_IN_PASS", "false")
        write_catalog(home, Catalog(version=3))
        assert outcome() == "LENDLOOP_SITE_IN_PASS is false"


def test_the_site_is_served_as_long_as_it_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("agreed")
    with served_site(tmp_path, "127.0.0.1") as address, urllib.request.urlopen(f"{address}/", timeout=10) as answer:
        assert answer.read() == b"agreed"
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address}/", timeout=10)
