"""Rules' files: what is incomplete, out of bounds or reaches outside trusted does not load, and says where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml

from activation.alerts import Routes, check_routes, load_routes, routes_schema
from activation.rules import load_rules, rule_schema
from activation.rules.model import Rule
from lendloop.errors import ConfigurationError
from lendloop.home import CHECKOUT

DEFINITIONS = CHECKOUT / "activation" / "definitions"
REQUIRED = [name for name, field in Rule.model_fields.items() if field.is_required()]


def test_the_projects_rules_load_and_their_routes_exist() -> None:
    rules = load_rules(DEFINITIONS)
    assert [rule.rule for rule in rules] == [
        "first_payment_default_spike", "large_transaction", "ledger_feed_stale", "ticket_backlog",
    ]  # fmt: skip
    check_routes(rules, load_routes(DEFINITIONS))


@pytest.mark.parametrize(("name", "made"), [("rule.schema.json", rule_schema), ("routes.schema.json", routes_schema)])
def test_the_schema_for_editors_is_the_one_in_the_repository(name: str, made: Callable[[], object]) -> None:
    """When it is meant to change: write json.dumps(made(), indent=2) and a newline to the file."""
    assert (DEFINITIONS / name).read_text() == json.dumps(made(), indent=2) + "\n"


def test_the_projects_files_satisfy_their_schema() -> None:
    for path in (DEFINITIONS / "rules").glob("*.yaml"):
        jsonschema.validate(yaml.safe_load(path.read_text()), rule_schema())
    jsonschema.validate(yaml.safe_load((DEFINITIONS / "routes.yaml").read_text()), routes_schema())


def test_a_missing_folder_has_no_rules_and_the_default_route(tmp_path: Path) -> None:
    assert load_rules(tmp_path) == []
    assert [receiver.name for receiver in load_routes(tmp_path).routes["operations"]] == [
        "slack:default",
        "email:default",
    ]


@pytest.mark.parametrize("field", REQUIRED)
def test_a_rule_without_one_of_its_fields_does_not_load(tmp_path: Path, field: str) -> None:
    raw = yaml.safe_load((DEFINITIONS / "rules" / "ticket_backlog.yaml").read_text())
    del raw[field]
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "backlog.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigurationError, match=rf"backlog\.yaml: {field}: Field required"):
        load_rules(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("severity: warning\n", "severity: bad\n", r"severity: Input should be 'info', 'warning' or 'critical'"),
        ("    value: 50000\n", "    value: 0.5\n", r"parameters\.threshold.*outside its bounds 1 to 1000000000"),
        ("NGN: 400000", "NGN: 0", r"parameters\.currency_thresholds.*NGN: 0 is outside its bounds"),
        ("dataset: trusted.fct_account", "dataset: gray.fct_account", r"parameters\.fact.*dataset"),
        ("from {fact}", "from raw_ledger.m_client", r"raw_ledger\.m_client is not in trusted and kpi"),
        ("from {fact}", "from contacts.customer_contact", r"contacts\.customer_contact is not in trusted and kpi"),
        ("from {fact}", "from read_csv('/etc/passwd')", r"table function"),
        ("from {fact}", "from {nothing}", r"\{nothing\} is no dataset or column among parameters"),
        ("  where value > threshold", "  where occurred_on = current_date", r"wall clock"),
        ("  where value > threshold", "  where value > $limit", r"unknown parameter \$limit"),
        ("  select fact,", "  select fact as phone,", r"does not give the column fact"),
        ("currency, transaction_type, occurred_on, value", "currency as phone, occurred_on, value", r"phone is personal data"),
        ("deviance: value / threshold", "deviance: value / ", r"deviance: not SQL"),
        ("on {occurred_on}", "on {born_on}", r"summary: \{born_on\} is no column"),
        ("kind: event", "kind: condition", r"event: only for kind event"),
        ("owner: risk\n", "owner: risk\nshade: red\n", r"shade: Extra inputs"),
        ("rule: large_transaction", "rule: [", r"is no YAML"),
        ("key_of: fact", "key_of: fcat", r"parameters\.key_column: give column, or key_of"),
        ("    key_of: fact\n", "", r"parameters\.key_column: give column, or key_of"),
        ("{severity: critical, deviance: 5}", "{severity: info, deviance: 5}", r"escalate\.severity: must be worse"),
    ],
)  # fmt: skip
def test_a_faulty_rule_does_not_load_and_says_where(
    rule_file: Callable[[str, str], Path], old: str, new: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"large_transaction\.yaml: .*{message}"):
        load_rules(rule_file(old, new))


def test_every_faulty_file_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    for name in ("one", "two"):
        (tmp_path / "rules" / f"{name}.yaml").write_text("rule: x\n")
    with pytest.raises(ConfigurationError) as caught:
        load_rules(tmp_path)
    assert "one.yaml: title" in str(caught.value)
    assert "two.yaml: owner" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("default: nowhere\n", "there is no route called nowhere"),
        ("routes: {operations: [{channel: pigeon}]}\n", r"routes\.operations\.0\.channel"),
        ("colour: red\n", "colour"),
    ],
)
def test_faulty_routes_do_not_load_and_say_where(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "routes.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=rf"routes\.yaml: .*{message}"):
        load_routes(tmp_path)


def test_routes_on_which_an_alert_would_reach_nobody_are_refused() -> None:
    rules = load_rules(DEFINITIONS)
    of_risk = {"channel": "slack", "owners": ["risk"]}
    with pytest.raises(
        ValueError, match="nobody of operations takes failures of the machinery, which data-platform owns"
    ):
        Routes.model_validate({"routes": {"operations": [of_risk]}})
    routes = Routes.model_validate(
        {"routes": {"operations": [of_risk, {"channel": "email", "owners": ["data-platform"]}]}}
    )
    with pytest.raises(ConfigurationError, match="rule ticket_backlog: routes: nobody takes alerts of support-ops"):
        check_routes(rules, routes)


def test_a_rule_with_an_unknown_route_is_named_and_still_reaches_somebody(
    rule_file: Callable[[str, str], Path],
) -> None:
    rules = load_rules(rule_file("routes: [operations]", "routes: [riks]"))
    routes = load_routes(DEFINITIONS)
    with pytest.raises(ConfigurationError, match="rule large_transaction: routes: there is no route called riks"):
        check_routes(rules, routes)
    assert [receiver.name for receiver in routes.receivers(("riks",), "warning", "risk")] == ["slack:default"]
