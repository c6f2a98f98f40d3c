"""Survey exports and lists of partners: a folder of files, each of which is the truth about its own rows.

What belongs here: which columns a file may have, how a row is named, and which files need no reading. What does not: how
a file is opened (files), what becomes of a bad value (contract, judging), and who the people are (dbt_project). Columns
and spellings: README.md.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import re
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from ingestion.answers import UNTRUSTED, as_json
from ingestion.columns import UNREADABLE, as_text
from ingestion.files import BATCH_ROWS, FileFaultError, Sheet, is_table, sheets_of
from ingestion.stream import Stream
from ingestion.tables import RawTable
from ingestion.whole import ReadWhole
from lendloop.errors import ConfigurationError, TransientError
from lendloop.settings import Settings

READ_AS = 3
"""Grows when the same file would give other rows: every file is read again then."""
SPELLINGS: dict[str, tuple[str, ...]] = {
    "record": ("record", "record_id", "respondent", "respondent_id", "response_id", "id"),
    "market": ("market", "country", "country_code"),
    "first_name": ("first_name", "firstname", "given_name"),
    "last_name": ("last_name", "lastname", "surname", "family_name"),
    "full_name": ("full_name", "name"),
    "phone": ("phone", "phone_number", "phone_no", "mobile", "mobile_number", "mobile_no", "msisdn", "telephone"),
    "email": ("email", "e_mail", "email_address", "mail"),
    "date_of_birth": ("date_of_birth", "dob", "birth_date", "birthdate", "birthday"),
    "customer_id": ("customer_id", "client_id", "ledger_client_id", "external_id"),
    "answered_at": ("answered_at", "submitted_at", "completed_at", "timestamp"),
    "channel": ("channel",),
    "campaign": ("campaign", "survey"),
    "score": ("score", "rating", "nps"),
    "wants_contact": ("wants_contact", "may_we_contact_you", "contact_me"),
    "do_not_contact": ("do_not_contact", "opt_out", "opted_out", "unsubscribed"),
}
"""The columns that a file may have and how each may be spelt, once in small letters with `_` for all else."""
NAMES_SOMEBODY = ("phone", "email", "customer_id", "full_name", "last_name")
"""A sheet without any of these holds no people."""
_COLUMN_OF = {spelling: column for column, spellings in SPELLINGS.items() for spelling in spellings}
_PERSON = ("market", "first_name", "last_name", "full_name", "phone", "email", "date_of_birth", "customer_id")
_IN_SHORT = {"y": "yes", "n": "no"}
_CUT_NUMBER = re.compile(r"\d[.,]?\d*[eE]\+?\d+")
"""A long number as a spreadsheet shows it: its last digits are lost."""
_EXACT = 2**53
_LIKE_AN_ADDRESS = re.compile(r".*@.*|(\D*\d){9}.*", re.DOTALL)


class SurveyReader(ReadWhole):
    """The rows of the folder's files. Open it with `with SurveyReader.open(settings)`.

    After `read`, `contents` has the fingerprint of each file whose rows are in raw then, and no text for one that could
    not be taken, or not with all its lines; `faults` names those.
    """

    def __init__(self, paths: list[Path], hash_key: Callable[[], bytes]) -> None:
        self.paths = paths
        self.notes: list[str] = []
        self.faults: list[str] = []
        self.contents: dict[str, str] = {}
        self._hash_key = hash_key
        self._known: Mapping[str, str] = {}
        self._standing: list[str] = []

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[SurveyReader]:
        """List the folder. Raises ConfigurationError when it is not there, TransientError when it can't be read now."""
        settings.require("survey_folder")
        folder = Path(str(settings.survey_folder))
        try:
            found = sorted(
                path for path in folder.iterdir() if path.is_file() and not path.name.startswith((".", "~$"))
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ConfigurationError(f"LENDLOOP_SURVEY_FOLDER names {folder}, which is no folder") from error
        except OSError as error:
            raise TransientError(f"{folder} can't be read ({error}): nothing was taken of it") from error
        reader = cls([path for path in found if is_table(path)], settings.identifier_key)
        if others := [_name(path) for path in found if not is_table(path)]:
            reader.notes.append(f"not read, as no tables: {', '.join(others)}")
        yield reader

    def skip(self, contents: Mapping[str, str]) -> None:
        """Say which files raw has already, by name and fingerprint: they are not read again."""
        self._known = contents

    def standing(self) -> list[str]:
        """With what the keys of rows begin that raw keeps as they are: of files that are as they were, or can't be taken."""
        return self._standing

    def read(self, table: RawTable, floor: datetime | int | None) -> Iterator[tuple[pa.Table | Stream, bool]]:
        """The rows of each file that is new or says something else, some at a time, as texts. A file is taken whole or
        not at all. Raises TransientError for one that changes meanwhile."""
        if gone := sorted(self._known.keys() - {_name(path) for path in self.paths}):
            self.notes.append(f"withdrawn, and their rows with them: {', '.join(gone)}")
        for path in self.paths:
            self.contents[_name(path)] = ""
            try:
                content = _fingerprint(path)
                is_known = self._known.get(_name(path)) == content
                repeated, longer = (set[str](), 0) if is_known else self._looked_through(path)
            except FileFaultError as error:
                self.faults.append(f"{_name(path)} {error}")
                self._standing.append(_prefix(path))
                continue
            if is_known:
                self._standing.append(_prefix(path))
            else:
                yield from self._taken(path, content, repeated, table)
            if longer:
                self.faults.append(
                    f"{_name(path)} has {longer} line(s) of more values than columns, which are in quarantine: put texts"
                    " with a separator in quotes, since a no may stand there"
                )
            else:
                self.contents[_name(path)] = content

    def _taken(
        self, path: Path, content: str, repeated: set[str], table: RawTable
    ) -> Iterator[tuple[pa.Table | Stream, bool]]:
        """The rows of a file that was read to its end before."""
        try:
            for batch in self._batches(path, repeated, table):
                yield batch, False
            is_same = _fingerprint(path) == content
        except FileFaultError:
            is_same = False
        if not is_same:
            raise TransientError(
                f"{_name(path)} was changed while it was read: nothing of survey was taken; the next pass reads it again"
            )

    def look(self) -> int:
        """How many files can be opened and have the columns that they need; the others are in `faults`."""
        for path in self.paths:
            try:
                deque(self._sheets(path), maxlen=0)
            except FileFaultError as error:
                self.faults.append(f"{_name(path)} {error}")
        return len(self.paths) - len(self.faults)

    @staticmethod
    def _sheets(path: Path) -> Iterator[tuple[Sheet, list[str | None]]]:
        """The sheets that hold people, with the column of each place. Raises FileFaultError, also where there is none."""
        found = 0
        for sheet in sheets_of(path):
            places = [_COLUMN_OF.get(_spelt(heading)) for heading in sheet.heading]
            if not any(column in NAMES_SOMEBODY for column in places):
                continue
            for column, times in Counter(places).items():
                if column is not None and times > 1:
                    twice = [one for one, place in zip(sheet.heading, places, strict=True) if place == column]
                    raise FileFaultError(f"has {times} columns that mean {column}: {', '.join(twice)}; leave one")
            found += 1
            yield sheet, places
        if not found:
            raise FileFaultError(f"has no people: its first line must name one of {', '.join(NAMES_SOMEBODY)}")

    def _looked_through(self, path: Path) -> tuple[set[str], int]:
        """The keys that several rows of a file would have, and how many of its lines are no rows.

        Raises FileFaultError, also where the file breaks off.
        """
        keys = Counter(str(row["id"]) if isinstance(row, dict) else None for row in self._rows(path))
        longer = keys.pop(None, 0)
        return {str(key) for key, times in keys.items() if times > 1}, longer

    def _batches(self, path: Path, repeated: set[str], table: RawTable) -> Iterator[pa.Table]:
        rows: list[dict[str, str | None]] = []
        refused: list[str] = []
        same: Counter[str] = Counter()
        for row in self._rows(path):
            if isinstance(row, str):
                refused.append(row)
            else:
                if (key := str(row["id"])) in repeated:
                    # by their place they would be taken for each other once one of them is gone, and a no be lost
                    key = f"{key}#{self._hashed(*row.values())}"
                    same[key] += 1
                    row["id"] = key if same[key] == 1 else f"{key}#{same[key]}"
                rows.append(row)
            if max(len(rows), len(refused)) == BATCH_ROWS:
                yield from _batches_of(rows, refused, table)
                rows, refused = [], []
        yield from _batches_of(rows, refused, table)

    def _rows(self, path: Path) -> Iterator[dict[str, str | None] | str]:
        """Each row that says anything, as raw has it; one of more values than columns as the text for quarantine."""
        for sheet, places in self._sheets(path):
            left = [one for one, column in zip(sheet.heading, places, strict=True) if one and column is None]
            note = f"{_name(path)}: columns that are not taken: {', '.join(left)}"
            if left and note not in self.notes:
                self.notes.append(note)
            for values in sheet.rows:
                if any(text is not None for text in map(_text, values[len(places) :])):
                    yield as_json({"file": _name(path), "values": [as_text(value) for value in values]})
                elif any((row := _row(dict(zip(places, values, strict=False)))).values()):
                    yield {**row, "id": self._id(path, sheet, row), "file": _name(path), "sheet": sheet.name}

    def _id(self, path: Path, sheet: Sheet, row: dict[str, str | None]) -> str:
        """A row's key: the file, the sheet of a workbook, the record's own id. Where that could be an address of a
        person, or there is none, a keyed hash."""
        record = row["record"]
        if record is None:
            record = self._hashed(*(row[name] for name in _PERSON))
        elif _LIKE_AN_ADDRESS.fullmatch(record):
            record = self._hashed(record)
        else:
            record = quote(record, safe="")
        return _prefix(path) + (f"{quote(sheet.name, safe='')}#" if sheet.name is not None else "") + record

    def _hashed(self, *texts: str | None) -> str:
        about = "\0".join(text or "" for text in texts)
        return f"={hmac.digest(self._hash_key(), about.encode(), 'sha256').hex()[:16]}"


def _fingerprint(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return f"{READ_AS}:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise FileFaultError(f"can't be read ({error.strerror or error})") from error


def _name(path: Path) -> str:
    """A file's name as it can be told and kept, also where it is not in UTF-8."""
    return os.fsencode(path.name).decode(errors="backslashreplace")


def _prefix(path: Path) -> str:
    """What the keys of a file's rows begin with, and of no other's."""
    return f"{quote(os.fsencode(path.name), safe='')}#"


def _spelt(heading: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", unicodedata.normalize("NFKC", heading).lower()).strip("_")


def _row(values: Mapping[str | None, Any]) -> dict[str, str | None]:
    row = {column: _text(values.get(column)) for column in SPELLINGS}
    for column in ("wants_contact", "do_not_contact"):
        word = row[column]
        row[column] = _IN_SHORT.get(word.lower(), word) if word else None
    for column in ("phone", "customer_id"):
        number = row[column]
        if number and _CUT_NUMBER.fullmatch(number):
            row[column] = UNTRUSTED + number
    return row


def _text(value: Any) -> str | None:
    """A value as text; a whole number without a point, since phones and ids stand in sheets as numbers."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if value.is_integer():
            return str(int(value)) if abs(value) < _EXACT else f"{UNTRUSTED}{value!r}"
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    text = as_text(value)
    return text.strip() or None if text is not None else None


def _batches_of(rows: list[dict[str, str | None]], refused: list[str], table: RawTable) -> Iterator[pa.Table]:
    """Rows, and lines that are none, as the load takes them; nothing for none."""
    if rows:
        yield pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in table.columns})
    if refused:
        yield pa.table({"id": pa.nulls(len(refused), pa.string()), UNREADABLE: pa.array(refused, pa.string())})
