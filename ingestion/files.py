"""Tables in files that people make and send: CSV, XLSX and Parquet, as sheets of rows.

What belongs here: opening a file, and what is wrong with one as a whole. What does not: what its columns mean (survey).
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import pyarrow as pa
import pyarrow.parquet as pq
from python_calamine import CalamineError, CalamineWorkbook, PasswordError

from ingestion.formulas import failed_cells, with_failed

DELIMITERS = (",", ";", "\t")
BATCH_ROWS = 10_000
MOST_UNPACKED = 512 * 2**20
"""Bytes that a workbook may unpack to, since it is held in memory as a whole."""
UNREAD_KINDS = {
    ".xls": ".xlsx", ".xlsm": ".xlsx", ".xlsb": ".xlsx", ".ods": ".xlsx", ".numbers": ".xlsx", ".tsv": ".csv", ".txt": ".csv",
}  # fmt: skip
"""Kinds of files that hold tables and are not read, and as what to save them."""
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
"""How a workbook with a password begins, and one of the format before XLSX."""


class FileFaultError(Exception):
    """A file that can't be taken. `str(error)` follows the file's name: it says what is wrong and what to do."""


@dataclass(frozen=True)
class Sheet:
    """A sheet of a workbook, or the one table of another file (`name` is None then).

    `rows` gives each row that holds anything, as values in the order of `heading`; one of a CSV file may have more.
    It raises FileFaultError where the file ends being readable.
    """

    name: str | None
    heading: list[str]
    rows: Iterator[list[Any]]


def sheets_of(path: Path) -> Iterator[Sheet]:
    """The sheets that have a heading, which is the first line that holds anything; each is to be read before the next.

    Raises FileFaultError.
    """
    kind = path.suffix.lower()
    if kind in UNREAD_KINDS:
        raise FileFaultError(f"is of a kind that is not read: save it as {UNREAD_KINDS[kind]}")
    try:
        for name, lines in {".csv": _csv, ".xlsx": _workbook, ".parquet": _parquet}[kind](path):
            filled = (line for line in _without_faults(lines) if any(not _is_empty(value) for value in line))
            heading = next(filled, None)
            if heading is not None:
                yield Sheet(name, ["" if _is_empty(one) else str(one) for one in heading], filled)
    except OSError as error:
        raise FileFaultError(f"can't be read ({error.strerror or error})") from error


def is_table(path: Path) -> bool:
    """Whether a file is of a kind that holds tables, also one that is not read."""
    kind = path.suffix.lower()
    return kind in (".csv", ".xlsx", ".parquet") or kind in UNREAD_KINDS


def _without_faults(lines: Iterator[list[Any]]) -> Iterator[list[Any]]:
    try:
        yield from lines
    except OSError as error:
        raise FileFaultError(f"can't be read ({error.strerror or error})") from error


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _csv(path: Path) -> Iterator[tuple[None, Iterator[list[Any]]]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        yield None, _csv_lines(file)


def _csv_lines(file: Any) -> Iterator[list[Any]]:
    try:
        first = next((line for line in file if line.strip()), "")
        delimiter = max(DELIMITERS, key=first.count)
        file.seek(0)
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        yield from lines
    except UnicodeDecodeError as error:
        raise FileFaultError("is not in UTF-8: save it as CSV UTF-8") from error
    except csv.Error as error:
        raise FileFaultError(f"is no proper CSV: line {lines.line_num}: {error}") from error


def _workbook(path: Path) -> Iterator[tuple[str, Iterator[list[Any]]]]:
    damaged = "is no workbook, damaged or only half written: save it again as .xlsx"
    with open(path, "rb") as file:
        if file.read(len(_OLE)) == _OLE:
            raise FileFaultError(
                "has a password, or is of the format before .xlsx: save it as .xlsx without a password"
            )
    try:
        with zipfile.ZipFile(path) as parts:
            if sum(part.file_size for part in parts.infolist()) > MOST_UNPACKED:
                raise FileFaultError(
                    f"is larger than {MOST_UNPACKED // 2**20} MiB: send it as CSV or Parquet, or in parts"
                )
            if parts.testzip() is not None:
                raise FileFaultError(damaged)
            failed = failed_cells(parts)
        workbook = CalamineWorkbook.from_path(str(path))
        for name in workbook.sheet_names:
            sheet = workbook.get_sheet_by_name(name)
            left = sheet.start[1] if sheet.start else 0
            yield name, with_failed(sheet.iter_rows(), failed.get(name, {}), left)
    except PasswordError as error:
        raise FileFaultError("has a password: save it without one") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ParseError, CalamineError) as error:
        raise FileFaultError(damaged) from error


def _values(column: pa.Array) -> list[Any]:
    """The values of a column; as texts or bytes where one is out of Python's range, of no known zone or no text."""
    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError, KeyError):
        kind = column.type
        if pa.types.is_timestamp(kind):
            return list(column.cast(pa.timestamp(kind.unit)).cast(pa.string()).to_pylist())
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        return list(column.cast(pa.binary() if is_text else pa.string()).to_pylist())


def _parquet(path: Path) -> Iterator[tuple[None, Iterator[list[Any]]]]:
    damaged = "is no Parquet file, or damaged"
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise FileFaultError(damaged) from error

    def lines() -> Iterator[list[Any]]:
        yield list(file.schema_arrow.names)
        try:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                yield from map(list, zip(*map(_values, batch.columns), strict=True))
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise FileFaultError(damaged) from error

    with file:
        yield None, lines()
