"""The sandbox's world written straight into raw, under the logical names of ingestion, for tests of what dbt makes of it."""

from __future__ import annotations

import csv
from typing import Any

import duckdb
import pyarrow as pa
from dbt_lab import DECLARED, SQL_TYPES, Lab

from ingestion.survey import SurveyReader
from ingestion.tables import SURVEY
from lendloop.settings import load_settings
from sandbox.world import World

CONTACT_NAMES = {
    "first_name": "firstname",
    "last_name": "lastname",
    "market": "country",
    "is_fraud": "fraud_flag",
    "is_deceased": "deceased",
    "has_dispute": "in_dispute",
    "language": "hs_language",
    "lifecycle_stage": "lifecyclestage",
    "is_archived": "archived",
}
DEAL_NAMES = {
    "product": "loan_product",
    "market": "country",
    "currency": "deal_currency_code",
    "stage": "dealstage",
    "requested_amount": "amount",
    "is_archived": "archived",
}
TAGS = {"is_dispute": "dispute", "is_complaint": "complaint", "is_hardship": "hardship"}


def load_world(lab: Lab, world: World) -> None:
    """Replace every raw table by the world as it stands; archived rows are marked as ingestion marks them."""
    for name, declared in DECLARED.items():
        if declared.source == "ledger":
            lab.load(name, world.table(declared.name))
    lab.load("raw_crm.contacts", _logical(world.table("crm_contacts"), "raw_crm.contacts", CONTACT_NAMES))
    lab.load("raw_crm.deals", _logical(world.table("crm_deals"), "raw_crm.deals", DEAL_NAMES))
    for part in ("tickets", "users", "ticket_events"):
        lab.load(f"raw_support.{part}", _logical(world.table(f"support_{part}"), f"raw_support.{part}", {}))
    lab.load("raw_costs.cost", _costs(world))
    lab.load("raw_survey.response", survey_rows(world))
    with lab.connect() as con:
        con.execute("update raw_crm.contacts set _deleted_at = _loaded_at where is_archived")
        con.execute("update raw_crm.deals set _deleted_at = _loaded_at where is_archived")
    lab.set_clock(world.as_of)


def survey_rows(world: World) -> pa.Table:
    """The files of the world's survey folder as ingestion takes them in; what can't be read is NULL."""
    [table] = SURVEY
    with SurveyReader.open(load_settings(_env_file=None, survey_folder=world.survey_folder)) as reader:
        rows = pa.concat_tables([batch for batch, _ in reader.read(table, None) if isinstance(batch, pa.Table)])
    assert reader.faults == []
    return _logical(rows, "raw_survey.response", {})


def _costs(world: World) -> list[dict[str, Any]]:
    with world.costs_file.open(newline="") as file:
        lines = list(csv.DictReader(file))
    return [
        {**line, "id": str(number), "month": f"{line['month']}-01", "product": line["product"] or None}
        for number, line in enumerate(lines)
    ]


def _logical(table: pa.Table, target: str, names: dict[str, str]) -> pa.Table:
    have = set(table.column_names)
    columns = []
    for name, kind in DECLARED[target].columns.items():
        source = names.get(name, name)
        if name in TAGS and "tags" in have:
            columns.append(f"tags like '%\"{TAGS[name]}\"%' as {name}")
        elif source in have:
            columns.append(f'try_cast("{source}" as {SQL_TYPES[kind]}) as {name}')
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        con.register("source_rows", table)
        return con.sql(f"select {', '.join(columns)} from source_rows").to_arrow_table()
