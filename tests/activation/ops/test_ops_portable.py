"""Operational state copied as text: exactly itself again, in either kind of database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from activation.ops import open_ops, reading, writing
from activation.ops import tables as t
from activation.ops.migrate import newest_version
from activation.ops.portable import dump_ops, is_empty, load_ops
from lendloop.errors import ConfigurationError
from lendloop.settings import load_settings

NOON = datetime(2026, 6, 30, 12, 0, 0, 123456, UTC)


@pytest.fixture
def engine_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Engine]]:
    """Makes an engine on a database of its own, of the kind that is asked for."""
    made: list[Engine] = []

    def make(kind: str) -> Engine:
        url = {}
        if kind == "postgresql":
            name = f"portable_{len(made)}"
            server = request.getfixturevalue("postgres_server")
            request.addfinalizer(lambda: server.drop(name))
            url = {"ops_url": server.create(name)}
        made.append(open_ops(load_settings(LENDLOOP_HOME=tmp_path / str(len(made)), **url)))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


def fill(engine: Engine) -> None:
    message = {
        "channel": "slack", "kind": "alert", "payload": {"text": "Größe", "blocks": [1, None]}, "attempts": 0,
        "created_as_of": NOON, "created_wall": NOON.astimezone(timezone(timedelta(hours=1))),
    }  # fmt: skip
    with writing(engine) as connection:
        for number, state in enumerate(("sent", "planned", "in_flight", "failed"), start=1):
            parent = 1 if number == 2 else None
            key = {"uid": state, "dedup_key": state, "state": state, "parent_id": parent}
            connection.execute(insert(t.outbox).values(**message, **key))
        evaluation = connection.execute(
            insert(t.rule_evaluation).values(
                rule="r", rule_version="1", as_of=NOON, outcome="failed", findings=1, new_findings=1,
                cleared_findings=0, frozen=True, duration_ms=1,
            )
        ).inserted_primary_key[0]  # fmt: skip
        connection.execute(
            insert(t.finding).values(
                rule="r", entity="1", entity_key={"id": 1}, severity="warning",
                value=Decimal("9007199254740993.000001"), details={}, firing=True, unseen=False, first_seen_at=NOON,
                last_seen_at=NOON, evaluation_id=evaluation,
            )
        )  # fmt: skip


def content(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    with reading(engine) as connection:
        return {
            table.name: [
                dict(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
            ]
            for table in t.metadata.sorted_tables
        }


@pytest.mark.parametrize(
    ("before", "after"), [("sqlite", "postgresql"), ("postgresql", "sqlite"), ("sqlite", "sqlite")]
)
def test_a_copy_is_itself_again_in_either_database(
    engine_of: Callable[[str], Engine], tmp_path: Path, before: str, after: str
) -> None:
    source, target = engine_of(before), engine_of(after)
    fill(source)
    with writing(target) as connection:
        connection.execute(insert(t.cursor).values(name="what was there", value="1", updated_wall=NOON))
    version = dump_ops(source, tmp_path / "copy")
    assert load_ops(target, tmp_path / "copy", version) == 6
    expected, loaded = content(source), content(target)
    assert [row["state"] for row in loaded["outbox"]] == ["sent", "unknown", "unknown", "failed"]
    for row in (*expected["outbox"], *loaded["outbox"]):
        if row["uid"] in ("planned", "in_flight"):
            for name in ("state", "reason", "attempted_wall"):
                row.pop(name)
    assert loaded == expected
    with writing(target) as connection:
        fresh = connection.execute(
            insert(t.outbox).values(
                uid="n", dedup_key="n", channel="slack", kind="alert", payload={}, state="planned", attempts=0,
                created_as_of=NOON, created_wall=NOON,
            )
        )  # fmt: skip
        assert fresh.inserted_primary_key[0] == 5


def test_a_copy_that_does_not_load_leaves_what_was_there(engine_of: Callable[[str], Engine], tmp_path: Path) -> None:
    source, target = engine_of("sqlite"), engine_of("sqlite")
    fill(source)
    version = dump_ops(source, tmp_path / "copy")
    fill(target)
    before = content(target)
    with open(tmp_path / "copy" / "finding.jsonl", "a") as file:
        file.write(json.dumps({"id": 9, "rule": None}) + "\n")
    with pytest.raises(Exception, match="finding"):
        load_ops(target, tmp_path / "copy", version)
    assert content(target) == before
    with pytest.raises(ConfigurationError, match="9999"):
        load_ops(target, tmp_path / "copy", "9999")
    assert content(target) == before
    assert not is_empty(target)
    assert version == newest_version()
