"""Blanks: what a scaffolded file leaves to a person, marked so that it can't be mistaken for an answer.

What belongs here: the mark, and finding it. What does not: which blanks a file has (`scaffold`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lendloop.errors import ConfigurationError

_BLANK = re.compile(r"<FILL IN ([^<>]+)>")
_READ = {".sql", ".yml", ".yaml", ".md", ".py", ".csv"}


@dataclass(frozen=True)
class Blank:
    """A place where an answer is missing: `line` counts from 1, `wish` says what goes there."""

    file: Path
    line: int
    wish: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: fill in {self.wish}"


def blank(wish: str) -> str:
    """The mark of a blank, which is also a plain scalar of YAML: `wish` loses what would end either."""
    text = re.sub(r"[<>]|\s#", "", wish).replace(": ", ", ")
    return f"<FILL IN {' '.join(text.split())}>"


def find_blanks(folders: Iterable[Path]) -> list[Blank]:
    """Every blank in files that people write below these folders, by file and line."""
    files = sorted({path for folder in folders for path in folder.rglob("*") if path.suffix in _READ})
    return [
        Blank(path, number, wish)
        for path in files
        if "__pycache__" not in path.parts and path.is_file()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for wish in _BLANK.findall(line)
    ]


def refuse_blanks(folders: Iterable[Path]) -> None:
    """Raise ConfigurationError with one line a blank, when there are any."""
    if blanks := find_blanks(folders):
        raise ConfigurationError("\n".join(map(str, blanks)))
