"""Survey exports and lists of partners into raw: three kinds of files, their mess, and what one bad file does to others."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from ingestion import quarantine
from ingestion.doctor import check_survey
from ingestion.files import FileFaultError, sheets_of
from ingestion.formulas import WITHOUT_VALUE, failed_cells, with_failed
from ingestion.load import load_source, replay_quarantine
from ingestion.retention import forgettable_tables
from lendloop.clock import Clock
from lendloop.errors import ConfigurationError, PermanentError, TransientError
from lendloop.settings import Settings
from lendloop.source_status import read_status
from tests.ingestion.conftest import Warehouse


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "surveys"
    path.mkdir()
    return path


@pytest.fixture
def settings(folder: Path, make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(survey_folder=folder)


def write_workbook(path: Path, **sheets: Sequence[Sequence[Any]]) -> None:
    """Sheets of rows; dates as spreadsheets keep them."""
    with xlsxwriter.Workbook(path, {"default_date_format": "yyyy-mm-dd", "remove_timezone": True}) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)


def test_csv_xlsx_and_parquet_say_the_same_whatever_their_spelling(
    folder: Path, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    (folder / "a.csv").write_text(
        "\ufeff;;;;;;\nRespondent ID;Country;Name;Mobile;DOB;Opt out;Submitted at\n\n"
        " 7 ;ng;Ama Mensah; +2348031234567 ;1990-05-17;N;2024-02-01 10:00\n;;;;;;\n"
    )
    write_workbook(
        folder / "b.xlsx",
        Answers=[
            [],
            [
                "Respondent-ID",
                "COUNTRY",
                "name",
                "Phone number",
                "Date of birth",
                "May we contact you?",
                "Submitted at",
            ],
            [7, "NG", "Ama Mensah", 2348031234567, date(1990, 5, 17), True, datetime(2024, 2, 1, 10, tzinfo=UTC)],
        ],
        Legend=[["code", "meaning"], [1, "good"]],
    )
    pq.write_table(
        pa.table(
            {
                "id": [7],
                "country": ["NG"],
                "full_name": ["Ama Mensah"],
                "msisdn": [2348031234567],
                "dob": [date(1990, 5, 17)],
                "opted_out": [False],
                "completed_at": [datetime(2024, 2, 1, 10, tzinfo=UTC)],
            }
        ),
        folder / "c.parquet",
    )
    report = load_source("survey", settings, clock)
    assert (report.new, report.quarantined, report.notes) == (3, 0, [])
    rows = warehouse.rows(
        "SELECT id, record, upper(market), full_name, phone, date_of_birth, answered_at, wants_contact, do_not_contact"
        " FROM raw_survey.response ORDER BY id"
    )
    assert [row[0] for row in rows] == ["a.csv#7", "b.xlsx#Answers#7", "c.parquet#7"]
    said = ("7", "NG", "Ama Mensah", date(1990, 5, 17), datetime(2024, 2, 1, 10, tzinfo=UTC))
    assert {(*row[1:4], *row[5:7]) for row in rows} == {said}
    assert [row[4] for row in rows] == ["+2348031234567", "2348031234567", "2348031234567"]
    assert [row[7:] for row in rows] == [(None, False), (True, None), (None, False)]


def test_only_what_says_something_else_is_read_and_what_is_withdrawn_goes(
    folder: Path, settings: Settings, clock: Clock, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.csv").write_text("id,phone\n1,0803\n2,0804\n")
    (folder / "b.csv").write_text("id,phone\n1,0805\n")
    assert load_source("survey", settings, clock).new == 3
    read: list[str] = []

    def watched(path: Path) -> Any:
        read.append(path.name)
        return sheets_of(path)

    monkeypatch.setattr("ingestion.survey.sheets_of", watched)
    assert not load_source("survey", settings, clock).changed
    assert read == []
    (folder / "a.csv").write_text("id,phone\n1,0803\n3,0806\n")
    report = load_source("survey", settings, clock)
    assert (report.new, report.rows_changed, report.deleted, set(read)) == (1, 0, 1, {"a.csv"})
    (folder / "a.csv").unlink()
    report = load_source("survey", settings, clock)
    assert (report.deleted, report.notes) == (2, ["withdrawn, and their rows with them: a.csv"])
    assert warehouse.rows("SELECT id FROM raw_survey.response WHERE _deleted_at IS NULL") == [("b.csv#1",)]


def test_what_raw_lost_is_read_again_though_the_files_are_as_they_were(
    folder: Path, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    (folder / "a.csv").write_text("id,phone\n1,0803\n")
    load_source("survey", settings, clock)
    with duckdb.connect(str(warehouse.path)) as connection:
        connection.execute("DELETE FROM raw_survey.response; DELETE FROM raw_survey._totals")
    assert load_source("survey", settings, clock).new == 1


def test_a_folder_that_is_suddenly_empty_takes_nothing_away(folder: Path, settings: Settings, clock: Clock) -> None:
    file = folder / "a.csv"
    file.write_text("id,phone\n" + "".join(f"{number},0803\n" for number in range(150)))
    load_source("survey", settings, clock)
    file.unlink()
    with pytest.raises(PermanentError, match="has 0 rows where raw holds 150: refused"):
        load_source("survey", settings, clock)


def _half_written(path: Path) -> None:
    write_workbook(path, Answers=[["phone"], ["0803"]])
    path.write_bytes(path.read_bytes()[:2000])


def _damaged(path: Path) -> None:
    write_workbook(path, Answers=[["phone"], *[[str(number)] for number in range(500)]])
    content = bytearray(path.read_bytes())
    content[content.index(b"sheet1.xml") + 60] ^= 255
    path.write_bytes(content)


def _bytes(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("p.csv", _bytes("name\nJosé\n".encode("latin-1")), "is not in UTF-8: save it as CSV UTF-8"),
        ("p.csv", _bytes(b'id,phone\n1,0803\n2,"0804\n'), "is no proper CSV: line 3"),
        ("p.csv", _bytes(b"1;0803\n"), "has no people: its first line must name one of phone"),
        ("p.csv", _bytes(b""), "has no people"),
        ("p.csv", _bytes(b"phone,Mobile\n0803,0804\n"), "has 2 columns that mean phone: phone, Mobile; leave one"),
        ("p.xlsx", _half_written, "is no workbook, damaged or only half written"),
        ("p.xlsx", _damaged, "is no workbook, damaged or only half written"),
        ("p.xlsx", _bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600)), "has a password"),
        ("p.xlsm", _bytes(b"PK"), "is of a kind that is not read: save it as .xlsx"),
        ("p.parquet", _bytes(b"PAR1"), "is no Parquet file, or damaged"),
    ],
)
def test_a_file_that_cannot_be_taken_is_named_keeps_its_rows_and_holds_up_no_other(
    name: str,
    spoil: Callable[[Path], None],
    reason: str,
    folder: Path,
    settings: Settings,
    clock: Clock,
    warehouse: Warehouse,
) -> None:
    bad, good = folder / name, folder / "good.csv"
    if bad.suffix == ".csv":
        bad.write_text("id,phone\n9,0803\n")
    elif bad.suffix == ".xlsx":
        write_workbook(bad, Answers=[["id", "phone"], [9, "0803"]])
    elif bad.suffix == ".parquet":
        pq.write_table(pa.table({"id": [9], "phone": ["0803"]}), bad)
    good.write_text("id,phone\n1,0805\n")
    load_source("survey", settings, clock)
    before = warehouse.rows("SELECT id FROM raw_survey.response WHERE _deleted_at IS NULL")
    spoil(bad)
    good.write_text("id,phone\n1,0805\n2,0806\n")
    with pytest.raises(PermanentError, match=re.escape(f"{name} {reason}")):
        load_source("survey", settings, clock)
    live = warehouse.rows("SELECT id FROM raw_survey.response WHERE _deleted_at IS NULL")
    assert sorted(live) == sorted([*before, ("good.csv#2",)])
    assert str(read_status(settings.home)["survey"].error).startswith(f"{name} {reason}")
    with pytest.raises(PermanentError, match=reason):
        load_source("survey", settings, clock)
    bad.unlink()
    assert load_source("survey", settings, clock).notes == [f"withdrawn, and their rows with them: {name}"]
    assert read_status(settings.home)["survey"].error is None
    assert warehouse.one("SELECT count(*) FROM raw_survey.response WHERE _deleted_at IS NULL") == 2


def test_a_status_of_files_that_could_not_be_taken_is_not_one_of_a_whole_read(
    folder: Path, settings: Settings, clock: Clock
) -> None:
    (folder / "p.csv").write_bytes(b"")
    with pytest.raises(PermanentError):
        load_source("survey", settings, clock)
    assert read_status(settings.home)["survey"].succeeded_as_of is None
    assert [finding.state for finding in check_survey(settings)] == ["failure"]


def test_a_workbook_that_unpacks_to_more_than_memory_should_hold_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_workbook(folder / "a.xlsx", Answers=[["phone"]])
    monkeypatch.setattr("ingestion.files.MOST_UNPACKED", 1000)
    with pytest.raises(FileFaultError, match="is larger than"):
        list(sheets_of(folder / "a.xlsx"))


def test_lock_files_are_passed_over_and_what_is_no_table_is_told(
    folder: Path, settings: Settings, clock: Clock
) -> None:
    for name in ("~$a.xlsx", ".hidden.csv", "notes.pdf"):
        (folder / name).write_bytes(b"?")
    (folder / "a.csv").write_text("id,phone,Favourite colour\n1,0803,red\n")
    assert load_source("survey", settings, clock).notes == [
        "not read, as no tables: notes.pdf",
        "a.csv: columns that are not taken: Favourite colour",
    ]


def test_a_value_that_cannot_be_read_is_kept_apart_and_a_no_that_cannot_be_read_is_one(
    folder: Path, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    file = folder / "a.csv"
    file.write_text(
        "id,phone,dob,score,opt_out\n1,0803,17/05/1990,9,no\n2,2.34803E+12,1990-05-17,ten,no\n3,0805,,,perhaps\n"
    )
    report = load_source("survey", settings, clock)
    assert (report.new, report.quarantined) == (3, 3)
    said = "SELECT record, phone, date_of_birth, score, do_not_contact FROM raw_survey.response ORDER BY id"
    assert warehouse.rows(said) == [
        ("1", "0803", None, 9, False),
        ("2", None, date(1990, 5, 17), None, False),
        ("3", "0805", None, None, True),
    ]
    assert load_source("survey", settings, clock).quarantined == 0

    for entries in quarantine.folder(settings.home, "survey", "response").glob("*.parquet"):
        rows = pq.read_table(entries).to_pylist()
        for row in rows:
            row["raw_text"] = row["raw_text"].replace("17/05/1990", "1990-05-17")
        pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(entries)), entries)
    assert replay_quarantine("survey", settings, clock).tables["response"].changed == 1
    assert warehouse.rows(said)[0] == ("1", "0803", date(1990, 5, 17), 9, False)
    # read again, the file's row is the one that was mended
    load_source("survey", settings, clock)
    assert warehouse.rows(said)[0][2] == date(1990, 5, 17)


def test_a_line_of_more_values_than_columns_is_told_until_it_is_mended_since_a_no_may_stand_in_it(
    folder: Path, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    (folder / "a.csv").write_text("id,phone,comment,opt_out\n1,0803,fine,no\n2,0804,well, no,yes\n")
    for quarantined in (1, 0):
        with pytest.raises(PermanentError, match=r"a\.csv has 1 line\(s\) of more values than columns"):
            load_source("survey", settings, clock)
        assert quarantine.waiting(settings.home, "survey", "response").num_rows == 1
        assert warehouse.rows("SELECT id FROM raw_survey.response") == [("a.csv#1",)], quarantined
    assert read_status(settings.home)["survey"].succeeded_as_of is None
    (folder / "a.csv").write_text('id,phone,comment,opt_out\n1,0803,fine,no\n2,0804,"well, no",yes\n')
    assert load_source("survey", settings, clock).new == 1
    assert warehouse.rows("SELECT do_not_contact FROM raw_survey.response ORDER BY id") == [(False,), (True,)]


def test_a_cell_whose_formula_gave_no_value_is_not_an_empty_one(
    folder: Path, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    with xlsxwriter.Workbook(folder / "a.xlsx") as book:
        book.add_worksheet("Legend").write_row(0, 0, ["code", "meaning"])
        sheet = book.add_worksheet("Answers & more")
        sheet.write_row(2, 1, ["id", "phone", "score", "opt out", "name"])
        sheet.write_row(3, 1, [1, "0803", 9, "no"])
        sheet.write_row(4, 1, [2, "0804", 9])
        sheet.write_formula(4, 4, "=VLOOKUP(2,Z:Z,1)", None, "#N/A")
        sheet.write_row(5, 1, [3, "0805", 9])
        sheet.write_formula(5, 4, '=IF(1=1,"no","yes")', None, "")  # not worked out yet
        sheet.write_row(6, 1, [4, "0806"])
        sheet.write_formula(6, 3, "=1/0", None, "#DIV/0!")
        sheet.write_formula(6, 4, '=IF(1=1,"yes","no")', None, "yes")
    report = load_source("survey", settings, clock)
    assert (report.new, report.quarantined) == (4, 3)
    assert warehouse.rows("SELECT record, score, do_not_contact FROM raw_survey.response ORDER BY id") == [
        ("1", 9, False),
        ("2", 9, True),
        ("3", 9, True),
        ("4", None, True),
    ]


def test_a_formula_that_was_never_worked_out_is_found_wherever_it_stands(tmp_path: Path) -> None:
    cells = (
        '<row r="1"><c r="A1" t="inlineStr"><is><t>phone</t></is></c><c r="C1" t="inlineStr"><is><t>opt_out</t></is></c></row>'
        '<row r="3"><c r="A3"><v>803</v></c><c r="C3"><f>A1</f></c></row>'
        '<row><c><f>1</f><v/></c><c t="str"><f>2</f><v></v></c><c t="str"><f>3</f></c></row>'
    )
    space = "http://schemas.openxmlformats.org"
    parts = {
        "xl/workbook.xml": f'<workbook xmlns="{space}/spreadsheetml/2006/main" xmlns:r="{space}/officeDocument/2006/relationships">'
        '<sheets><sheet name="One" sheetId="1" r:id="rId9"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{space}/package/2006/relationships">'
        '<Relationship Id="rId9" Type="worksheet" Target="/xl/worksheets/other.xml"/></Relationships>',
        "xl/worksheets/other.xml": f'<worksheet xmlns="{space}/spreadsheetml/2006/main"><sheetData>{cells}</sheetData></worksheet>',
    }
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    with zipfile.ZipFile(tmp_path / "a.xlsx") as archive:
        assert failed_cells(archive) == {"One": {2: {2: WITHOUT_VALUE}, 3: {0: WITHOUT_VALUE, 2: WITHOUT_VALUE}}}
    given = [["phone", "", "opt_out"], [], [803.0]]
    found = list(with_failed(given, {2: {0: "?", 3: "?"}, 3: {1: "?"}}, 1))
    assert found == [["phone", "", "opt_out"], [], [803.0, "", "\0?"], ["\0?"]]


def test_rows_are_named_by_their_file_and_record_and_never_by_an_address(
    folder: Path, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    (folder / "list, May.csv").write_text(
        "id,name,phone\nR 1,Ama,0803\nR 1,Ama B,0803\n+2348031234567,Kofi,\nama@example.org,Ama,\n,Esi,0804\n,Esi,0804\n"
    )
    load_source("survey", settings, clock)
    ids = [str(name) for (name,) in warehouse.rows("SELECT id FROM raw_survey.response ORDER BY id")]
    prefix = "list%2C%20May.csv#"
    assert all(name.startswith(prefix) and "," not in name for name in ids)
    left = [name.removeprefix(prefix) for name in ids]
    hashed = [name for name in left if name.startswith("=")]
    # the key of the hashes is drawn for each home, and with it their order
    shapes = sorted(re.sub("=[0-9a-f]{16}", "=", name) for name in left)
    assert shapes == ["=", "=", "=#=", "=#=#2", "R%201#=", "R%201#="]
    assert len(set(left)) == 6
    assert len(hashed) == 4
    (folder / "list, May.csv").write_text("id,name,phone\n,Abu,0805\n,Esi,0806\n")
    load_source("survey", settings, clock)
    known = warehouse.one("SELECT id FROM raw_survey.response WHERE full_name = 'Esi' AND _deleted_at IS NULL")
    (folder / "list, May.csv").write_text("id,name,phone,rating\n,Esi,0806,7\n")
    assert load_source("survey", settings, clock).rows_changed == 1
    assert warehouse.rows("SELECT id, score FROM raw_survey.response WHERE _deleted_at IS NULL") == [(known, 7)]


def test_of_rows_with_one_record_none_takes_the_place_and_the_no_of_another_that_is_gone(
    folder: Path, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    file = folder / "a.csv"
    file.write_text("id,name,opt_out\nwave 1,Ama,yes\nwave 1,Kofi,no\nwave 1,Esi,\n")
    load_source("survey", settings, clock)
    file.write_text("id,name,opt_out\nwave 1,Esi,\nwave 1,Kofi,no\n")
    report = load_source("survey", settings, clock)
    assert (report.new, report.rows_changed, report.deleted) == (0, 0, 1)
    said = "SELECT full_name, do_not_contact FROM raw_survey.response ORDER BY full_name"
    assert warehouse.rows(said) == [("Ama", True), ("Esi", None), ("Kofi", False)]


@pytest.mark.parametrize("other", ["id,phone\n1,0805\n", 'id,phone\n1,0805\n2,"0804\n'])
def test_a_file_that_is_changed_while_it_is_read_leaves_raw_as_it_was(
    other: str, folder: Path, settings: Settings, clock: Clock, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "a.csv"
    file.write_text("id,phone\n1,0803\n")
    load_source("survey", settings, clock)
    given = "id,phone\n1,0803\n2,0804\n"
    file.write_text(given)
    contents = iter([given, other])

    def changing(path: Path) -> Any:
        path.write_text(next(contents))
        return sheets_of(path)

    monkeypatch.setattr("ingestion.survey.sheets_of", changing)
    with pytest.raises(TransientError, match=r"a\.csv was changed while it was read"):
        load_source("survey", settings, clock)
    assert warehouse.rows("SELECT id, phone FROM raw_survey.response") == [("a.csv#1", "0803")]


def test_a_file_whose_name_is_not_in_utf8_is_taken(
    folder: Path, settings: Settings, clock: Clock, warehouse: Warehouse
) -> None:
    name = os.fsdecode("pesquisa_mar\xe7o.csv".encode("latin-1"))
    (folder / name).write_text("id,phone,colour\n1,0803,red\n")
    [note] = load_source("survey", settings, clock).notes
    assert note.startswith(r"pesquisa_mar\xe7o.csv: columns that are not taken")
    assert warehouse.rows("SELECT id, file FROM raw_survey.response") == [
        ("pesquisa_mar%E7o.csv#1", r"pesquisa_mar\xe7o.csv")
    ]


def test_people_who_were_withdrawn_are_not_forgotten() -> None:
    assert "response" not in [table.name for table in forgettable_tables()]


def test_without_a_folder_raw_has_an_empty_table_and_one_that_is_not_there_is_named(
    tmp_path: Path, make_settings: Callable[..., Settings], clock: Clock, warehouse: Warehouse
) -> None:
    assert not load_source("survey", make_settings(), clock).configured
    assert warehouse.one("SELECT count(*) FROM raw_survey.response") == 0
    assert check_survey(make_settings())[0].state == "ok"
    missing = make_settings(survey_folder=tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="nowhere, which is no folder"):
        load_source("survey", missing, clock)
    assert check_survey(missing)[0].state == "failure"


def test_a_look_at_the_folder_makes_no_key(folder: Path, settings: Settings) -> None:
    (folder / "a.csv").write_text("id,phone\n1,0803\n")
    assert [finding.found for finding in check_survey(settings)] == ["1 files of people"]
    assert not (settings.home.secrets / "hash.key").exists()
