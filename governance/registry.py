"""The registry: what every agreed dataset promises, from dbt's meta, which is the only place where it is said.

A dataset of trusted, kpi or contacts declares all of `DatasetParameters`; one of gray may declare any of them, and
none that is unknown. Every column declares its term and its class of personal data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from governance.faults import Fault, refuse
from governance.kpis import Declared
from governance.manifest import DataTest, Manifest, Model
from lendloop.days import DAYS_KEPT
from lendloop.on_error import OnError
from lendloop.standing import BROKEN_DAYS, OF_DAYS


class PersonalData(StrEnum):
    """How closely a column leads to a person, from not at all to by name; `contact` is what reaches them."""

    NONE = "none"
    PSEUDONYM = "pseudonym"
    CONTACT = "contact"
    NAME = "name"


class Dimension(StrEnum):
    """What a check says something of."""

    ACCURACY = "accuracy"
    """It says what is so: rules of the business hold."""
    COMPLETENESS = "completeness"
    """Nothing is missing."""
    CONSISTENCY = "consistency"
    """It agrees with other datasets."""
    TIMELINESS = "timeliness"
    """It is as new as promised."""
    VALIDITY = "validity"
    """Values are of those that are allowed."""
    UNIQUENESS = "uniqueness"
    """Nothing is there twice."""


class Retention(StrEnum):
    """How long rows stay."""

    AS_SOURCE = "as_source"
    """Until the source forgets them: it is rebuilt from raw."""
    KEPT = "kept"
    """For good: it holds a past that no source has."""


Kind = TypeVar("Kind", bound="Strict")
Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Freshness(Strict):
    """Hours since the dataset was last made."""

    warn_hours: Annotated[float, Field(gt=0)]
    """Hours after which its owner is warned."""
    fail_hours: Annotated[float, Field(gt=0)]
    """Hours after which it is stale."""

    @model_validator(mode="after")
    def _warns_first(self) -> Freshness:
        if self.warn_hours >= self.fail_hours:
            raise ValueError("warn_hours is not below fail_hours")
        return self

    @property
    def warn(self) -> timedelta:
        return timedelta(hours=self.warn_hours)

    @property
    def fail(self) -> timedelta:
        return timedelta(hours=self.fail_hours)


class Reconciles(Strict):
    """The table of raw whose rows the dataset holds one by one, less those that a rule leaves out."""

    table: str
    """The table of raw, as `schema.table`."""
    key: str
    """Its column that becomes the dataset's key."""
    day: str
    """The dataset's column by whose days both are compared."""
    columns: dict[str, str]
    """Columns of the dataset, the day and amounts, each with the SQL over a row of raw that it must equal."""
    left_out: dict[str, str] = Field(default_factory=dict)
    """Rules by name, each the SQL condition on a row of raw that the dataset leaves out."""


class Watched(Strict):
    """What of a dataset is compared with its own past (`governance.watch`)."""

    time: str
    """The column that says when a row came to be: an instant or a date."""
    by: str | None = None
    """A column of few values, as market, each of which is watched alone: what is missing in one is hidden in the total."""
    shares: list[str] = Field(default_factory=list)
    """Columns of few values whose shares of the rows are watched; to be empty is a value too."""
    filled: list[str] = Field(default_factory=list)
    """Columns of which the share of rows that have one is watched."""
    amounts: list[str] = Field(default_factory=list)
    """Amounts, in the dataset's column currency, of which what is typical in each currency is watched."""

    @property
    def columns(self) -> list[str]:
        """Every column that it names."""
        return [self.time, *filter(None, [self.by]), *self.shares, *self.filled, *self.amounts]


class Approval(Strict):
    """Who let a dataset into trusted: a person or a team other than its owner."""

    by: Annotated[str, Field(min_length=2)]
    date: date


class Demotion(Strict):
    """How often a promise may break before nothing is done on the dataset any more."""

    broken_days: Annotated[int, Field(ge=1)] = BROKEN_DAYS
    """Business days on which a blocking check of it failed."""
    of_days: Annotated[int, Field(ge=1, le=DAYS_KEPT)] = OF_DAYS
    """Of so many days back."""

    @model_validator(mode="after")
    def _fits(self) -> Demotion:
        if self.broken_days > self.of_days:
            raise ValueError("broken_days is above of_days")
        return self


