"""The registry: what a dataset must declare, one line a fault, and that it says what dbt does."""

from __future__ import annotations

from typing import Any

import pytest
from small_project import SmallProject

from governance.manifest import Manifest
from governance.registry import (
    OnError,
    PersonalData,
    Retention,
    judge_registry,
    read_registry,
    shortest_refresh_minutes,
)
from lendloop.errors import ConfigurationError


def faults(project: SmallProject) -> list[str]:
    return [str(fault) for fault in judge_registry(project.manifest)[1]]


def test_a_project_in_order_has_no_fault(project: SmallProject) -> None:
    assert faults(project) == []


def test_every_agreed_dataset_of_the_project_is_in_the_registry(manifest: Manifest) -> None:
    datasets = read_registry(manifest)
    assert set(datasets) == {model.key for model in manifest.governed}
    assert len(datasets) >= 24
    assert shortest_refresh_minutes(datasets) == 15
    assert datasets["contacts.customer_contact"].personal_data is PersonalData.CONTACT
    assert datasets["trusted.fct_loan"].personal_data is PersonalData.PSEUDONYM
    assert datasets["kpi.kpi_portfolio_daily"].personal_data is PersonalData.NONE
    assert datasets["trusted.agg_portfolio_daily"].parameters.retention is Retention.KEPT
    assert {dataset.parameters.on_error for dataset in datasets.values()} == {OnError.SERVE_STALE}


