"""The pretend lender's surveys and its partner's list: three kinds of files, the same each time, and whom they hold."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as pq
from python_calamine import CalamineWorkbook

from sandbox.world import World
from sandbox.world.survey import FILES, SHEET
from tests.sandbox.world.world_lab import all_tables, asker

WORKBOOK, LIST, FEEDBACK = FILES


def listed(world: World) -> dict[str, dict[str, str]]:
    with (world.survey_folder / LIST).open(newline="", encoding="utf-8-sig") as file:
        return {row["record_id"]: row for row in csv.DictReader(file, delimiter=";")}


def test_three_files_spell_everything_in_ways_of_their_own(tmp_path: Path) -> None:
    world = World.open(tmp_path, customers=2_000)
    rows = CalamineWorkbook.from_path(str(world.survey_folder / WORKBOOK)).get_sheet_by_name(SHEET).to_python()
    phones = [row[4] for row in rows[2:] if row[4]]
    assert {float, str} == {type(phone) for phone in phones}
    feedback = pq.read_table(world.survey_folder / FEEDBACK)
    assert feedback.num_rows > 10
    assert feedback.schema.field("msisdn").type == "int64"
    assert any("/" in row["DOB"] for row in listed(world).values())


def test_the_same_world_has_the_same_files_byte_by_byte(tmp_path: Path) -> None:
    folders = [World.open(tmp_path / name, customers=300).survey_folder for name in ("one", "other")]
    for name in FILES:
        one, other = ((folder / name).read_bytes() for folder in folders)
        assert one == other


def test_partners_know_people_before_the_lender_does_and_the_truth_says_who_they_are(tmp_path: Path) -> None:
    world = World.open(tmp_path, customers=2_000)
    before = listed(world)
    leads = "SELECT DISTINCT person_id FROM truth_person_sources WHERE person_id NOT IN (SELECT person_id FROM truth_people)"
    unknown = asker(all_tables(world))(leads)
    assert unknown
    world.tick(50)
    after = listed(world)
    assert {record: after[record] for record in before} == before
    assert len(after) > len(before)
    ask = asker(all_tables(world))
    assert not set(unknown) & set(ask(leads))
    [(together,)] = ask(
        "SELECT count(*) FROM truth_person_sources a JOIN truth_person_sources b USING (person_id)"
        " WHERE a.source = 'survey' AND b.source = 'crm'"
    )
    assert together > 50