class DatasetParameters(Strict):
    """What a dataset promises and what acts on it. The consistency group is the model's group in dbt."""

    owner: str
    """Team that decides what the dataset means and answers for it."""
    steward: str
    """Team that keeps it right from day to day, and is told of its faults."""
    refresh_minutes: Literal[5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, 1440]
    """How often it is made anew while anything changes; the schedule follows the shortest."""
    freshness: Freshness
    """`{warn_hours: …, fail_hours: …}`."""
    completeness: dict[str, Share]
    """The smallest share of rows in which a column that may be empty is filled; columns that may not be are in the contract."""
    consistency: Annotated[list[str], Field(min_length=1)]
    """Data tests that hold it together with other datasets: a test's name, or `column in model`."""
    retention: Retention
    """`as_source`, or `kept` for a past that no source has."""
    on_error: OnError
    """What happens when a blocking check fails: halt, quarantine, serve_stale or warn."""
    key: Annotated[list[str], Field(min_length=1)]
    """Columns that name a row; the primary key of the contract."""
    reconciles: Reconciles | None = None
    """The table of raw that it must agree with, row by row and in the sums of its amounts."""
    watched: Watched | None = None
    """`{time: …, by: …, shares: […], filled: […], amounts: […]}`: what is compared with its own past."""
    publish_partition: str | None = None
    """A date or an instant by whose months the published files are cut."""
    publish_version: list[str] = Field(default_factory=list)
    """Columns that change whenever a row does."""
    deprecated: str | None = None
    """Why it goes, or the day it goes first: no audience or rule reads it from then on."""
    kpis: list[Declared] = Field(default_factory=list)
    """The KPIs that the dataset defines itself, as no metric can (`governance.kpis`)."""
    consumers: list[str] = Field(default_factory=list)
    """Teams that read it where no exposure, audience, rule or other dataset shows it."""
    approved: Approval | None = None
    """`{by: …, date: 'YYYY-MM-DD'}`: who let it into trusted, and when."""
    demotion: Demotion = Demotion()
    """`{broken_days: …, of_days: …}`: how often its promise may break before it is demoted."""


class DraftParameters(DatasetParameters):
    """What a draft in gray may declare: any of it, all optional there."""

    personal_data: bool = False
    """Whether it holds contact data, names or ids of people; its columns are not classed one by one."""


class SourceParameters(Strict):
    """What a table of raw declares."""

    owner: str
    """Team that answers for the system it comes from."""


class ColumnParameters(Strict):
    """What a column says of itself beside its type. `term` is a name in the dictionary."""

    term: str
    """The name of a doc block in models/dictionary."""
    pii: PersonalData
    """Class of personal data: none, pseudonym, contact or name."""
    pii_lowered: str | None = None
    """Why it leads less close to a person than what it is made of."""
    deprecated: str | None = None
    """Why it goes, or the day it goes first: no audience or rule uses it from then on."""


class TestParameters(Strict):
    """What a data test may declare."""

    on_error: OnError | None = None
    """What happens when this test fails, whatever its dataset says: halt, quarantine, serve_stale or warn."""
    dimension: Dimension | None = None
    """What it says something of, where its kind does not tell: accuracy, completeness, consistency and so on."""


@dataclass(frozen=True)
class Dataset:
    """An agreed dataset with all that it promises."""

    model: Model
    parameters: DatasetParameters
    columns: Mapping[str, ColumnParameters]

    @property
    def key(self) -> str:
        return self.model.key

    @property
    def consistency_group(self) -> str:
        return str(self.model.group)

    @property
    def personal_data(self) -> PersonalData:
        """The closest class among its columns."""
        classes = list(PersonalData)
        return max((column.pii for column in self.columns.values()), key=classes.index, default=PersonalData.NONE)


def read_registry(manifest: Manifest) -> dict[str, Dataset]:
    """Every agreed dataset by `schema.table`. Raises ConfigurationError with one line a fault."""
    datasets, faults = judge_registry(manifest)
    refuse(faults)
    return datasets


def judge_registry(manifest: Manifest) -> tuple[dict[str, Dataset], list[Fault]]:
    """The datasets that could be read, and everything that is wrong or missing in what any model declares."""
    datasets: dict[str, Dataset] = {}
    faults: list[Fault] = []
    for model in manifest.models.values():
        if not model.is_governed:
            faults += _validate(DraftParameters, model.meta, model.yaml, model.name, complete=False)[1]
            continue
        parameters, wrong = _validate(DatasetParameters, model.meta, model.yaml, model.name)
        columns: dict[str, ColumnParameters] = {}
        for column in model.columns.values():
            declared, wrong_column = _validate(ColumnParameters, column.meta, model.yaml, f"{model.name}.{column.name}")
            wrong += wrong_column
            if declared:
                columns[column.name] = declared
        faults += wrong
        if parameters:
            dataset = Dataset(model, parameters, columns)
            datasets[model.key] = dataset
            faults += _judge(dataset, manifest)
        faults += _misclassed(model, columns)
    for source in manifest.sources.values():
        declared_source, wrong = _validate(SourceParameters, source.meta, source.file, source.key)
        faults += wrong
        if declared_source:
            faults += _no_team(manifest, source.file, source.key, "owner", declared_source.owner)
    for test in manifest.tests:
        faults += _validate(TestParameters, test.meta, test.file, test.name)[1]
    return datasets, sorted(set(faults))


