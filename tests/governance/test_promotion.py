"""The gate of trusted: each requirement is named when it alone is missing; a change moves a draft as git reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from governance.lineage import Graph
from governance.manifest import Manifest, Model
from governance.promotion import GATED, REQUIREMENTS, apply_change, as_diff, check_gate, judge_gate, promotion
from lendloop.errors import ConfigurationError

NO_LINEAGE = Graph({})
Broken = tuple[Model, Manifest]


@pytest.fixture
def draft(manifest: Manifest) -> Broken:
    """A dataset that has all that trusted asks for, as if it stood in gray and had not been let in."""
    found = manifest.models["trusted.fct_ticket"]
    return with_model(manifest, replace(found, zone="gray", meta=without(found.meta, "approved")))


def with_model(manifest: Manifest, model: Model) -> Broken:
    others = {key: one for key, one in manifest.models.items() if one.unique_id != model.unique_id}
    return model, replace(manifest, models={**others, model.key: model})


def without(meta: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in meta.items() if name != key}


def missing(
    broken: Broken, *, approver: str | None = "data-platform", clean_days: int | None = 5
) -> dict[str, tuple[str, ...]]:
    found = judge_gate(*broken, NO_LINEAGE, approver=approver, clean_days=clean_days)
    return {requirement.name: requirement.missing for requirement in found if not requirement.passed}


def test_a_draft_that_has_everything_lacks_nothing(draft: Broken) -> None:
    found = judge_gate(*draft, NO_LINEAGE, approver="data-platform", clean_days=5)
    assert [requirement.name for requirement in found] == list(REQUIREMENTS)
    assert missing(draft) == {}


def of_meta(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Broken], Broken]:
    return lambda draft: with_model(draft[1], replace(draft[0], meta=change(dict(draft[0].meta))))


def of_column(key: str, value: str | None) -> Callable[[Broken], Broken]:
    def change(draft: Broken) -> Broken:
        model, manifest = draft
        column = model.columns["ticket_id"]
        meta = without(column.meta, key) | ({key: value} if value else {})
        return with_model(manifest, replace(model, columns={**model.columns, "ticket_id": replace(column, meta=meta)}))

    return change


def unread(draft: Broken) -> Broken:
    model, manifest = draft
    kept = {key: one for key, one in manifest.models.items() if model.unique_id not in one.depends_on}
    return model, replace(manifest, exposures={}, models=kept)


def untyped(draft: Broken) -> Broken:
    model, manifest = draft
    columns = {name: replace(column, data_type="") for name, column in model.columns.items()}
    return with_model(manifest, replace(model, columns=columns))


@pytest.mark.parametrize(
    ("requirement", "change", "says"),
    [
        ("contract", lambda draft: with_model(draft[1], replace(draft[0], has_contract=False)), "contract: {enforced: true}"),
        ("contract", untyped, "ticket_id has no type"),
        ("owner", of_meta(lambda meta: meta | {"owner": "nobody"}), "owner nobody is no team"),
        ("owner", of_meta(lambda meta: without(meta, "steward")), "declares no steward"),
        ("terms", of_column("term", None), "points to no term"),
        ("terms", of_column("term", "no_such_term"), "points to no_such_term, which is no term"),
        ("tests", of_meta(lambda meta: meta | {"consistency": ["ticket_id in dim_market"]}), "no data test holds"),
        ("freshness", of_meta(lambda meta: without(meta, "freshness")), "declares no freshness"),
        ("consumers", unread, "nobody reads it"),
        ("personal data", of_column("pii", None), "ticket_id: declares no pii"),
        ("promises", of_meta(lambda meta: without(meta, "on_error")), "declares no on_error"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_and_nothing_else(
    draft: Broken, requirement: str, change: Callable[[Broken], Broken], says: str
) -> None:
    found = missing(change(draft))
    assert list(found) == [requirement]
    assert says in "\n".join(found[requirement])


def test_a_key_that_nothing_holds_is_named(draft: Broken) -> None:
    model, manifest = draft
    broken = with_model(
        replace(manifest, tests=tuple(test for test in manifest.tests if test.kind != "unique")),
        replace(model, materialized="view"),
    )
    assert missing(broken)["tests"] == ("nothing holds ticket_id unique; test it, or make it the primary key",)


def test_too_few_clean_days_and_no_other_persons_approval_are_named(draft: Broken) -> None:
    assert list(missing(draft, clean_days=4)) == ["clean days"]
    assert missing(draft, approver=None)["approver"][0].startswith("nobody has let it in")
    assert missing(draft, approver="support-ops")["approver"] == ("support-ops owns it; somebody else lets it in",)


def test_teams_that_a_dataset_names_are_its_consumers_when_there_are_such_teams(draft: Broken) -> None:
    model, manifest = unread(draft)
    assert missing(with_model(manifest, replace(model, meta={**model.meta, "consumers": ["risk"]}))) == {}
    found = missing(with_model(manifest, replace(model, meta={**model.meta, "consumers": ["strangers"]})))
    assert "consumers strangers is no team" in found["consumers"][0]


def test_every_trusted_and_kpi_model_passes_the_gate_and_one_that_does_not_is_named(
    manifest: Manifest, graph: Graph
) -> None:
    assert check_gate(manifest, graph) == sum(model.zone in GATED for model in manifest.governed)
    found = manifest.models["trusted.fct_ticket"]
    broken = replace(found, meta=without(found.meta, "approved"))
    with pytest.raises(ConfigurationError, match=r"fct_ticket: approver: nobody has let it in") as error:
        check_gate(with_model(manifest, broken)[1], graph)
    assert len(str(error.value).splitlines()) == 1


YAML = """version: 2

