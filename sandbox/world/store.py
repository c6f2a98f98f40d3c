"""The world on disk: generations of Arrow files, and a pointer to the one that counts.

Tables are mapped into memory, not read: of a large one only what is looked at costs anything.

A generation is written whole under a name of its own, then the pointer is replaced atomically: a
process that is killed leaves the state before it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from lendloop.errors import ConfigurationError

POINTER = "world.json"
_PREFIX = "generation-"
_SUFFIX = ".arrow"


@dataclass(frozen=True)
class State:
    """What a folder holds. `as_of` in microseconds since 1970; `model` is the version of the world's rules."""

    customers: int
    seed: int
    model: int
    as_of: int
    version: int
    generation: str
    years: int = 1
    """Of history before the first day."""


class Store:
    """The folder of one world."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def state(self) -> State | None:
        """The state that counts, None in a folder without one. Raises ConfigurationError when it can't be read."""
        pointer = self.folder / POINTER
        try:
            return State(**json.loads(pointer.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ConfigurationError(
                f"{pointer} is no state of a sandbox ({error}): remove the folder and start again"
            ) from error

    def table(self, state: State, name: str) -> pa.Table:
        """One table of the state, each column in one piece."""
        return _read(self._path(state, name))

    def has_all(self, state: State, names: frozenset[str]) -> bool:
        """Whether the state's files are all there."""
        return all(self._path(state, name).is_file() for name in names)

    def write(self, tables: Iterable[tuple[str, pa.Table]], generation: str) -> Iterator[tuple[str, pa.Table]]:
        """Write a generation, table by table as they come; each is handed on as it lies there.

        The generation is whole at the iterator's end, and does not count before `point` says so.
        """
        final, draft = self.folder / generation, self.folder / f"{generation}.draft"
        for leftover in (final, draft):
            shutil.rmtree(leftover, ignore_errors=True)
        draft.mkdir(parents=True)
        for name, table in tables:
            path = draft / f"{name}{_SUFFIX}"
            _write(table, path)
            del table
            yield name, _read(path)
        draft.rename(final)

    def _path(self, state: State, name: str) -> Path:
        return self.folder / state.generation / f"{name}{_SUFFIX}"

    def point(self, state: State) -> None:
        """Make a written generation the one that counts, and remove all but it and the one before."""
        before = self.state()
        draft = self.folder / f"{POINTER}.draft"
        with draft.open("w") as file:
            json.dump(asdict(state), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.folder / POINTER)
        kept = {state.generation, before.generation if before else state.generation}
        for other in self.folder.glob(f"{_PREFIX}*"):
            if other.name not in kept:
                shutil.rmtree(other, ignore_errors=True)


def _write(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table.combine_chunks())


def _read(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as mapped:
        return pa.ipc.open_file(mapped).read_all()


def generation_name(version: int, attempt: int) -> str:
    """A name that no other write uses: the attempt is a process id."""
    return f"{_PREFIX}{version:06d}-{attempt}"
