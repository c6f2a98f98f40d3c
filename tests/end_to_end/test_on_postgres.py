"""Nothing in SQLite: the ledger, operational state and Dagster's storage on servers, from source to audience."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from lendloop.home import Home
from orchestration.sandbox_process import sandbox_server
from tests.end_to_end.installation import Installation, installation_on
from tests.mariadb import mariadb_over_tcp
from tests.postgres import Server

pytestmark = pytest.mark.slow
PASSWORD = "a-word-that-only-the-server-knows"


@contextmanager
def ledger_on(kind: str, server: Server) -> Iterator[str]:
    if kind == "mariadb":
        with mariadb_over_tcp() as url:
            yield url
    else:
        yield server.create("pretend_ledger")
        server.drop("pretend_ledger")


@pytest.mark.parametrize("ledger", ["postgresql", "mariadb"])
def test_two_passes_and_a_day_between_with_nothing_in_sqlite(
    tmp_path: Path, postgres_server: Server, ledger: str
) -> None:
    """Operational state and Dagster's storage share one database, whose server is in another time zone."""
    state = postgres_server.create(f"state_beside_{ledger}").replace("postgres@", f"postgres:{PASSWORD}@")
    with (
        ledger_on(ledger, postgres_server) as url,
        sandbox_server(tmp_path / "sandbox", customers=250, ledger_url=url) as sandbox,
    ):
        stored = {"LENDLOOP_OPS_URL": state, "LENDLOOP_DAGSTER_URL": state}
        installation = installation_on({**sandbox, **stored}, tmp_path / "home")
        assert installation.environment["LENDLOOP_LEDGER_URL"].startswith(ledger.replace("mariadb", "mysql"))
        first = installation.run()
        assert first["failures"] == []
        installation.sandbox("/tick", {"days": 3})
        second = installation.run()
        assert (second["failures"], second["changed"]) == ([], True)
        assert {source["state"] for source in second["sources"]} == {"ok"}
        assert installation.query("select count(*) > 100 from trusted.fct_loan") == [(True,)]
        _assert_delivered(installation, second)
    _assert_stored(installation, state)


def _assert_delivered(installation: Installation, report: dict[str, list[dict[str, object]]]) -> None:
    """Each audience's list has the members that were desired; each alert that was told is in one message."""
    arrived = installation.arrivals
    members = {one["name"]: len(one["members"]) for one in arrived["blueshift"]["lists"]}
    desired = [audience["desired"] for audience in report["audiences"] if "blueshift" in audience["destinations"]]
    assert sum(members.values()) == sum(desired) > 0
    texts = Counter(message["text"] for message in arrived["slack"]["messages"])
    assert texts
    assert max(texts.values()) == 1
    assert all(alert["notified_at"] for alert in report["alerts"])


def _assert_stored(installation: Installation, url: str) -> None:
    """All state is on the server, and its password in no file."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        runs = connection.execute(sa.text("select status, count(*) from runs group by 1")).all()
        synced = connection.execute(sa.text("select count(distinct started_at) from sync_run")).scalar_one()
        sent = connection.execute(sa.text("select distinct state from outbox")).scalars().all()
        drift = connection.execute(
            sa.text("select max(abs(extract(epoch from now() at time zone 'UTC' - create_timestamp))) from runs")
        ).scalar_one()
    engine.dispose()
    assert [tuple(row) for row in runs] == [("SUCCESS", 2)]
    assert synced >= 2
    assert sent == ["sent"]
    assert drift < 600
    assert not Home(installation.home).ops_sqlite.exists()
    files = [path for path in installation.home.rglob("*") if path.is_file()]
    assert [path for path in files if path.suffix in (".sqlite", ".db")] == []
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []
