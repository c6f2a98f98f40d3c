"""The dictionary: what it refuses, one line a fault, and what it finds."""

from __future__ import annotations

import random

import pytest
from small_project import SmallProject

from governance.dictionary import Dictionary, Kind, judge_dictionary, normalise, read_dictionary, search
from governance.manifest import Manifest
from lendloop.errors import ConfigurationError


@pytest.fixture(scope="module")
def dictionary(manifest: Manifest) -> Dictionary:
    return read_dictionary(manifest)


def faults(project: SmallProject) -> list[str]:
    return [str(fault) for fault in judge_dictionary(project.manifest)[1]]


def test_a_project_in_order_has_no_fault(project: SmallProject) -> None:
    assert faults(project) == []


def test_every_column_of_the_project_points_to_a_term_with_all_its_fields(
    dictionary: Dictionary, manifest: Manifest
) -> None:
    columns = sum(len(model.columns) for model in manifest.governed)
    assert sum(len(places) for places in dictionary.places.values()) == columns > 250
    assert all(term.owner in manifest.teams for term in dictionary.terms.values())


def test_a_column_without_a_term_is_named(project: SmallProject) -> None:
    del project.loan["columns"]["loan_id"]["config"]["meta"]["term"]
    assert (
        "models/fct_loan.yml: fct_loan.loan_id: points to no term;"
        " write the term in models/dictionary/ and `term:` in the column's meta" in faults(project)
    )


def test_a_column_whose_term_is_unknown_is_named(project: SmallProject) -> None:
    project.column("colour")
    assert any("fct_loan.colour: points to colour, which is no term" in fault for fault in faults(project))


def test_a_column_that_is_described_by_another_term_is_named(project: SmallProject) -> None:
    project.loan["columns"]["loan_id"]["doc_blocks"] = ["doc.lendloop.person_key"]
    (fault,) = faults(project)
    assert fault.startswith(
        "models/fct_loan.yml: fct_loan.loan_id: is not described by its term loan_id; write `description"
    )


def test_an_unused_term_is_named_unless_it_says_so(project: SmallProject) -> None:
    del project.fields["loan_to_value"]["status"]
    assert faults(project) == [
        "models/dictionary/loan.md: loan_to_value: stands on no column; use it, remove it, or say `- status: named only`"
    ]


def test_a_term_that_is_named_only_and_used_is_named(project: SmallProject) -> None:
    project.column("loan_to_value")
    assert faults(project) == [
        "models/dictionary/loan.md: loan_to_value: is named only, and stands on a column; remove its status"
    ]


def test_a_name_that_means_two_things_is_named_where_it_stands(project: SmallProject) -> None:
    other = project.model("kpi", "kpi_loan", {}, {"loan_id": "none"})
    other["columns"]["loan_id"]["config"]["meta"]["term"] = "person_key"
    other["columns"]["loan_id"]["doc_blocks"] = ["doc.lendloop.person_key"]
    assert faults(project) == [
        "models/fct_loan.yml: fct_loan.loan_id: the name loan_id means loan_id here and person_key elsewhere;"
        " give the columns names of their own",
        "models/kpi_loan.yml: kpi_loan.loan_id: the name loan_id means person_key here and loan_id elsewhere;"
        " give the columns names of their own",
    ]


def test_a_synonym_that_two_terms_claim_is_named_unless_it_is_refused(project: SmallProject) -> None:
    project.fields["loan_to_value"]["synonyms"] = "Loan-Balance"
    (fault,) = faults(project)
    assert "the name 'loan balance' means loan_to_value and principal_owed" in fault
    project.fields["ltv"]["synonyms"] = "loan balance"
    assert faults(project) == []


@pytest.mark.parametrize("name", ["ltv", "mean_ltv", "ltv90", "LTV_rate"])
def test_a_refused_abbreviation_is_no_part_of_a_columns_name(project: SmallProject, name: str) -> None:
    project.column(name, term="loan_id")
    (fault,) = faults(project)
    assert fault == (
        f"models/fct_loan.yml: fct_loan.{name}: is called by a refused name: What ltv means, in a sentence.;"
        " write loan_to_value instead"
    )


def test_a_refused_word_is_refused_as_a_whole_name_only(project: SmallProject) -> None:
    project.column("loan_status", term="loan_id")
    assert faults(project) == []
    project.column("status", term="loan_id")
    assert any("fct_loan.status: is called by a refused name" in fault for fault in faults(project))


