"""The site: what it is made of, gathered, where it stands, and links to it. Pages are made by `governance.site`."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg

from activation.audiences import load_audiences
from activation.rules import load_rules
from governance.dictionary import read_dictionary
from governance.kpis import read_kpis
from governance.lineage import Graph
from governance.manifest import parse_manifest
from governance.quality import Standing, read_standings
from governance.registry import Dataset, read_registry
from governance.site import Content, End, build_site, dataset_page, made_of, read_figures, term_page, zone_of
from lendloop.home import CHECKOUT
from lendloop.locks import file_lock
from lendloop.project import load_manifest, parsed_marker
from lendloop.publish import CATALOG
from lendloop.settings import Settings
from lendloop.source_status import read_status
from lendloop.standing import standing_file
from lendloop.warehouse import open_warehouse
from lendloop.zones import follow_home
from orchestration.activation import ALERTS
from orchestration.lineage import load_definitions
from orchestration.resources import Hub

SITE = dg.AssetKey(["operations", "site"])
PAGES = CHECKOUT / "governance" / "site"


def site_asset(graph: Graph) -> dg.AssetsDefinition:
    """The site as one of the last steps of a pass; `graph` ends in audiences, rules and alerts."""

    @dg.asset(
        key=SITE,
        deps=[ALERTS],
        group_name="operations",
        kinds={"html"},
        owners=["team:data-platform"],
        description="Dictionary, KPIs, datasets and lineage as pages: written when what they show has changed.",
    )
    def site(hub: Hub) -> dg.MaterializeResult[None]:
        settings = hub.settings
        if not settings.site_in_pass:
            return dg.MaterializeResult(metadata={"outcome": "LENDLOOP_SITE_IN_PASS is false"})
        written = renew_site(settings, graph)
        return dg.MaterializeResult(
            metadata={
                "outcome": "written" if written else "nothing that it shows has changed",
                "site": _link(settings, "index.html"),
            }
        )

    return site


def renew_site(settings: Settings, graph: Graph | None = None) -> bool:
    """Write the home's site unless what it shows is as it was. Whether it did; raises like `write_site`."""
    if made_of(settings.home.site) == _grounds(settings):
        return False
    write_site(settings, graph=graph)
    return True


def _grounds(settings: Settings) -> str:
    """A digest of what the site shows and how: what is published and stands, which sources fail, dbt project,
    definitions, templates."""
    home = settings.home
    files = [
        home.published_files / CATALOG, standing_file(home), parsed_marker(home),
        *sorted(settings.definitions.rglob("*.yaml")), *sorted(file for file in PAGES.rglob("*.*") if file.suffix != ".pyc"),
    ]  # fmt: skip
    failing = sorted(name for name, status in read_status(home).items() if status.error)
    digest = hashlib.sha256(f"{failing}\n".encode())
    for file in files:
        digest.update(f"{file.name}\n".encode() + (file.read_bytes() if file.exists() else b""))
    return digest.hexdigest()


def write_site(settings: Settings, target: Path | None = None, graph: Graph | None = None) -> Path:
    """Write the site, into the home unless a folder is named. Returns its first page.

    With what is published in the home, if anything is, and the quality that its warehouse keeps. Raises ConfigurationError for definitions that are at fault, and
    for a folder that holds something else.
    """
    follow_home(settings)
    target = target or settings.home.site
    with file_lock(settings.home.locks / "site.lock", "writing the site", settings.lock_timeout_s):
        grounds = _grounds(settings)
        build_site(target, _content(settings, graph or load_definitions(settings).graph), grounds)
    return target / "index.html"


def _content(settings: Settings, graph: Graph) -> Content:
    declared = load_manifest(settings.home)
    manifest = parse_manifest(declared)
    datasets, kpis = read_registry(manifest), read_kpis(declared)
    return Content(
        manifest=manifest,
        datasets=datasets,
        dictionary=read_dictionary(manifest),
        kpis=kpis,
        graph=graph,
        ends=_ends(settings),
        figures=read_figures(settings.home, settings.clock(), datasets, kpis, _quality(settings)),
    )


def _ends(settings: Settings) -> dict[str, End]:
    """What the files of audiences and rules say of them, by their keys in the graph."""
    audiences = load_audiences(settings.definitions / "audiences")
    found = {f"audiences.{one.audience}": End(one.title, one.owner, one.purpose) for one in audiences}
    rules = load_rules(settings.definitions)
    return found | {f"rules.{one.rule}": End(one.title, one.owner, " ".join(one.description.split())) for one in rules}


def _quality(settings: Settings) -> list[Standing]:
    """The score of every dataset; none where there is no warehouse yet, as where only what is published was copied."""
    if not settings.home.warehouse.exists():
        return []
    with open_warehouse(settings.home, "read quality for the site", settings.lock_timeout_s) as connection:
        return read_standings(connection)


def shown_in_site(spec: dg.AssetSpec, settings: Settings, datasets: Mapping[str, Dataset]) -> dg.AssetSpec:
    """An asset with its zone, its page, and the terms of its columns; as it is when the site has no page of it.

    Links where `LENDLOOP_SITE_URL` says where the site is, else a path in the home: a browser opens no file from a page
    of the Dagster UI.
    """
    key = ".".join(spec.key.path)
    page = _page(spec.key)
    if page is None:
        return spec
    metadata: dict[str, Any] = {"site": _link(settings, page)}
    tags = {}
    if (zone := zone_of(key)) not in ("ends", "sources"):
        metadata["zone"], tags["zone"] = zone, zone
    if dataset := datasets.get(key):
        terms = dict.fromkeys(column.term for column in dataset.columns.values())
        base = _base(settings)
        named = [f"[{term}]({base}/{term_page(term)})" if base else term for term in terms]
        metadata["terms"] = dg.MetadataValue.md(", ".join(named))
    return spec.merge_attributes(metadata=metadata, tags=tags)


def _page(key: dg.AssetKey) -> str | None:
    area, name = key.path[0], key.path[-1]
    if area == "sources":
        return f"sources.html#{name}"
    if area in ("published", "operations", "alerts"):
        return None
    return dataset_page(".".join(key.path))


def _link(settings: Settings, page: str) -> dg.MetadataValue[Any]:
    if base := _base(settings):
        return dg.MetadataValue.url(f"{base}/{page}")
    return dg.MetadataValue.path(settings.home.site / page.partition("#")[0])


def _base(settings: Settings) -> str | None:
    return settings.site_url.rstrip("/") if settings.site_url else None


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a page that is opened is no news."""


@contextmanager
def served_site(folder: Path, host: str) -> Iterator[str]:
    """The site on a free port of this machine, as long as the context lasts. Gives its address."""
    with ThreadingHTTPServer((host, 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{host}:{server.server_port}"
        finally:
            server.shutdown()
