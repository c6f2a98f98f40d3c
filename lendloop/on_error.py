"""What a failed check of a dataset asks for, and the taking out of rows that fail.

What belongs here: which of the four answers counts for a check, and which rows a failed data test means.
What does not: when that is done (`lendloop.zones`), and what a dataset declares (`governance.registry`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import duckdb

from lendloop.home import Home

KEPT_ROWS = 1000
"""How many rows that were taken out are kept for each test; all of them are counted."""


class OnError(StrEnum):
    """What happens when a blocking check of the dataset fails."""

    HALT = "halt"
    """Nothing is published, of any group."""
    QUARANTINE = "quarantine"
    """The failing rows are kept apart, the others are published."""
    SERVE_STALE = "serve_stale"
    """The dataset's consistency group keeps its previous version."""
    WARN = "warn"
    """It is published, and its readers are told."""


def tested_model(manifest: Mapping[str, Any], unique_id: str) -> str:
    """The id of the model or source that a test is about."""
    node = manifest["nodes"][unique_id]
    models = [parent for parent in node["depends_on"]["nodes"] if parent in manifest["nodes"]]
    return str(node.get("attached_node") or (models or node["depends_on"]["nodes"])[-1])


def answer_to(manifest: Mapping[str, Any], unique_id: str) -> OnError:
    """What a failure of this node asks for.

    A test's own `on_error` wins; one that only warns goes on warning; else its dataset's counts. Rows can't be taken
    out of a view, of a past that can't be made again, or by a test that does not name them: their group stays stale.
    A table that was not made has no rows to publish, so there `quarantine` and `warn` are `serve_stale` too.
    """
    node = manifest["nodes"][unique_id]
    if node["resource_type"] != "test":
        return OnError.HALT if _declared(node) is OnError.HALT else OnError.SERVE_STALE
    subject = manifest["nodes"].get(tested_model(manifest, unique_id), {})
    answer = _declared(node)
    if answer is None:
        only_warns = node["config"].get("severity", "error").lower() == "warn"
        answer = OnError.WARN if only_warns else _declared(subject) or OnError.SERVE_STALE
    if answer is OnError.QUARANTINE and not _can_lose_rows(subject):
        return OnError.SERVE_STALE
    return answer


def _declared(node: Mapping[str, Any]) -> OnError | None:
    value = node.get("config", {}).get("meta", {}).get("on_error")
    return OnError(value) if value else None


def _can_lose_rows(model: Mapping[str, Any]) -> bool:
    config = model.get("config", {})
    return config.get("materialized") in ("table", "incremental") and config.get("full_refresh") is not False


@dataclass(frozen=True)
class FailedTest:
    """A data test that found rows. `sql` is what dbt ran: it selects what fails."""

    unique_id: str
    sql: str


def take_out(
    connection: duckdb.DuckDBPyConnection,
    home: Home,
    manifest: Mapping[str, Any],
    tests: Iterable[FailedTest],
    moment: datetime,
) -> dict[str, int]:
    """Take the rows that these tests found out of their tables; returns how many, by test.

    They are kept, masked and bounded, in a file of each table before they go (`kept_file`). A test whose result names
    no rows of the table is not mentioned. `moment` is the business clock's.
    """
    taken: dict[str, int] = {}
    by_model: dict[str, list[tuple[FailedTest, str]]] = {}
    for test in tests:
        condition = rows_that_fail(connection, manifest, test)
        if condition is not None:
            by_model.setdefault(tested_model(manifest, test.unique_id), []).append((test, condition))
    for model_id, conditions in by_model.items():
        model = manifest["nodes"][model_id]
        connection.execute("create or replace temp table failing (test varchar, row_id bigint)")
        for test, condition in conditions:
            [(count,)] = connection.execute(
                f"insert into failing select ?, t.rowid from {_relation(model)} as t where {condition}",
                [test.unique_id],
            ).fetchall()
            taken[test.unique_id] = count
        _keep(connection, home, model, [manifest["nodes"][test.unique_id] for test, _ in conditions], moment)
        connection.execute(f"delete from {_relation(model)} where rowid in (select row_id from failing)")
    return taken


