"""Costs, read from the CSV file that finance keeps. The whole file is the truth each time.

What belongs here: the file's lines as Arrow columns. What does not: which kinds count and who bears a cost
(dbt_project). Columns and spellings: README.md.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pyarrow as pa

from ingestion.answers import UNTRUSTED
from ingestion.stream import Stream
from ingestion.tables import RawTable
from ingestion.whole import ReadWhole
from lendloop.errors import ConfigurationError, TransientError
from lendloop.settings import Settings

REQUIRED = ("month", "market", "currency", "kind", "amount")
KINDS = ("acquisition", "onboarding", "funding", "servicing", "collections")
COLUMNS = ("id", "month", "market", "currency", "product", "kind", "amount")
BEYOND = "_beyond"
"""The fields of a line beyond those that the first line names."""
_MONTH = re.compile(r"\d{4}-\d{2}")


class CostReader(ReadWhole):
    """The file's lines. Open it with `with CostReader.open(settings)`."""

    def __init__(self, lines: list[dict[str, str | None]]) -> None:
        self.lines = lines
        self.notes: list[str] = []
        if strange := sum(line["kind"] not in (*KINDS, UNTRUSTED) for line in lines):
            self.notes.append(f"{strange} line(s) of a kind that is none of {', '.join(KINDS)} count nowhere")

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[CostReader]:
        """Read the file.

        Raises ConfigurationError when it is not there, lacks a column or has one twice, TransientError when it can't be
        read now.
        """
        settings.require("costs_file")
        path = settings.costs_file
        try:
            with open(str(path), newline="", encoding="utf-8-sig") as file:
                rows = csv.DictReader(file, restkey=BEYOND, strict=True)
                spelt = [name.strip().lower() for name in rows.fieldnames or ()]
                if twice := [name for name in COLUMNS if spelt.count(name) > 1]:
                    raise ConfigurationError(f"{path} has more than one column {', '.join(twice)}; leave one")
                names = dict(zip(spelt, rows.fieldnames or (), strict=True))
                if missing := [name for name in REQUIRED if name not in names]:
                    raise ConfigurationError(
                        f"{path} has no column {', '.join(missing)}: its first line must name {', '.join(REQUIRED)}"
                    )
                lines = _lines(
                    [{name: row.get(given) for name, given in (*names.items(), (BEYOND, BEYOND))} for row in rows]
                )
        except FileNotFoundError as error:
            raise ConfigurationError(f"LENDLOOP_COSTS_FILE names {path}, which does not exist") from error
        except UnicodeDecodeError as error:
            raise TransientError(f"{path} is not in UTF-8: save it as CSV UTF-8; nothing was taken of it") from error
        except (OSError, csv.Error) as error:
            raise TransientError(f"{path} can't be read ({error}): nothing was taken of it") from error
        yield cls(lines)

    def read(self, table: RawTable, floor: datetime | int | None) -> Iterator[tuple[pa.Table | Stream, bool]]:
        """Every line, in one batch of texts; none for an empty file."""
        if self.lines:
            yield (
                pa.table({name: pa.array([line[name] for line in self.lines], pa.string()) for name in COLUMNS}),
                False,
            )


def _lines(rows: list[dict[str, Any]]) -> list[dict[str, str | None]]:
    """The rows, spelt one way. A line's id is what it is about, and its number among those that are about the same."""
    seen: Counter[str] = Counter()
    lines = []
    for row in rows:
        line = {name: (row.get(name) or "").strip() or None for name in COLUMNS}
        if any(beyond := [text.strip() for text in row.get(BEYOND) or ()]):
            # a number written 1,234.50 without quotes is no number
            line["amount"] = ",".join([line["amount"] or "", *beyond])
        if not any(line.values()):
            continue
        month = line["month"] or ""
        line["month"] = f"{month}-01" if _MONTH.fullmatch(month) else line["month"]
        line["market"], line["currency"] = _upper(line["market"]), _upper(line["currency"])
        line["kind"] = line["kind"].lower() if line["kind"] else None
        about = "|".join(line[name] or "" for name in ("month", "market", "currency", "product", "kind"))
        about = about.replace("\0", "")
        seen[about] += 1
        line["id"] = f"{about}|{seen[about]}"
        # what says only half of a cost is none
        line |= {name: line[name] or UNTRUSTED for name in REQUIRED}
        lines.append(line)
    return lines


def _upper(text: str | None) -> str | None:
    return text.upper() if text else None
