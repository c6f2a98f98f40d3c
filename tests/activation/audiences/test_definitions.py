from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from activation.audiences import Audience, json_schema, load_audience, load_audiences
from lendloop.errors import ConfigurationError
from lendloop.home import CHECKOUT
from tests.activation.audiences.conftest import DEFINITIONS

SCHEMA = CHECKOUT / "activation" / "definitions" / "audience.schema.json"


def written(tmp_path: Path, **changes: Any) -> Path:
    content = yaml.safe_load((DEFINITIONS / "recovery.yaml").read_text())
    for name, value in changes.items():
        if value is None:
            content.pop(name)
        else:
            content[name] = value
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_three_audiences_load_and_read_only_trusted(audiences: dict[str, Audience]) -> None:
    assert set(audiences) == {"approved_not_accepted", "dormant_good", "recovery"}
    assert all(table.startswith(("trusted.", "kpi.")) for a in audiences.values() for table in a.query.tables)
    assert {a.title for a in audiences.values()} >= {"Closed well and dormant 30 days"}


def test_the_committed_schema_is_the_one_of_the_model() -> None:
    assert SCHEMA.read_text() == json_schema(), "run: python -c 'from activation.audiences import json_schema; ...'"


@pytest.mark.parametrize("path", sorted(DEFINITIONS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_audience_file_passes_the_schema_that_editors_use(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize(
    "field", ["owner", "sql", "purpose", "channel", "payload", "requires", "destinations", "version"]
)
def test_a_missing_field_is_named_with_its_file(tmp_path: Path, field: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"changed\.yaml: .*{field}: this field is missing"):
        load_audience(written(tmp_path, **{field: None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "colour: no such field"),
        ({"channel": "fax"}, "channel: "),
        ({"sql": "select person_key, owed, currency from gray.stg_loans"}, "sql: gray.stg_loans is not in trusted and kpi"),
        ({"sql": "select person_key from trusted.fct_loan"}, "sql: gives no column owed, currency"),
        ({"sql": "select * from trusted.fct_loan"}, "a star hides which columns it reads"),
        ({"payload": {"phone_number": "contact.address", "days_overdue": "owed"}}, "neutral name"),
        ({"payload": {"phone_number": "contact.iban"}}, "neither a SQL column"),
        ({"payload": {"firstname": "contact.first_name"}}, "contact.address"),
        ({"destinations": {"blueshift": {"list": "recovery_91"}}}, "destinations.blueshift.list"),
        ({"destinations": {}}, "at least one destination"),
        ({"requires": {"crm": 24}}, "requires must name support"),
        ({"exclude": ["fraud", "dispute"]}, "exclude must name opt_out"),
        ({"offer": None}, "needs an offer"),
        ({"holdout": {"share": 2, "salt": "salt"}}, "holdout.share"),
        ({"guards": {"override": True}}, "guards.override: no such field"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_said_with_file_and_field(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load_audience(written(tmp_path, **changes))
    assert "changed.yaml" in str(refusal.value)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_every_faulty_file_of_a_folder_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("audience: a\n")
    (tmp_path / "b.yaml").write_text("- no mapping\n")
    (tmp_path / "c.yaml").write_text("a: [\n")
    with pytest.raises(ConfigurationError) as refusal:
        load_audiences(tmp_path)
    assert all(name in str(refusal.value) for name in ("a.yaml", "b.yaml", "c.yaml"))


def test_two_files_may_not_share_a_name_or_a_list(tmp_path: Path) -> None:
    text = (DEFINITIONS / "recovery.yaml").read_text()
    (tmp_path / "one.yaml").write_text(text)
    (tmp_path / "two.yaml").write_text(text)
    with pytest.raises(
        ConfigurationError, match=r"audience recovery is declared twice[^$]*list ll_c_017 is declared twice"
    ):
        load_audiences(tmp_path)


def test_a_missing_folder_holds_no_audiences(tmp_path: Path) -> None:
    assert load_audiences(tmp_path / "none") == []