def shortest_refresh_minutes(datasets: Mapping[str, Dataset]) -> int:
    """How often a pass must run so that every dataset is refreshed in time."""
    return min(dataset.parameters.refresh_minutes for dataset in datasets.values())


def _validate(
    kind: type[Kind], meta: Mapping[str, Any], file: str, subject: str, *, complete: bool = True
) -> tuple[Kind | None, list[Fault]]:
    try:
        return kind.model_validate(meta), []
    except ValidationError as error:
        faults = []
        for one in error.errors(include_url=False):
            name = ".".join(str(part) for part in one["loc"]) or "meta"
            if one["type"] == "missing":
                if complete:
                    what = f"declares no {name}"
                    advice = f"add `{name}` to its meta: {_help(kind, name)}"
                    faults.append(Fault(file, subject, what, advice, name.split(".")[0]))
            elif one["type"] == "extra_forbidden":
                known = ", ".join(kind.model_fields)
                faults.append(Fault(file, subject, f"{name} is no key of meta", f"remove it, or write one of {known}"))
            else:
                what = f"{name} is {one['input']!r}: {one['msg']}"
                faults.append(Fault(file, subject, what, f"it is {_help(kind, name)}", name.split(".")[0]))
        return None, faults


def _help(kind: type[Strict], name: str) -> str:
    """What the field is for, in its own words."""
    field = kind.model_fields.get(name.split(".")[0])
    text = (field.description if field else None) or "see governance/registry.py"
    return text[0].lower() + text[1:].rstrip(".")


def _judge(dataset: Dataset, manifest: Manifest) -> list[Fault]:
    """What no single field can know: that teams, columns, tests and dbt's own configuration agree with it."""
    model, parameters = dataset.model, dataset.parameters
    faults: list[tuple[str, str]] = []
    if not model.group:
        faults.append(("belongs to no consistency group", "set its group in dbt_project.yml"))
    if not model.description:
        faults.append(("has no description", "say in its YAML what a row is"))
    if tuple(parameters.key) != model.primary_key:
        declared = ", ".join(model.primary_key) or "none"
        faults.append((f"key is {', '.join(parameters.key)}, primary key {declared}", "write the same in both"))
    named = [*parameters.completeness, *parameters.publish_version, *filter(None, [parameters.publish_partition])]
    faults += [
        (f"meta names a column {column} that it does not have", "correct the name")
        for column in named
        if column not in model.columns
    ]
    for name, column in model.columns.items():
        if column.is_required and name in parameters.completeness:
            faults.append((f"completeness names {name}, which may not be empty", "remove it: the contract holds it"))
        if not column.is_required and name not in parameters.completeness:
            faults.append((f"completeness says nothing of {name}", "add the share of rows in which it is filled"))
    if model.keeps_history != (parameters.retention is Retention.KEPT):
        rebuilt = "is never rebuilt" if model.keeps_history else "is rebuilt from raw"
        faults.append(
            (f"retention is {parameters.retention.value}, but it {rebuilt}", "make full_refresh and retention agree")
        )
    faults += _judge_reconciles(dataset, manifest)
    faults += _judge_watched(dataset)
    if model.keeps_history and parameters.on_error is OnError.QUARANTINE:
        advice = "write serve_stale, halt or warn"
        faults.append(("on_error is quarantine, but rows taken out of a past that is kept would be lost", advice))
    return [
        *_no_team(manifest, model.yaml, model.name, "owner", parameters.owner),
        *_no_team(manifest, model.yaml, model.name, "steward", parameters.steward),
        *(
            fault
            for team in parameters.consumers
            for fault in _no_team(manifest, model.yaml, model.name, "consumers", team)
        ),
        *(
            Fault(
                model.yaml,
                model.name,
                f"no data test holds the consistency rule {rule!r}",
                "add the test, or correct the rule",
                "consistency",
            )
            for rule in parameters.consistency
            if find_rule(rule, model, manifest) is None
        ),
        *(Fault(model.yaml, model.name, what, advice) for what, advice in faults),
    ]