@pytest.mark.parametrize(
    "name", ["owner", "steward", "refresh_minutes", "freshness", "completeness", "consistency", "retention", "on_error", "key"]
)  # fmt: skip
def test_what_a_dataset_must_declare_is_named_when_it_is_missing(project: SmallProject, name: str) -> None:
    del project.loan["config"]["meta"][name]
    (fault,) = faults(project)
    assert fault.startswith(f"models/fct_loan.yml: fct_loan: declares no {name}; add `{name}` to its meta: ")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"owner": "nobody"}, "fct_loan: owner nobody is no team; name one of data-platform, risk"),
        ({"colour": "blue"}, "fct_loan: colour is no key of meta; remove it, or write one of owner"),
        ({"on_error": "ignore"}, "fct_loan: on_error is 'ignore': Input should be 'halt', 'quarantine', 'serve_stale' or 'warn'"),
        ({"refresh_minutes": 7}, "fct_loan: refresh_minutes is 7: "),
        ({"freshness": {"warn_hours": 30, "fail_hours": 26}}, "warn_hours is not below fail_hours"),
        ({"completeness": {"principal_owed": 1.5}}, "fct_loan: completeness.principal_owed is 1.5: "),
        ({"completeness": {}}, "fct_loan: completeness says nothing of principal_owed"),
        ({"completeness": {"principal_owed": 0.9, "colour": 1}}, "fct_loan: meta names a column colour that it does not have"),
        ({"completeness": {"principal_owed": 0.9, "loan_id": 1}}, "fct_loan: completeness names loan_id, which may not be empty"),
        ({"consistency": []}, "fct_loan: consistency is []: "),
        ({"consistency": ["loan_id in dim_customer"]}, "no data test holds the consistency rule 'loan_id in dim_customer'; add the test"),
        ({"consistency": ["person_key in dim_person"]}, "no data test holds the consistency rule 'person_key in dim_person'"),
        ({"retention": "kept"}, "fct_loan: retention is kept, but it is rebuilt from raw"),
        ({"key": ["person_key"]}, "fct_loan: key is person_key, primary key loan_id; write the same in both"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(project: SmallProject, change: dict[str, Any], fault: str) -> None:
    project.loan["config"]["meta"] |= change
    assert any(fault in found for found in faults(project)), faults(project)


def test_a_table_that_is_never_rebuilt_says_that_it_keeps_its_rows(project: SmallProject) -> None:
    project.loan["config"]["full_refresh"] = False
    assert any("retention is as_source, but it is never rebuilt" in fault for fault in faults(project))


def test_rows_of_a_past_that_is_kept_are_not_quarantined(project: SmallProject) -> None:
    project.loan["config"]["meta"] |= {"retention": "kept", "on_error": "quarantine"}
    project.loan["config"]["full_refresh"] = False
    (fault,) = faults(project)
    assert "on_error is quarantine, but rows taken out of a past that is kept would be lost" in fault


def test_a_test_may_say_what_happens_when_it_fails_and_nothing_that_is_unknown(project: SmallProject) -> None:
    test = project.nodes["test.relationship"]
    test["config"] = {"meta": {"on_error": "halt"}}
    assert faults(project) == []
    test["config"] = {"meta": {"on_error": "ignore"}}
    (fault,) = faults(project)
    assert "relationships_fct_loan_person_key: on_error is 'ignore'" in fault


def test_a_test_of_one_table_is_no_consistency_rule(project: SmallProject) -> None:
    project.nodes["test.unique"] = {
        "resource_type": "test", "name": "unique_fct_loan_loan_id", "test_metadata": {"name": "unique", "kwargs": {}},
        "attached_node": "model.fct_loan", "depends_on": {"nodes": ["model.fct_loan"]},
    }  # fmt: skip
    project.loan["config"]["meta"]["consistency"] = ["unique"]
    assert any("no data test holds the consistency rule 'unique'" in fault for fault in faults(project))


@pytest.mark.parametrize(
    ("column", "written", "right"),
    [
        ("email", "none", "contact"), ("home_phone", "pseudonym", "contact"), ("first_name", "none", "name"), ("birth_date", "none", "name"),
        ("person_key", "none", "pseudonym"), ("phone_hash", "none", "pseudonym"), ("national_id", "pseudonym", "name"),
    ],
)  # fmt: skip
def test_a_class_of_personal_data_that_the_name_belies_is_named(
    project: SmallProject, column: str, written: str, right: str
) -> None:
    project.column(column, written)
    assert (
        f"models/fct_loan.yml: fct_loan.{column}: is classed {written}; its name says {right}: write `pii: {right}`"
        in faults(project)
    )


@pytest.mark.parametrize("column", ["has_phone", "input_hash", "market_name"])
def test_a_name_that_only_sounds_personal_is_not(project: SmallProject, column: str) -> None:
    project.column(column)
    assert faults(project) == []


def test_contact_data_outside_contacts_is_named(project: SmallProject) -> None:
    project.column("email", "contact")
    assert faults(project) == [
        "models/fct_loan.yml: fct_loan.email: carries personal data of class contact in trusted; move it to contacts, or hash it"
    ]


def test_a_column_without_a_class_is_named(project: SmallProject) -> None:
    del project.loan["columns"]["loan_id"]["config"]["meta"]["pii"]
    (fault,) = faults(project)
    assert fault.startswith("models/fct_loan.yml: fct_loan.loan_id: declares no pii; add `pii` to its meta: ")


def test_a_source_has_an_owner_who_is_a_team(project: SmallProject) -> None:
    project.source["config"]["meta"] = {}
    (fault,) = faults(project)
    assert fault.startswith("models/sources.yml: raw_ledger.m_loan: declares no owner; add `owner` to its meta: ")
    project.source["config"]["meta"] = {"owner": "nobody"}
    assert faults(project) == [
        "models/sources.yml: raw_ledger.m_loan: owner nobody is no team; name one of data-platform, risk"
    ]


def test_a_draft_may_leave_out_everything_and_invent_nothing(project: SmallProject) -> None:
    project.customer["config"]["meta"] = {"personal_data": True}
    assert faults(project) == []
    project.customer["config"]["meta"] = {"freshness_hours": 26}
    (fault,) = faults(project)
    assert "dim_customer: freshness_hours is no key of meta" in fault


def test_all_faults_are_raised_at_once_one_a_line(project: SmallProject) -> None:
    del project.loan["config"]["meta"]["owner"], project.loan["config"]["meta"]["retention"]
    with pytest.raises(ConfigurationError) as raised:
        read_registry(project.manifest)
    assert len(str(raised.value).split("\n")) == 2
