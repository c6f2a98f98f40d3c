"""Whether two installations on lenders of the same seed came to the same: reports, what vendors received, what readers read.

Ids that are drawn, times of loading and what is made of them are left out, as is how often a pass met a failure that
stood: one that was killed meets it again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from lendloop.home import Home
from lendloop.settings import load_settings
from orchestration.instance import STORAGE_VARIABLE, storage_url
from tests.end_to_end.installation import Installation

SENT = ("profiles", "lists", "slack", "mails", "exports")


def facts(report: dict[str, Any]) -> dict[str, Any]:
    """What a report says of how things stand, without what the last pass itself happened to do."""
    assert report["failures"] == []
    return {
        "sources": {source["source"]: source["rows"] for source in report["sources"]},
        "datasets": {
            one["dataset"]: (one["rows"], one["freshness"], one["checks_failed"]) for one in report["datasets"]
        },
        "audiences": {one["audience"]: (one["desired"], one["held_back"]) for one in report["audiences"]},
        "alerts": Counter(
            json.dumps([alert[name] for name in ("rule", "entity", "severity", "state", "episode", "notified_at")])
            for alert in report["alerts"]
        ),
    }


def sent(installation: Installation) -> dict[str, Any]:
    """What vendors received and what was exported, by SENT. A list has a member `""` that says it is there."""
    arrived = installation.arrivals
    blueshift, mails = arrived["blueshift"], {mail["message_id"]: mail for mail in arrived["mail"]}
    return {
        "profiles": Counter(
            json.dumps({name: value for name, value in profile.items() if name != "uuid"}, sort_keys=True)
            for profile in blueshift["profiles"]
        ),
        "lists": Counter((one["name"], member) for one in blueshift["lists"] for member in ("", *one["members"])),
        "slack": Counter(
            _once(json.dumps([message[name] for name in ("channel_name", "as_of", "text", "blocks")]))
            for message in arrived["slack"]["messages"]
        ),
        "mails": Counter(_once(json.dumps([mail["to"], mail["subject"], mail["text"]])) for mail in mails.values()),
        "exports": Counter(
            f"{folder.name} {member}"
            for folder in (installation.home / "exports").iterdir()
            for member in _export(folder).elements()
        ),
    }


def _once(message: str) -> str:
    return re.sub(r"(Seen(?:\*\\n|: ))(?:once|\d+ times)", r"\1once", message)


def _export(folder: Path) -> Counter[str]:
    """The members of an export, whose files are what its manifest says and have nothing left half beside them."""
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *manifest["files"]}
    for name, said in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == said["sha256"]
    members = [json.loads(line) for line in next(folder.glob("*.jsonl")).read_text().splitlines()]
    drawn = ("send_id", "snapshot")
    return Counter(json.dumps({name: value for name, value in one.items() if name not in drawn}) for one in members)


def differences(
    one: Installation, report: dict[str, Any], twin: Installation, twin_report: dict[str, Any]
) -> dict[str, Any]:
    """What `one` holds otherwise than `twin` does, by what it is; empty when nothing is.

    Of what is in SENT: how much is `too many`, how much is `lost`, and `examples`.
    """
    found: dict[str, Any] = {}
    seen, expected = {**facts(report), **sent(one)}, {**facts(twin_report), **sent(twin)}
    for name, value in expected.items():
        if seen[name] == value:
            continue
        if isinstance(value, Counter):
            too_many, lost = (seen[name] - value), (value - seen[name])
            examples = [*list(too_many.items())[:3], *list(lost.items())[:3]]
            found[name] = {"too many": too_many.total(), "lost": lost.total(), "examples": examples}
        else:
            found[name] = {"seen": seen[name], "expected": value}
    return found | _table_differences(one, twin)


def _table_differences(one: Installation, twin: Installation) -> dict[str, Any]:
    """Rows of the published tables that only one of two catalogues has, each as often as it is there."""
    found: dict[str, Any] = {}
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        for name, installation in (("one", one), ("twin", twin)):
            connection.execute(f"attach '{installation.home / 'published.duckdb'}' as {name} (read_only)")
        listed = {
            name: connection.execute(
                "select table_schema || '.' || table_name from information_schema.tables"
                " where table_catalog = ? and table_schema in ('trusted', 'kpi') order by 1",
                [name],
            ).fetchall()
            for name in ("one", "twin")
        }
        if listed["one"] != listed["twin"]:
            found["tables"] = listed
        for (table,) in [table for table in listed["twin"] if table in listed["one"]]:
            mine, theirs = (
                f"select columns(lambda c: c not in ('loaded_at', 'input_hash')) from {name}.{table}"
                for name in ("one", "twin")
            )
            rows = {
                what: connection.execute(f"({left}) except all ({right}) limit 5").fetchall()
                for what, left, right in (("too many", mine, theirs), ("lost", theirs, mine))
            }
            if any(rows.values()):
                found[table] = rows
        assert listed["twin"]
    return found


def assert_same(one: Installation, report: dict[str, Any], twin: Installation, twin_report: dict[str, Any]) -> None:
    found = differences(one, report, twin, twin_report)
    assert found == {}, json.dumps(found, indent=1, default=str)[:20_000]


def assert_nothing_left_to_do(installation: Installation) -> None:
    """One pass more calls nobody, and no run looks as if it still went on."""
    before = installation.arrivals
    report = installation.run()
    assert report["changed"] is False
    assert installation.arrivals["log"] == before["log"]
    states = _runs(installation)
    assert states.keys() <= {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE}, states
    with duckdb.connect(str(installation.home / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.execute("select count(*) > 0 from trusted.fct_loan").fetchone() == (True,)


def _runs(installation: Installation) -> Counter[dg.DagsterRunStatus]:
    """How many of its Dagster runs are in each state."""
    with pytest.MonkeyPatch.context() as environment:
        if url := installation.process_environment.get(STORAGE_VARIABLE):
            storage = storage_url(load_settings(dagster_url=url)).render_as_string(hide_password=False)
            environment.setenv(STORAGE_VARIABLE, storage)
        with dg.DagsterInstance.from_config(str(Home(installation.home).dagster)) as instance:
            return Counter(run.status for run in instance.get_runs())
