"""Versions of what is kept on disk: an older state is brought up, a newer one is refused.

A JSON file carries its version as `format`, a DuckDB file in a table `format`; a file without one is
of the first version. Operational state has migrations of its own (activation.ops). A step is one
transaction together with its number, so a process killed in the middle leaves the version before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import duckdb
from pydantic import BaseModel

from lendloop.errors import ConfigurationError, PermanentError

Model = TypeVar("Model", bound=BaseModel)
JsonStep = Callable[[dict[str, Any]], dict[str, Any]]


class DamagedFileError(PermanentError, ValueError):
    """A file of kept state that can't be read as what it is."""


def refuse_newer(what: str, found: int, known: int) -> None:
    """Raise ConfigurationError when `found` is a version that this code does not know."""
    if found > known:
        raise ConfigurationError(
            f"{what} is of version {found}, and this lendloop knows up to {known}: run the newer lendloop that wrote it"
        )


def read_json(path: Path, model: type[Model], steps: Sequence[JsonStep] = ()) -> Model:
    """A JSON file as `model`, brought up by `steps`: the n-th makes version n + 1 out of version n.

    Raises ConfigurationError for a newer file, DamagedFileError (a ValueError) for one that holds something else, OSError
    for one that can't be read.
    """
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
        found = int(content.get("format", 1))
        refuse_newer(str(path), found, 1 + len(steps))
        for step in steps[found - 1 :]:
            content = step(content)
        return model.model_validate(content | {"format": 1 + len(steps)})
    except ValueError as error:
        raise DamagedFileError(
            f"{path} is damaged ({str(error).splitlines()[0].partition(':')[0]}): put it back from a backup, or move it away to go on without it"
        ) from None


def write_json(path: Path, content: BaseModel, *, mode: int = 0o644) -> None:
    """Put a model in the place of a file, at once: its bytes are on disk before its name."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content.model_dump_json(indent=1))
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def upgrade(connection: duckdb.DuckDBPyConnection, place: str, steps: Sequence[str], what: str) -> None:
    """Bring the tables of `place` (an attached file or a schema) to the newest version.

    `steps` are SQL scripts, the n-th makes version n out of version n - 1, the first out of nothing.
    Raises ConfigurationError when the file is newer than this code.
    """
    found = version_of(connection, place)
    refuse_newer(what, found, len(steps))
    for number, script in enumerate(steps[found:], start=found + 1):
        connection.execute("begin")
        try:
            connection.execute(script)
            connection.execute(f"create table if not exists {place}.format (version integer)")
            connection.execute(f"delete from {place}.format")
            connection.execute(f"insert into {place}.format values (?)", [number])
        except BaseException:
            connection.execute("rollback")
            raise
        connection.execute("commit")


def version_of(connection: duckdb.DuckDBPyConnection, place: str) -> int:
    """The version of a DuckDB file's tables; 0 for one that has no version yet."""
    try:
        [(version,)] = connection.execute(f"select coalesce(max(version), 0) from {place}.format").fetchall()
    except duckdb.CatalogException:
        return 0
    return int(version)
