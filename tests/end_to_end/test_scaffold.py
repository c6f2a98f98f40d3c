"""`lendloop new`: what it writes has exactly the blanks that `lendloop check` names, and passes once they are filled."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from activation.audiences import Audience
from activation.rules.load import rule_schema
from governance.blanks import blank, find_blanks
from governance.registry import ColumnParameters, DatasetParameters
from governance.scaffold import definition_file, required_yaml
from lendloop.errors import ConfigurationError
from tests.checkout_copy import Copy
from tests.end_to_end.filled import GRAY, fill_agreed, fill_sql


@pytest.mark.slow
def test_every_scaffold_has_the_blanks_that_check_names_and_passes_once_they_are_filled(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    for arguments in (
        ("model", "int_plain", "--group", "portfolio"),
        ("model", "int_agreed", "--group", "portfolio", "--trusted"),
        ("audience", "winback"),
        ("rule", "many_tickets"),
        ("source", "bureau", "--table", "score", "--about", "The credit bureau's scores", "--group", "customer"),
    ):
        done = copy.lendloop("new", *arguments)
        assert done.returncode == 0, done.stderr
    checked = copy.lendloop("check")
    assert checked.returncode == 2
    named = [line.removeprefix("blanks: fault ") for line in checked.stdout.splitlines() if ": fault " in line]
    places = [copy.path("dbt_project/models"), copy.path("activation/definitions"), copy.path("ingestion")]
    assert named == [str(found) for found in find_blanks(places)]
    assert {re.sub(r":.*", "", line.removeprefix(f"{copy.root}/")) for line in named} == {
        f"{GRAY}/portfolio/int_plain.sql",
        f"{GRAY}/portfolio/_int_plain.yml",
        f"{GRAY}/portfolio/int_agreed.sql",
        f"{GRAY}/portfolio/_int_agreed.yml",
        "activation/definitions/audiences/winback.yaml",
        "activation/definitions/rules/many_tickets.yaml",
        "ingestion/bureau.py",
        "ingestion/tables.py",
        f"{GRAY}/staging/bureau/_bureau.yml",
        f"{GRAY}/staging/bureau/stg_bureau__score.sql",
    }

    before = copy.path(f"{GRAY}/portfolio/int_plain.sql").read_text()
    again = copy.lendloop("new", "model", "int_plain", "--group", "portfolio")
    assert (again.returncode, copy.path(f"{GRAY}/portfolio/int_plain.sql").read_text()) == (2, before)
    assert "there is a model int_plain already" in again.stderr or "is there already" in again.stderr

    fill_all(copy)
    checked = copy.lendloop("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    outcomes = {line.partition(":")[0]: line for line in checked.stdout.splitlines()}
    assert "winback" in outcomes["audiences"]
    assert "many_tickets" in outcomes["rules"]

    script = (
        "from lendloop.settings import load_settings; from ingestion.load import load_source;"
        "settings = load_settings(); print(load_source('bureau', settings, settings.clock()).model_dump_json())"
    )
    loaded = copy.python("-c", script, LENDLOOP_BUREAU_URL="somewhere", LENDLOOP_HOME=str(tmp_path / "data"))
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout)["rows"] == {"score": 2}


def fill_all(copy: Copy) -> None:
    fill_sql(copy, "int_plain")
    copy.fill(f"{GRAY}/portfolio/_int_plain.yml", {"what a row is": "One row a market."})
    fill_agreed(copy)
    copy.fill(
        "activation/definitions/audiences/winback.yaml",
        {
            "title": "Win back",
            "A team": "growth",
            "Why": "Bring back people who left.",
            "channel": "sms",
            "One SELECT": "select person_key from trusted.dim_customer",
            "payload": "{phone_number: contact.address}",
            "Who is held back": "opt_out, fraud",
            "Sources of the facts": "{crm: 36}",
            "Sources of consent": "{crm: 36}",
            "destinations": "{drop: {formats: [csv]}}",
        },
    )
    copy.fill(
        "activation/definitions/rules/many_tickets.yaml",
        {
            "What a person": "Many tickets",
            "What it watches": "More open tickets than the team carries.",
            "The one team": "support-ops",
            "The system": "support",
            "condition": "condition",
            "severity": "warning",
            "When": "today",
            "Hours": "24",
            "Sources": "support",
            "parameters": "{}",
            "Columns": "market",
            "How an entity": "'tickets of {market}'",
            "Rows are findings": "select market, count(*) as value, 10 as threshold from trusted.fct_ticket group by market",
            "A formula": "value / threshold",
            "Unit": "tickets",
            "What happened": "'{value} tickets of {market} are open.'",
            "What can": "Answer them",
            "Names of routes": "operations",
        },
    )
    copy.fill("ingestion/bureau.py", {"how the rows": "[{'id': 'a', 'score': '1'}, {'id': 'b', 'score': '2'}]"})
    copy.fill("ingestion/tables.py", {"the columns that name": "id", "a column": "id", "its type": "text"})
    tables = copy.path("ingestion/tables.py")
    tables.write_text(
        tables.read_text().replace(
            '            "id": "text",\n        },\n    ),\n)\n\nTABLES',
            '            "id": "text",\n            "score": "bigint",\n        },\n    ),\n)\n\nTABLES',
        )
    )
    copy.fill(f"{GRAY}/staging/bureau/stg_bureau__score.sql", {"the columns": "id as score_id,\n    score"})
    copy.fill(
        f"{GRAY}/staging/bureau/_bureau.yml",
        {"Team": "risk", "what a row is": "One score.", "the columns with": "", "what a row": "One score."},
    )


def test_a_blank_is_a_plain_scalar_and_is_found_again(tmp_path: Path) -> None:
    wish = blank("a name: one of <a>, # or b")
    assert wish == "<FILL IN a name, one of a, or b>"
    (tmp_path / "one.yaml").write_text(f"x: 1\ny: {wish}\nz: [{wish}]\n")
    assert [(found.line, found.wish) for found in find_blanks([tmp_path])] == [
        (2, "a name, one of a, or b"),
        (3, "a name, one of a, or b"),
    ]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (DatasetParameters.model_json_schema(), required_yaml(DatasetParameters.model_json_schema())),
        (ColumnParameters.model_json_schema(), required_yaml(ColumnParameters.model_json_schema())),
        (Audience.model_json_schema(), definition_file("audience", "one", Audience.model_json_schema(), {})),
        (rule_schema(), definition_file("rule", "one", rule_schema(), {})),
    ],
)
def test_a_template_says_every_field_that_its_schema_requires(schema: dict[str, Any], text: str) -> None:
    named = [line.partition(":")[0] for line in text.splitlines() if re.match(r"[a-z_]+:", line)]
    assert named == [name for name in schema["properties"] if name in schema["required"]]


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no name"):
        definition_file("rule", "../evil", rule_schema(), {})
