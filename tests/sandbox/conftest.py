"""A sandbox over a tiny lender, served for real on free ports, and the vendors' own clients pointed at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from hubspot import HubSpot
from requests.adapters import HTTPAdapter
from sandbox_fake_world import FakeWorld
from slack_sdk import WebClient
from zenpy import Zenpy

from sandbox.serve import Options, Running, running

ZENDESK_HOST = "https://sandbox.zendesk.com/"


@pytest.fixture
def lender() -> FakeWorld:
    return FakeWorld(300)


@pytest.fixture
def sandbox(tmp_path: Path, lender: FakeWorld) -> Iterator[Running]:
    """The stand-ins with generous limits."""
    with running(Options(tmp_path / "sandbox"), lender) as server:
        yield server


@pytest.fixture
def strict_sandbox(tmp_path: Path, lender: FakeWorld) -> Iterator[Running]:
    """The stand-ins with the vendors' own limits."""
    with running(Options(tmp_path / "sandbox", real_limits=True), lender) as server:
        yield server


@pytest.fixture
def http(sandbox: Running) -> Iterator[httpx.Client]:
    """A plain client of the sandbox's own routes."""
    with httpx.Client(base_url=sandbox.base_url, timeout=20) as client:
        yield client


Connect = Callable[[Running], httpx.Client]


@pytest.fixture
def connect_crm() -> Iterator[Connect]:
    """Opens signed-in clients of a sandbox's CRM."""
    yield from _connector("CRM", lambda s: {"headers": {"Authorization": f"Bearer {s['LENDLOOP_CRM_TOKEN']}"}})


@pytest.fixture
def connect_support() -> Iterator[Connect]:
    yield from _connector(
        "SUPPORT", lambda s: {"auth": (f"{s['LENDLOOP_SUPPORT_USER']}/token", s["LENDLOOP_SUPPORT_TOKEN"])}
    )


@pytest.fixture
def connect_blueshift() -> Iterator[Connect]:
    yield from _connector("BLUESHIFT", lambda s: {"auth": (s["LENDLOOP_BLUESHIFT_KEY"], "")})


def _connector(system: str, credentials: Callable[[dict[str, str]], dict[str, Any]]) -> Iterator[Connect]:
    opened: list[httpx.Client] = []

    def connect(server: Running) -> httpx.Client:
        base_url = server.settings[f"LENDLOOP_{system}_URL"]
        opened.append(httpx.Client(base_url=base_url, timeout=20, **credentials(server.settings)))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


@pytest.fixture
def crm(sandbox: Running, connect_crm: Connect) -> httpx.Client:
    return connect_crm(sandbox)


@pytest.fixture
def support(sandbox: Running, connect_support: Connect) -> httpx.Client:
    return connect_support(sandbox)


@pytest.fixture
def blueshift(sandbox: Running, connect_blueshift: Connect) -> httpx.Client:
    return connect_blueshift(sandbox)


@pytest.fixture
def hubspot(sandbox: Running) -> HubSpot:
    """HubSpot's own client."""
    settings = sandbox.settings
    return HubSpot(access_token=settings["LENDLOOP_CRM_TOKEN"], host=settings["LENDLOOP_CRM_URL"])


@pytest.fixture
def zenpy(sandbox: Running) -> Zenpy:
    """The usual Zendesk client. It insists on https and the vendor's host: an adapter leads these to the stand-in."""
    session = requests.Session()
    session.mount(ZENDESK_HOST, _Redirecting(sandbox.settings["LENDLOOP_SUPPORT_URL"]))
    return Zenpy(
        subdomain="sandbox",
        email=sandbox.settings["LENDLOOP_SUPPORT_USER"],
        token=sandbox.settings["LENDLOOP_SUPPORT_TOKEN"],
        session=session,
        disable_cache=True,
    )


class _Redirecting(HTTPAdapter):
    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        assert request.url is not None
        led = request.copy()
        led.url = request.url.replace(ZENDESK_HOST, f"{self._base_url}/")
        answer = super().send(led, *args, **kwargs)
        answer.request = request
        return answer


@pytest.fixture
def slack(sandbox: Running) -> WebClient:
    """Slack's own client."""
    return WebClient(token=sandbox.settings["LENDLOOP_SLACK_TOKEN"], base_url=sandbox.settings["LENDLOOP_SLACK_URL"])


@pytest.fixture
def channel(sandbox: Running) -> str:
    return sandbox.settings["LENDLOOP_SLACK_CHANNEL"]
