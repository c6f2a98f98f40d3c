"""A PostgreSQL that stops in the middle of a pass: the pass ends, says which, and the next one loses nothing."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lendloop.home import CHECKOUT
from orchestration.sandbox_process import sandbox_server
from tests.end_to_end.installation import Installation, installation_on
from tests.forked import Process
from tests.postgres import Server, postgres_server

pytestmark = pytest.mark.slow

CUSTOMERS = 200
BOUND_S = 240.0
"""No pass goes on for longer once a server is away, on a busy machine too."""
CHANGES = {
    "rules/large_transaction.yaml": (
        ("NGN: 400000, GHS: 4000, BRL: 3000, XOF: 250000", "NGN: 250000, GHS: 2500, BRL: 2000, XOF: 150000"),
        ("notify_backfill: false", "notify_backfill: true"),
        ("group_over: 5", "group_over: 1000"),
    ),
    "routes.yaml": (("slack_interval_s: 1.0", "slack_interval_s: 0"),),
}
"""So that there is something to tell from the first load on, alert by alert."""


@dataclass
class Hub:
    """An installation whose ledger, operational state and Dagster storage are on servers of their own."""

    installation: Installation
    ledger: Server
    ops: Server
    dagster: Server

    def cut(self, server: Server, moment: Callable[[], bool], said: str) -> None:
        """A pass during which a server stops at a moment. It fails within the bound and says what failed.

        The server is up again afterwards.
        """
        process = Process[str](
            self.installation.command("run"),
            env=self.installation.process_environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            _wait(lambda: moment() or process.poll() is not None)
            assert process.poll() is None, process.communicate()[0]
            server.stop()
            output = process.communicate(timeout=BOUND_S)[0]
        finally:
            process.kill()
            process.wait()
            server.start()
        assert process.returncode == 1, output
        assert said in output, output
        assert f"127.0.0.1:{server.port}" in output.replace("\n", ""), output

    @contextmanager
    def slow(self, system: str, path: str) -> Iterator[Callable[[], bool]]:
        """The vendor does one call that fits `path` and takes its time to say so: whether it has been met."""
        fault = {"system": system, "path": path, "kind": "delay", "delay_s": 4.0, "after_effect": True, "count": 1}
        self.installation.sandbox("/faults", fault)
        try:
            yield lambda: any(one["met"] for one in self.installation.sandbox("/faults")["faults"])
        finally:
            request = urllib.request.Request(self.installation.base_url + "/faults", method="DELETE")
            urllib.request.urlopen(request, timeout=30).read()

    @contextmanager
    def locked(self, table: str) -> Iterator[Callable[[], bool]]:
        """A table of the ledger cannot be read: whether somebody waits for it."""
        engine = sa.create_engine(self.ledger.url())
        waiting = sa.text("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
        holder = engine.connect()
        holder.execute(sa.text(f"lock table {table} in access exclusive mode"))
        watcher = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            yield lambda: bool(watcher.execute(waiting).scalar())
        finally:
            holder.invalidate()
            watcher.invalidate()
            engine.dispose()


def _wait(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND_S
    while not happened():
        assert time.monotonic() < deadline, "the moment did not come"
        time.sleep(0.02)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    definitions = tmp_path / "definitions"
    shutil.copytree(CHECKOUT / "activation" / "definitions", definitions)
    for name, changes in CHANGES.items():
        text = (definitions / name).read_text()
        for old, new in changes:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        (definitions / name).write_text(text)
    with ExitStack() as stack:
        ledger, ops, dagster = (stack.enter_context(postgres_server()) for _ in range(3))
        sandbox = stack.enter_context(sandbox_server(tmp_path / "sandbox", CUSTOMERS, ledger.url()))
        settings = {
            "LENDLOOP_OPS_URL": ops.url(),
            "LENDLOOP_DAGSTER_URL": dagster.url(),
            "LENDLOOP_DEFINITIONS": str(definitions),
        }
        yield Hub(installation_on({**sandbox, **settings}, tmp_path / "home"), ledger, ops, dagster)


@pytest.mark.timeout(1200)
def test_whatever_server_stops_the_next_pass_heals_it_and_nobody_is_told_twice_or_not_at_all(hub: Hub) -> None:
    installation = hub.installation
    with hub.locked("m_loan_transaction") as waited_for:
        hub.cut(hub.ledger, waited_for, "source ledger")
    assert installation.query("select count(*) from trusted.fct_loan") == [(0,)]
    with hub.slow("blueshift", "customers/bulk") as is_met:
        hub.cut(hub.dagster, is_met, "Dagster's storage at postgresql://")
    assert installation.query("select count(*) > 100 from trusted.fct_loan") == [(True,)]
    with hub.slow("blueshift", "bulk_add_users") as is_met:
        hub.cut(hub.ops, is_met, "operational state at postgresql://")
    with hub.slow("slack", "chat.postMessage") as is_met:
        hub.cut(hub.ops, is_met, "operational state at postgresql://")
    _assert_told_once(installation, installation.run())
    with sa.create_engine(hub.dagster.url()).connect() as connection:
        states = Counter(connection.execute(sa.text("select status from runs")).scalars())
    assert states == {"SUCCESS": 1, "FAILURE": 4}


def _assert_told_once(installation: Installation, report: dict[str, Any]) -> None:
    """Nothing failed; each transaction's alert is in one message, and each list has its members."""
    assert report["failures"] == []
    alerts = [alert for alert in report["alerts"] if alert["rule"] == "large_transaction"]
    assert len(alerts) > 3
    assert all(alert["notified_at"] for alert in alerts)
    arrived = installation.arrivals
    texts = Counter(message["text"].partition(" ")[2] for message in arrived["slack"]["messages"])
    told = {text: times for text, times in texts.items() if text.startswith("Large transaction: account")}
    assert set(told.values()) == {1}
    assert {text.rsplit(" ", 1)[1] for text in told} == {alert["entity"].rsplit(" ", 1)[1] for alert in alerts}
    sent = [audience for audience in report["audiences"] if "blueshift" in audience["destinations"]]
    members = sum(len(one["members"]) for one in arrived["blueshift"]["lists"])
    assert members == sum(audience["desired"] for audience in sent) > 0
    assert all(audience["unknown"] == 0 for audience in sent)
