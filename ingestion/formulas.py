"""Cells of a workbook that a formula left without a value: what reads workbooks shows them as empty.

What belongs here: finding them in the workbook's parts, and putting a text that no column takes in their place. What does
not: reading values (files), and what becomes of a value that can't be read (judging).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from posixpath import join, normpath
from typing import Any
from xml.etree import ElementTree

from ingestion.answers import UNTRUSTED

BLOCK = 1 << 20
WITHOUT_VALUE = "a formula without a value"
Failed = dict[int, dict[int, str]]
"""By row and column, counted from 0: what stands there in place of a value."""
_MAY_FAIL = re.compile(rb"""\st=["']e["']|<(?:\w+:)?f[\s/>]""")
_PLACE = re.compile(r"([A-Z]{1,3})(\d+)")
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def failed_cells(parts: zipfile.ZipFile) -> dict[str, Failed]:
    """By the name of the sheet, its cells that hold an error or a formula that was not worked out.

    Raises ElementTree.ParseError, zipfile.BadZipFile.
    """
    sheets = _sheets(parts)
    return {name: _failed(parts, part) for name, part in sheets.items() if _may_fail(parts, part)}


def with_failed(rows: Iterable[list[Any]], failed: Failed, left: int) -> Iterator[list[Any]]:
    """The rows of a sheet from its first on, with a text that can't be trusted in each failed cell.

    `left`: the column that rows begin with; one before it has no heading, and is no column of anything.
    """
    number = -1
    for number, row in enumerate(rows):
        yield _filled(row, failed[number], left) if number in failed else row
    for beyond in sorted(one for one in failed if one > number):
        yield _filled([], failed[beyond], left)


def _filled(row: list[Any], cells: dict[int, str], left: int) -> list[Any]:
    filled = [*row, *[""] * (max(cells) + 1 - left - len(row))]
    for column, text in cells.items():
        if column >= left:
            filled[column - left] = UNTRUSTED + text
    return filled


def _sheets(parts: zipfile.ZipFile) -> dict[str, str]:
    """The part of each sheet of cells, by the sheet's name."""
    held = set(parts.namelist())
    book, relations = "xl/workbook.xml", "xl/_rels/workbook.xml.rels"
    if not {book, relations} <= held:
        return {}
    targets = {one.get("Id"): str(one.get("Target")) for one in _elements(parts, relations, "Relationship")}
    found = {}
    for sheet in _elements(parts, book, "sheet"):
        part = normpath(join("/xl", targets.get(sheet.get(_RELATION), ""))).lstrip("/")
        if part in held and "worksheets" in part:
            found[str(sheet.get("name"))] = part
    return found


def _elements(parts: zipfile.ZipFile, part: str, name: str) -> Iterator[ElementTree.Element]:
    # entities that unpack without end are refused by expat itself
    root = ElementTree.fromstring(parts.read(part))  # noqa: S314
    return (one for one in root.iter() if _name(one) == name)


def _may_fail(parts: zipfile.ZipFile, part: str) -> bool:
    """Whether a sheet has an error or a formula at all: most have none, and need not be read twice."""
    before = b""
    with parts.open(part) as file:
        while block := file.read(BLOCK):
            if _MAY_FAIL.search(before + block):
                return True
            before = block[-16:]
    return False


def _failed(parts: zipfile.ZipFile, part: str) -> Failed:
    found: Failed = {}
    row = column = -1
    rows = None
    with parts.open(part) as file:
        for event, element in ElementTree.iterparse(file, ("start", "end")):  # noqa: S314 - as above
            if _name(element) == "sheetData" and event == "start":
                rows = element
            elif _name(element) == "row" and event == "start":
                row, column = int(element.get("r", row + 2)) - 1, -1
            elif _name(element) == "row" and rows is not None:
                rows.clear()
            elif _name(element) == "c" and event == "end":
                place = _PLACE.fullmatch(element.get("r", ""))
                column = _column(place[1]) if place else column + 1
                if text := _in_place_of_a_value(element):
                    found.setdefault(row, {})[column] = text
    return found


def _in_place_of_a_value(cell: ElementTree.Element) -> str | None:
    held = {_name(part): part.text or "" for part in cell}
    if cell.get("t") == "e":
        return held.get("v") or "an error"
    if "f" in held and not held.get("v") and not (cell.get("t") == "str" and "v" in held):
        return WITHOUT_VALUE
    return None


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1