def test_a_term_and_a_table_may_not_have_a_refused_name(project: SmallProject) -> None:
    project.fields["net_ltv"], project.meanings["net_ltv"] = (
        project.fields["loan_to_value"] | {"synonyms": "x y"},
        "Something else.",
    )
    project.model("kpi", "kpi_ltv", {}, {})
    found = faults(project)
    assert any(fault.startswith("models/dictionary/loan.md: net_ltv: is called by a refused name") for fault in found)
    assert any(fault.startswith("models/kpi_ltv.yml: kpi_ltv: is called by a refused name") for fault in found)


@pytest.mark.parametrize(
    ("field", "text", "fault"),
    [
        ("owner", None, "principal_owed: has no owner; every amount has one"),
        ("unit", None, "principal_owed: has no unit; every amount has one"),
        ("owner", "nobody", "principal_owed: owner nobody is no team; name one of data-platform, risk"),
        ("since", "soon", "principal_owed: since is 'soon'; input should be a valid date"),
        ("kind", "number", "principal_owed: is of no known kind; write `- kind:` and one of amount, count"),
        ("colour", "blue", "principal_owed: has a field colour; remove it, of kind amount it has only exclusions"),
        ("not to be confused with", "debt_ratio (new)", "principal_owed: points to debt_ratio, which is no term"),
    ],
)  # fmt: skip
def test_a_field_that_is_missing_wrong_or_unknown_is_named(
    project: SmallProject, field: str, text: str | None, fault: str
) -> None:
    if text is None:
        del project.fields["principal_owed"][field]
    else:
        project.fields["principal_owed"][field] = text
    assert any(f"models/dictionary/loan.md: {fault}" in found for found in faults(project)), faults(project)


def test_a_kind_has_its_own_fields_and_no_others(project: SmallProject) -> None:
    project.fields["loan_id"]["unit"] = "loans"
    assert any("loan_id: has a field unit; remove it" in fault for fault in faults(project))


def test_a_line_that_is_no_field_is_named(project: SmallProject) -> None:
    project.fields["loan_id"]["grain"] += "\nand more of it"
    assert any("loan_id: the line 'and more of it' is no field" in fault for fault in faults(project))


def test_all_faults_are_raised_at_once_one_a_line(project: SmallProject) -> None:
    del project.fields["loan_id"]["owner"]
    del project.fields["principal_owed"]["unit"]
    with pytest.raises(ConfigurationError) as raised:
        read_dictionary(project.manifest)
    lines = str(raised.value).split("\n")
    assert len(lines) >= 2
    assert all(line.startswith("models/") for line in lines)


def found(dictionary: Dictionary, word: str) -> list[str]:
    return [match.term.name for match in search(dictionary, word)]


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("par_30", "par_30"), ("PAR-30", "par_30"), ("par30", "par_30"), ("portfolio at risk 30", "par_30"), ("DPD", "days_past_due"),
        ("delinquency", "days_past_due"), ("dilinquency", "days_past_due"), ("customer id", "person_key"), ("CLV", "customer_lifetime_value"),
        ("vintge loss", "vintage_loss"), ("outstading principal", "outstanding_principal"), ("take up", "take_up_rate"),
    ],
)  # fmt: skip
def test_a_word_finds_its_term(dictionary: Dictionary, word: str, first: str) -> None:
    assert found(dictionary, word)[0] == first


def test_ltv_is_refused_and_answers_with_both_of_its_meanings(dictionary: Dictionary) -> None:
    assert found(dictionary, "LTV") == ["ltv", "customer_lifetime_value", "loan_to_value"]
    assert dictionary.refused["ltv"].kind is Kind.REFUSED
    assert dictionary.refused["ltv"].refuses("ltv_by_cohort")


@pytest.mark.parametrize("word", ["xyzzyq", "", "--"])
def test_a_word_that_nothing_is_like_finds_nothing(dictionary: Dictionary, word: str) -> None:
    assert found(dictionary, word) == []


def test_one_slip_of_the_pen_finds_the_term_all_the_same(dictionary: Dictionary) -> None:
    rng = random.Random(7)
    slips = []
    for term in dictionary.terms.values():
        for name in (normalise(name) for name in (term.name, *term.synonyms)):
            if len(name) >= 6:
                at = rng.randrange(len(name) - 1)
                slips.append((name[:at] + name[at + 1] + name[at] + name[at + 2 :], term.name))
                slips.append((name[:at] + name[at + 1 :], term.name))
    tried = rng.sample(slips, 150)
    missed = [slip for slip, name in tried if name not in found(dictionary, slip)]
    assert len(missed) <= 2, missed