def _judge_reconciles(dataset: Dataset, manifest: Manifest) -> list[tuple[str, str]]:
    declared = dataset.parameters.reconciles
    if declared is None:
        return []
    faults = []
    if declared.table not in manifest.sources:
        faults.append((f"reconciles names {declared.table}, which is no table of raw", "correct the name"))
    if len(dataset.parameters.key) != 1:
        faults.append(("reconciles needs a key of one column", "remove it"))
    if declared.day not in declared.columns:
        faults.append((f"reconciles says nothing of its day {declared.day}", "add it to the columns"))
    faults += [
        (f"reconciles names a column {name} that it does not have", "correct the name")
        for name in declared.columns
        if name not in dataset.model.columns
    ]
    return faults


def _judge_watched(dataset: Dataset) -> list[tuple[str, str]]:
    declared, columns = dataset.parameters.watched, dataset.model.columns
    if declared is None:
        return []
    if dataset.model.zone == "contacts":
        return [
            (
                "watched is declared, but contact data is not looked at",
                "watch the dataset in trusted that it is made of",
            )
        ]
    shown = [*filter(None, [declared.by]), *declared.shares]
    faults = [
        (f"watched names a column {name} that it does not have", "correct the name")
        for name in declared.columns
        if name not in columns
    ]
    if declared.time in columns and columns[declared.time].data_type not in ("", "date", "timestamp with time zone"):
        faults.append((f"watched.time {declared.time} is neither a date nor an instant", "name one that is"))
    faults += [
        (f"watched would show {name}, which leads to a person", "remove it, or watch whether it is filled")
        for name in shown
        if name in dataset.columns and dataset.columns[name].pii is not PersonalData.NONE
    ]
    if declared.amounts and "currency" not in columns:
        faults.append(("watched has amounts, but there is no column currency", "add the column, or remove the amounts"))
    return faults


def _no_team(manifest: Manifest, file: str, subject: str, role: str, team: str) -> list[Fault]:
    """A fault when nobody is reached by the name."""
    advice = f"name one of {', '.join(sorted(manifest.teams))}"
    return [] if team in manifest.teams else [Fault(file, subject, f"{role} {team} is no team", advice, role)]


_OF_ONE_TABLE = ("not_null", "unique", "accepted_values", "unique_combination")
"""Generic tests that hold nothing together."""


def find_rule(rule: str, model: Model, manifest: Manifest) -> DataTest | None:
    """The data test that a consistency rule of `model` names: a test's name, or `[model.]column in model`."""
    column, _, target = rule.partition(" in ")
    subject, _, column = column.rpartition(".")
    subjects = {node.unique_id: node.name for node in manifest.models.values()}
    for test in manifest.tests:
        if not target:
            if rule in (test.name, test.kind) and rule not in _OF_ONE_TABLE and model.unique_id in test.depends_on:
                return test
            continue
        about = subjects.get(test.attached or "", "")
        if (
            test.kind == "relationships"
            and test.column == column
            and about == (subject or model.name)
            and model.unique_id in test.depends_on
            and any(subjects.get(node) == target for node in test.depends_on)
        ):
            return test
    return None


_CLASSES: tuple[tuple[re.Pattern[str], tuple[PersonalData, ...]], ...] = (
    (re.compile(r"(person_key|client_id|account_no|source_id|.*_hash)"), (PersonalData.PSEUDONYM,)),
    (re.compile(r"(?!has_)(.*_)?(phone|mobile|msisdn|email|address)"), (PersonalData.CONTACT,)),
    (
        re.compile(r"(first|last|full|middle|given|family|person)_?name|surname|(date_of_)?birth(_date)?|national_id"),
        (PersonalData.NAME,),
    ),
)
"""What a column of such a name must be classed as."""
_NOT_PERSONAL = ("input_hash",)


def _misclassed(model: Model, columns: Mapping[str, ColumnParameters]) -> list[Fault]:
    """Columns whose class their name belies, and contact data or names outside `contacts`."""
    faults = []
    for name, column in columns.items():
        subject = f"{model.name}.{name}"
        for pattern, classes in _CLASSES:
            if name not in _NOT_PERSONAL and pattern.fullmatch(name) and column.pii not in classes:
                right = " or ".join(classes)
                faults.append(
                    Fault(
                        model.yaml,
                        subject,
                        f"is classed {column.pii.value}",
                        f"its name says {right}: write `pii: {right}`",
                        "pii",
                    )
                )
        if model.zone != "contacts" and column.pii in (PersonalData.CONTACT, PersonalData.NAME):
            advice = "move it to contacts, or hash it"
            what = f"carries personal data of class {column.pii.value} in {model.zone}"
            faults.append(Fault(model.yaml, subject, what, advice, "pii"))
    return faults
