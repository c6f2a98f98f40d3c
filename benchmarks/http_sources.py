"""The CRM and the helpdesk over HTTP: a load into raw beside a bare client that drains the same endpoints.

The stand-in serves from a process of its own on the same machine, so a part of every figure is the vendor's; the bare
client (httpx with keep-alive, orjson) does nothing but ask, read and parse, one page after the other.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson

from benchmarks.harness import ROUNDS, Peer, Row, Size, Timing, timed_call
from ingestion.crm import LIST_LIMIT, PROPERTIES, SEARCH_LIMIT
from ingestion.load import load_source
from ingestion.support import LEFT_OUT, PAGE_ROWS
from lendloop.settings import Settings, SourceName, load_settings
from orchestration.sandbox_process import call, sandbox_server

TITLE = "The CRM and the helpdesk over HTTP: loads beside a bare client"
CUSTOMERS: dict[Size, int] = {"small": 2_000, "full": 100_000}
SOURCES: dict[SourceName, str] = {"crm": "contacts and deals", "support": "tickets, users and events"}
LIMITS: dict[SourceName, str] = {"crm": "hubspot.general", "support": "zendesk.incremental"}
"""The stand-in's budget that a load and the bare client spend most of, by source."""


def measure(size: Size) -> Iterator[Row]:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        with sandbox_server(folder / "sandbox", CUSTOMERS[size]) as sandbox:
            variables = {name: value for name, value in sandbox.items() if name.startswith("LENDLOOP_")}
            for source, what in SOURCES.items():
                limit = call(sandbox["base_url"], "/limits")[LIMITS[source]]
                rounds = 1 if size == "small" else ROUNDS
                yield from _measure(source, what, variables, folder, rounds, window_s=limit["seconds"])
    finally:
        shutil.rmtree(folder)


def _measure(
    source: SourceName, what: str, variables: Mapping[str, str], folder: Path, rounds: int, *, window_s: float
) -> Iterator[Row]:
    """Each run begins with a whole budget of calls: `window_s` is how long the vendor counts one."""

    def timed(function: Callable[..., Any], *arguments: Any) -> Timing:
        time.sleep(window_s)
        return timed_call(function, *arguments)

    timings: dict[str, list[Timing]] = {name: [] for name in ("drain", "first", "drain again", "no change")}
    for number in range(rounds):
        home = folder / f"home-{source}-{number}"
        timings["drain"].append(timed(drain, source, variables, False))
        timings["first"].append(timed(load, source, variables, home))
        timings["drain again"].append(timed(drain, source, variables, True))
        timings["no change"].append(timed(load, source, variables, home))
    with httpx.Client() as client:
        rows = sum(len(page) for page in _pages(client, source, _settings(variables, folder), False))
    yield Row(f"{what}: first load", timings["first"], [Peer("bare client", timings["drain"])], amount=rows)
    yield Row(f"{what}: nothing changed", timings["no change"], [Peer("bare client", timings["drain again"])])


def _settings(variables: Mapping[str, str], home: Path) -> Settings:
    fields = {name.removeprefix("LENDLOOP_").lower(): value for name, value in variables.items()}
    return load_settings(_env_file=None, LENDLOOP_HOME=home, **fields)


def load(source: SourceName, variables: Mapping[str, str], home: Path) -> None:
    """One load as a pass does it."""
    settings = _settings(variables, home)
    load_source(source, settings, settings.clock())


def drain(source: SourceName, variables: Mapping[str, str], changes_only: bool) -> None:
    """Ask for what a load asks for, and keep nothing."""
    with httpx.Client(timeout=120) as client:
        for _ in _pages(client, source, _settings(variables, Path("unused")), changes_only):
            pass


def _pages(client: httpx.Client, source: SourceName, settings: Settings, changes_only: bool) -> Iterator[list[Any]]:
    if source == "crm":
        client.headers["Authorization"] = f"Bearer {settings.secret('crm_token')}"
        for name in PROPERTIES:
            yield from _crm_pages(client, settings, name, changes_only)
    else:
        client.auth = httpx.BasicAuth(f"{settings.support_user}/token", settings.secret("support_token"))
        for name in ("tickets", "users", "ticket_events"):
            yield from _support_pages(client, settings, name, changes_only)


def _crm_pages(client: httpx.Client, settings: Settings, name: str, changes_only: bool) -> Iterator[list[Any]]:
    url, properties = f"{settings.crm_url}/crm/v3/objects/{name}", list(PROPERTIES[name].values())
    if changes_only:
        since = int((settings.clock().as_of - timedelta(minutes=settings.lag_minutes)).timestamp() * 1000)
        where = [{"propertyName": PROPERTIES[name]["updated_at"], "operator": "GTE", "value": str(since)}]
        body = {"filterGroups": [{"filters": where}], "properties": properties, "limit": SEARCH_LIMIT}
        yield orjson.loads(client.post(f"{url}/search", json=body).content)["results"]
    for archived in ("true",) if changes_only else ("false", "true"):
        params = {"limit": LIST_LIMIT, "archived": archived, "properties": ",".join(properties)}
        while True:
            page = _get(client, url, params)
            yield page["results"]
            if "paging" not in page:
                break
            params["after"] = page["paging"]["next"]["after"]


def _support_pages(client: httpx.Client, settings: Settings, name: str, changes_only: bool) -> Iterator[list[Any]]:
    by_time = name == "ticket_events"
    url = f"{settings.support_url}/api/v2/incremental/{name}{'' if by_time else '/cursor'}.json"
    since = settings.clock().as_of - LEFT_OUT - timedelta(minutes=settings.lag_minutes)
    params: dict[str, Any] = {"start_time": int(since.timestamp()) if changes_only else 0, "per_page": PAGE_ROWS}
    if by_time:
        params["include"] = "comment_events"
    while True:
        page = _get(client, url, params)
        yield page[name]
        if page["end_of_stream"]:
            return
        if by_time:
            params["start_time"] = page["end_time"]
        else:
            params = {"cursor": page["after_cursor"], "per_page": PAGE_ROWS}


def _get(client: httpx.Client, url: str, params: Mapping[str, Any]) -> Any:
    """The answer; a refused call is asked again when the vendor says so. Raises httpx.HTTPStatusError for any other."""
    while (answer := client.get(url, params=params)).status_code == httpx.codes.TOO_MANY_REQUESTS:
        time.sleep(float(answer.headers.get("Retry-After", "1")))
    return orjson.loads(answer.raise_for_status().content)
