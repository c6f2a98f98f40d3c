"""The pretend lender's survey exports and its partner's list, as files that spell everything in ways of their own.

A workbook with phones as numbers and a second sheet, a CSV file with semicolons, a byte order mark and some dates the
wrong way round, a Parquet file with phones as numbers.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xlsxwriter

from sandbox.world.survey import FILES, SHEET
from sandbox.world.units import EPOCH

FOLDER = "surveys"
_DAY_FIRST = 25
"""Every so manieth date in the partner's list is written with the day first."""


def write_surveys(folder: Path, responses: pa.Table) -> None:
    """Write the files of `survey_responses`; each is replaced atomically."""
    folder.mkdir(exist_ok=True)
    writers: tuple[Callable[[Path, pa.Table], None], ...] = (_write_workbook, _write_csv, _write_parquet)
    for number, (name, write) in enumerate(zip(FILES, writers, strict=True)):
        draft = folder / f".{name}.{os.getpid()}.tmp"
        write(draft, responses.filter(pc.field("file") == number))
        draft.replace(folder / name)


def _write_workbook(path: Path, rows: pa.Table) -> None:
    heading = (
        "Respondent ID", "Country", "First name", "Last name", "Phone number", "E-mail", "Date of birth", "Customer ID",
        "Submitted at", "Score", "May we contact you?",
    )  # fmt: skip
    options = {"constant_memory": True, "remove_timezone": True, "default_date_format": "yyyy-mm-dd hh:mm:ss"}
    with xlsxwriter.Workbook(str(path), options) as book:
        book.set_properties({"created": EPOCH})
        sheet = book.add_worksheet(SHEET)
        sheet.write_row(1, 0, heading)
        for number, row in enumerate(rows.to_pylist()):
            values = [
                row["record"], row["market"], row["first_name"], row["last_name"], _as_number(row["phone"]), row["email"],
                row["date_of_birth"], _as_number(row["customer_id"]), row["answered_at"], row["score"],
                "No" if row["opted_out"] else "Yes",
            ]  # fmt: skip
            # a blank line after every twentieth answer, as people leave them
            sheet.write_row(2 + number + number // 20, 0, values)
        about = book.add_worksheet("About")
        about.write_row(0, 0, ["Field", "Meaning"])
        about.write_row(1, 0, ["Score", "0 to 10"])


def _as_number(text: str | None) -> Any:
    """Digits as a spreadsheet takes them: a number, without its leading zeros."""
    return int(text) if text and text.isdigit() and not text.startswith("00") else text


def _write_csv(path: Path, rows: pa.Table) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(("record_id", "country", "name", "mobile", "DOB", "submitted_at", "campaign", "opt_out"))
        for number, row in enumerate(rows.to_pylist()):
            born, name = row["date_of_birth"], f"{row['first_name'].strip()} {row['last_name'].strip()}"
            spelt = f"{born:%d/%m/%Y}" if born and number % _DAY_FIRST == 0 else born
            said = f"{row['answered_at']:%Y-%m-%d %H:%M:%S}"
            no = "yes" if row["opted_out"] else "no"
            writer.writerow((row["record"], row["market"], name, row["phone"], spelt, said, "shop promotion", no))


def _write_parquet(path: Path, rows: pa.Table) -> None:
    digits = pc.replace_substring_regex(rows["phone"], r"\D", "")
    columns = {
        "response_id": rows["record"],
        "market": rows["market"],
        "full_name": pc.binary_join_element_wise(rows["first_name"], rows["last_name"], " "),
        "msisdn": pc.if_else(pc.equal(digits, ""), None, digits).cast(pa.int64()),
        "email_address": rows["email"],
        "birthdate": rows["date_of_birth"],
        "completed_at": rows["answered_at"],
        "rating": rows["score"].cast(pa.int8()),
        "wants_contact": pc.invert(rows["opted_out"]),
    }
    pq.write_table(pa.table(columns), path)
