"""`lendloop dev` as a data engineer meets it: the UI in a browser, materialise all, the daemon with its sensor on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from orchestration.sandbox_process import sandbox_server
from tests.end_to_end.installation import Installation
from tests.ports import free_port
from tests.servers import ledger_of, on_servers

pytestmark = pytest.mark.slow
START_TIMEOUT_S = 300
CUSTOMERS = 300
RUN_TIMEOUT_S = 420
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian's package chromium)")


class Dev(Installation):
    """An installation with a UI."""

    url: str = ""

    def graphql(self, query: str, **variables: Any) -> Any:
        request = urllib.request.Request(
            self.url + "/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            body = json.load(answer)
        assert "errors" not in body, body
        return body["data"]


def eventually(what: str, ask: Callable[[], Any], timeout_s: float) -> Any:
    """Ask until the answer is true, with a bound."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if answer := ask():
            return answer
        time.sleep(0.5)
    raise AssertionError(f"not within {timeout_s:.0f} s: {what}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for `lendloop dev`. On servers the pretend lender is there already: it takes one that it finds."""
    folder = tmp_path_factory.mktemp("dev")
    sandbox = folder / "home" / "sandbox"
    with sandbox_server(sandbox, CUSTOMERS, ledger_of(sandbox)) if on_servers() else nullcontext():
        yield folder


@pytest.fixture(scope="module")
def dev(folder: Path) -> Iterator[Dev]:
    """`lendloop dev` on a small pretend lender, with its first pass done."""
    installation = Dev(folder / "home")
    port = free_port()
    installation.url = f"http://127.0.0.1:{port}"
    log = (folder / "dev.log").open("w+")
    process = subprocess.Popen(
        installation.command("dev", "--port", str(port), "--customers", str(CUSTOMERS)),
        env=installation.process_environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )

    def loaded() -> bool:
        assert process.poll() is None, (folder / "dev.log").read_text()[-3000:]
        try:
            return bool(repository(installation))
        except (urllib.error.URLError, OSError, AssertionError):
            return False

    try:
        eventually("the UI has loaded the code location", loaded, START_TIMEOUT_S)
        server = json.loads((installation.home / "sandbox" / "server.json").read_text())
        installation.base_url = server["base_url"]
        installation.environment.update(server["settings"])
        yield installation
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()
    assert process.returncode == 0, (folder / "dev.log").read_text()[-3000:]


def repository(dev: Dev) -> dict[str, Any] | None:
    nodes = dev.graphql(
        "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } sensors { name } } } } }"
    )["repositoriesOrError"]["nodes"]
    return nodes[0] if nodes else None


def materialise_all(dev: Dev) -> str:
    """What the button does: every asset that can be executed, with the default executor. Returns the run's id."""
    assets = dev.graphql("{ assetNodes { assetKey { path } isExecutable } }")["assetNodes"]
    launched = dev.graphql(
        """mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) {
             __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
        params={
            "selector": {
                "repositoryLocationName": "lendloop",
                "repositoryName": "__repository__",
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": node["assetKey"]["path"]} for node in assets if node["isExecutable"]],
            },
            "mode": "default",
            "runConfigData": {},
        },
    )["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return str(launched["run"]["runId"])


def outcome(dev: Dev, run_id: str) -> str:
    """The end status of a run."""

    def ended() -> str | None:
        status = dev.graphql("query S($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id)[
            "runOrError"
        ]["status"]
        return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None

    return str(eventually(f"run {run_id} ends", ended, RUN_TIMEOUT_S))


def test_materialise_all_works_beside_a_run_of_the_command_line(dev: Dev) -> None:
    dev.sandbox("/tick", {"days": 1})
    run_id = materialise_all(dev)
    beside = dev.lendloop("run", "--json")
    assert beside.returncode == 0, beside.stderr[-2000:]
    assert outcome(dev, run_id) == "SUCCESS"
    assert dev.lendloop("run", "--json").returncode == 0


def test_materialised_again_and_again_the_sensor_carries_a_failed_source_to_slack_and_its_recovery(dev: Dev) -> None:
    started = dev.graphql(
        """mutation Start($selector: SensorSelector!) { startSensor(sensorSelector: $selector) {
             __typename ... on PythonError { message } } }""",
        selector={
            "repositoryLocationName": "lendloop",
            "repositoryName": "__repository__",
            "sensorName": "alerts",
        },
    )["startSensor"]
    assert started["__typename"] == "Sensor", started
    dev.sandbox("/faults", {"system": "zendesk", "kind": "status", "status": 401})

    assert outcome(dev, materialise_all(dev)) == "FAILURE"

    def messages() -> str:
        return json.dumps(dev.arrivals["slack"]["messages"])

    eventually("the failed source is told", lambda: "support" in messages(), 120)
    urllib.request.urlopen(urllib.request.Request(dev.base_url + "/faults", method="DELETE"), timeout=30).read()
    told = len(dev.arrivals["slack"]["messages"])
    assert outcome(dev, materialise_all(dev)) == "SUCCESS"
    eventually(
        "its recovery is told",
        lambda: re.search("resolved", messages(), re.IGNORECASE) and len(dev.arrivals["slack"]["messages"]) >= told,
        120,
    )


@NEEDS_CHROMIUM
def test_the_browser_shows_the_graph_and_a_green_check(dev: Dev, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(90_000)
        page.goto(dev.url + "/asset-groups", wait_until="domcontentloaded")
        for group in ("sources", "raw", "trusted", "published", "audiences", "rules", "alerts"):
            page.get_by_text(group, exact=True).first.wait_for()
        skip = page.get_by_role("button", name="Skip")
        if skip.count():
            skip.first.click()
        page.screenshot(path=str(tmp_path / "graph.png"))
        page.goto(dev.url + "/assets/rules/ledger_feed_stale?view=checks", wait_until="domcontentloaded")
        page.get_by_text("Passed").first.wait_for()
        page.goto(dev.url + "/assets/trusted/fct_loan?view=checks", wait_until="domcontentloaded")
        page.get_by_text("Passed").first.wait_for()
        page.screenshot(path=str(tmp_path / "check.png"))
        browser.close()