def rows_that_fail(connection: duckdb.DuckDBPyConnection, manifest: Mapping[str, Any], test: FailedTest) -> str | None:
    """The condition on a row `t` of the tested model by which the test fails; None when its result names no rows."""
    node = manifest["nodes"][test.unique_id]
    column = node.get("column_name")
    kind = (node.get("test_metadata") or {}).get("name", "")
    found = f"(\n{test.sql}\n)"
    if kind == "not_null":
        return f't."{column}" is null'
    if kind in _RESULT_COLUMN:
        return f't."{column}" in (select "{_RESULT_COLUMN[kind] or column}" from {found})'
    key = manifest["nodes"][tested_model(manifest, test.unique_id)]["config"]["meta"].get("key") or []
    selected = {row[0] for row in connection.execute(f"describe select * from {found}").fetchall()}
    if not key or not selected.issuperset(key):
        return None
    same = " and ".join(f'f."{name}" is not distinct from t."{name}"' for name in key)
    return f"exists (select 1 from {found} as f where {same})"


_RESULT_COLUMN = {"unique": "", "accepted_values": "value_field", "relationships": "from_field"}
"""What dbt's own tests call the tested column in their result; empty where it keeps its name."""


def showable_columns(model: Mapping[str, Any]) -> list[str]:
    """The columns of a model that may be shown with a row: without personal data; a pseudonym only where it is a key."""
    key = model["config"]["meta"].get("key") or []
    classes = {name: column["config"]["meta"].get("pii", "name") for name, column in model["columns"].items()}
    return [name for name, pii in classes.items() if pii == "none" or (pii == "pseudonym" and name in key)]


def shown_rows(model: Mapping[str, Any], test: Mapping[str, Any], condition: str) -> str:
    """SQL of the rows `t` of a model that meet a condition, as they may be kept: `test`, `column_name`, `key`, `shown`.

    `shown` has the columns that `showable_columns` names, `key` those of them that are the key. Both are JSON, as text.
    """
    key, shown = model["config"]["meta"].get("key") or [], showable_columns(model)
    return (
        f"select {_literal(test['name'])} as test, {_literal(test.get('column_name') or '')} as column_name,"
        f" {_json(name for name in key if name in shown)} as key, {_json(shown)} as shown"
        f" from {_relation(model)} as t where {condition}"
    )


def kept_file(home: Home, schema: str, table: str) -> Path:
    """Where the rows lie that were taken out of a table: as `shown_rows` says, and `as_of`."""
    return home.quarantine / schema / f"{table}.parquet"


def _keep(
    connection: duckdb.DuckDBPyConnection,
    home: Home,
    model: Mapping[str, Any],
    tests: Iterable[Mapping[str, Any]],
    moment: datetime,
) -> None:
    """Add the rows in the temporary table `failing` to what is kept of the model."""
    path = kept_file(home, model["schema"], model["alias"])
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    parts = []
    for test in tests:
        mine = (
            f"select row_id from failing where test = {_literal(test['unique_id'])} order by row_id limit {KEPT_ROWS}"
        )
        rows = shown_rows(model, test, f"t.rowid in ({mine})")
        parts.append(f"select *, timestamptz {_literal(moment.isoformat())} as as_of from ({rows})")
    if path.exists():
        parts.append(f"select * from read_parquet({_literal(str(path))})")
    kept = " union ".join(f"({part})" for part in parts)
    connection.execute(f"copy ({kept} order by test, key) to {_literal(str(draft))} (format parquet)")
    draft.chmod(0o600)
    os.replace(draft, path)


def held_back(home: Home) -> list[tuple[str, str]]:
    """The tables, as schema and name, of which the last build took rows out."""
    return [(path.parent.name, path.stem) for path in sorted(home.quarantine.glob("*/*.parquet"))]


def _relation(model: Mapping[str, Any]) -> str:
    return f'"{model["schema"]}"."{model["alias"]}"'


def _json(columns: Iterable[str]) -> str:
    """SQL of a JSON object of these columns of `t`, as text."""
    listed = ", ".join(f'"{name}" := t."{name}"' for name in columns)
    return f"cast(to_json(struct_pack({listed})) as varchar)" if listed else "'{}'"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