models:
  - name: int_one
    description: One.
    config:
      group: support
      materialized: table
      contract: {enforced: true}
      meta:
        owner: risk
    columns:
      - name: id
  - name: int_two
    description: Two, after int_one.
"""


def test_a_draft_is_cut_out_of_its_file_and_whoever_names_it_gets_its_new_name(tmp_path: Path, draft: Broken) -> None:
    folder = tmp_path / "models/gray/support"
    folder.mkdir(parents=True)
    (folder / "_support.yml").write_text(YAML)
    (folder / "int_one.sql").write_text("select 1 as id\n")
    (folder / "int_two.sql").write_text("select id from {{ ref('int_one') }}\n")
    model = replace(
        draft[0], name="int_one", file="models/gray/support/int_one.sql", yaml="models/gray/support/_support.yml"
    )
    change = promotion(model, tmp_path, approver="data-platform", on=date(2026, 3, 1), name="fct_one")
    diff = as_diff(change, tmp_path, "dbt_project")
    assert "--- a/dbt_project/models/gray/support/int_one.sql\n+++ /dev/null\n" in diff
    assert "--- /dev/null\n+++ b/dbt_project/models/trusted/support/fct_one.sql\n" in diff
    assert (folder / "int_one.sql").exists()
    apply_change(change, tmp_path)
    assert not (folder / "int_one.sql").exists()
    assert (folder / "int_two.sql").read_text() == "select id from {{ ref('fct_one') }}\n"
    assert (folder / "_support.yml").read_text() == (
        "version: 2\n\nmodels:\n  - name: int_two\n    description: Two, after fct_one.\n"
    )
    assert (tmp_path / "models/trusted/support/_fct_one.yml").read_text() == (
        "version: 2\n\nmodels:\n  - name: fct_one\n    description: One.\n    config:\n      group: support\n      meta:\n"
        "        approved: {by: data-platform, date: '2026-03-01'}\n        owner: risk\n    columns:\n      - name: id\n"
    )
    with pytest.raises(ConfigurationError, match="is there already"):
        promotion(model, tmp_path, approver="data-platform", on=date(2026, 3, 1), name="fct_one")
