"""A sandbox over a tiny lender, served for real on free ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sandbox_fake_world import FakeWorld

from sandbox.serve import Options, Running, running


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
    with httpx.Client(base_url=sandbox.base_url, timeout=20) as client:
        yield client


@pytest.fixture
def crm(http: httpx.Client, sandbox: Running) -> httpx.Client:
    """A client that is signed in at the CRM; paths are relative to its address."""
    http.base_url = httpx.URL(sandbox.settings["LENDLOOP_CRM_URL"])
    http.headers["Authorization"] = f"Bearer {sandbox.settings['LENDLOOP_CRM_TOKEN']}"
    return http
