"""The site: what it is made of, gathered, where it stands, and links to it. Pages are made by `governance.site`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg

from governance.dictionary import read_dictionary
from governance.kpis import read_kpis
from governance.manifest import parse_manifest
from governance.quality import Standing, read_standings
from governance.registry import Dataset, read_registry
from governance.site import Content, build_site, dataset_page, read_figures, term_page, zone_of
from lendloop.project import load_manifest
from lendloop.settings import Settings
from lendloop.warehouse import open_warehouse
from orchestration.lineage import load_definitions


def write_site(settings: Settings, target: Path | None = None) -> Path:
    """Write the site, into the home unless a folder is named. Returns its first page.

    With what is published in the home, if anything is, and the quality that its warehouse keeps. Raises ConfigurationError for definitions that are at fault, and
    for a folder that holds something else.
    """
    declared = load_manifest(settings.home)
    manifest = parse_manifest(declared)
    datasets, kpis = read_registry(manifest), read_kpis(declared)
    content = Content(
        manifest=manifest,
        datasets=datasets,
        dictionary=read_dictionary(manifest),
        kpis=kpis,
        graph=load_definitions(settings).graph,
        figures=read_figures(settings.home, settings.clock(), datasets, kpis, _quality(settings)),
    )
    target = target or settings.home.site
    build_site(target, content)
    return target / "index.html"


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
