"""What an audience file says: its fields, their bounds, and the JSON Schema an editor checks it by.

Belongs here: the shape of a file and what makes it complete. Not here: reading data, sending.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from activation.door import Door, judge_audience, with_way
from activation.sqlguard import GuardedQuery, ZoneError, guard_sql
from lendloop.errors import ConfigurationError
from lendloop.settings import SourceName

Channel = Literal["sms", "email"]
ExcludeReason = Literal["opt_out", "dispute", "complaint", "hardship", "fraud", "deceased"]
PARAMETERS = ("as_of", "business_dates")
"""`$as_of`: the business clock, TIMESTAMPTZ. `$business_dates`: MAP(market, DATE), `$business_dates[market]`."""

CONTACT_COLUMNS = ("address", "first_name", "last_name", "language", "market")
OFFER_COLUMNS = ("offer_id", "amount", "currency", "expires_on")

_SOURCES_OF_REASON: dict[ExcludeReason, tuple[SourceName, ...]] = {
    "opt_out": ("crm",),
    "fraud": ("crm",),
    "deceased": ("crm",),
    "dispute": ("crm", "support"),
    "complaint": ("support",),
    "hardship": ("support",),
}
_TELLING_WORDS = re.compile(
    r"(?:^|_)(?:debt|default|overdue|past_?due|delinq|arrear|written|write_?off|charge_?off|recover|collect|dpd|owe|outstanding|late$|late_)",
    re.IGNORECASE,
)

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,40}$")]
Share = Annotated[Decimal, Field(gt=0, lt=1)]
MaxAgeHours = Annotated[float, Field(gt=0, description="Hours, against the business clock")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HoldOut(_Strict):
    """A share of people who are never sent anything, so that the effect can be measured."""

    share: Share
    salt: str = Field(min_length=4, description="A new salt draws a new group; change it only with the version")


class Offer(_Strict):
    """A payoff quote, frozen when it is made: amount, expiry and id do not change while it is valid."""

    share: Share = Field(description="Of what is owed, e.g. 0.60")
    of: Name = Field(description="The SQL column that holds what is owed")
    currency: Name = Field(default="currency", description="The SQL column that holds its currency")
    valid_days: int = Field(ge=1, le=365)


class Guards(_Strict):
    """Limits that stop a plan before its first request. Shares and factors are for one business day."""

    max_removed_share: float = Field(
        default=0.5, gt=0, le=1, description="Of the members; removals that a person asked for are not counted"
    )
    max_growth_factor: float = Field(default=3.0, gt=1)
    min_rows: int = Field(default=0, ge=0, description="Fewer candidates than this is an empty source")
    ignore_below: int = Field(default=10, ge=0, description="So few removals or additions never stop a plan")
    allow_full_sync: bool = Field(default=False, description="Sending nearly everybody again needs no new version")
    recreate_deleted_list: bool = Field(
        default=True, description="A list deleted at the vendor is made and filled again"
    )


class BlueshiftTarget(_Strict):
    """A custom user list. Its name is neutral, since staff of the vendor and its users see it."""

    may_have: ClassVar[frozenset[str]] = frozenset({"none", "contact", "name"})
    """Classes of personal data: what a message needs. Our own keys of people stay here."""

    list: str = Field(pattern=r"^ll_[a-z]_[0-9]{3}$", description="ll_<letter>_<number>: says nothing about people")


class DropTarget(_Strict):
    """Files under exports/<audience>/, the whole membership each time it changes."""

    may_have: ClassVar[frozenset[str]] = frozenset({"none", "pseudonym", "contact", "name"})

    formats: Annotated[list[Literal["csv", "jsonl"]], Field(min_length=1)] = ["csv", "jsonl"]


class Destinations(_Strict):
    blueshift: BlueshiftTarget | None = None
    drop: DropTarget | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.blueshift is None and self.drop is None:
            raise ValueError("name at least one destination")
        return self

    def names(self) -> list[str]:
        return [name for name in type(self).model_fields if getattr(self, name) is not None]


class Audience(_Strict):
    """One audience: who is in it, on which consent, what is sent where, and what stops it.

    `sql` gives one row a person: `person_key` and the columns that payload and offer name.
    `payload` maps the vendor's trait to a SQL column, `contact.<column>` or `offer.<column>`.
    """

    audience: Name
    title: str = Field(min_length=3)
    owner: str = Field(pattern=r"^[a-z][a-z0-9-]+$", description="A team")
    version: int = Field(ge=1, description="Raise it when the rule or the payload changes")
    purpose: str = Field(min_length=10, description="Why these people are written to")
    channel: Channel
    entity: Literal["person_key"]
    sql: str = Field(min_length=10, description="One SELECT over trusted and kpi")
    payload: dict[Name, str] = Field(min_length=1)
    exclude: list[ExcludeReason] = Field(min_length=1, description="Who is held back by name; `opt_out` always")
    rests_on: dict[SourceName, MaxAgeHours] = Field(min_length=1, description="Sources of the facts in the SQL")
    requires: dict[SourceName, MaxAgeHours] = Field(min_length=1, description="Sources of consent and exclusions")
    holdout: HoldOut | None = None
    once: bool = Field(default=False, description="Once in a lifetime for a person or an address")
    offer: Offer | None = None
    retry_rejected_after_days: int = Field(
        default=1, ge=1, description="A refused row is tried again when its payload changes, or after this"
    )
    guards: Guards = Guards()
    destinations: Destinations

    _query: GuardedQuery = PrivateAttr()

    @property
    def name(self) -> str:
        return self.audience

    @property
    def query(self) -> GuardedQuery:
        """The SQL as it passed the guard."""
        return self._query

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed: set[SourceName] = {"crm"}
        needed.update(source for reason in self.exclude for source in _SOURCES_OF_REASON[reason])
        if missing := sorted(needed - set(self.requires)):
            raise ValueError(f"requires must name {', '.join(missing)}: consent and the exclusions rest on it")
        if "opt_out" not in self.exclude:
            raise ValueError("exclude must name opt_out: a no counts for whoever shares a phone, an address or an id")
        for trait, column in self.payload.items():
            if _TELLING_WORDS.search(trait):
                raise ValueError(f"payload trait {trait!r} tells of a person's finances; choose a neutral name")
            area, _, field = column.rpartition(".")
            known = {"contact": CONTACT_COLUMNS, "offer": OFFER_COLUMNS, "": (field,)}.get(area, ())
            if field not in known:
                raise ValueError(f"payload.{trait}: {column!r} is neither a SQL column nor contact.* or offer.*")
            if area == "offer" and self.offer is None:
                raise ValueError(f"payload.{trait}: {column!r} needs an offer")
        if "contact.address" not in self.payload.values():
            raise ValueError("payload must carry contact.address: without it nobody can be written to")
        return self

    def columns(self) -> list[str]:
        """The SQL columns that payload and offer name, without person_key."""
        named = [column for column in self.payload.values() if "." not in column]
        if self.offer:
            named += [self.offer.of, self.offer.currency]
        return [column for column in dict.fromkeys(named) if column != "person_key"]


def load_audiences(folder: Path, door: Door | None = None) -> list[Audience]:
    """Read every `*.yaml` of a folder, in the order of names; none when the folder is missing.

    `door` holds each against the columns that it uses; without one only the files are read, as an editor does. Raises ConfigurationError that names each file and field at fault.
    """
    faults: list[str] = []
    audiences: list[Audience] = []
    for path in sorted(folder.glob("*.y*ml")) if folder.is_dir() else []:
        try:
            audiences.append(load_audience(path, door))
        except ConfigurationError as error:
            faults.append(str(error))
    seen: dict[str, str] = {}
    for audience in audiences:
        list_name = audience.destinations.blueshift.list if audience.destinations.blueshift else None
        for key in (f"audience {audience.audience}", f"list {list_name}" if list_name else ""):
            if key and key in seen:
                faults.append(f"{folder}: {key} is declared twice, by {seen[key]} and {audience.audience}")
            seen[key] = audience.audience
    if faults:
        raise ConfigurationError("\n".join(faults))
    return audiences


def load_audience(path: Path, door: Door | None = None) -> Audience:
    """Read one file, and hold it against the door. Raises ConfigurationError that names the file and each field at fault."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: an audience is a mapping of fields")
    try:
        audience = Audience.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {'; '.join(_fault(fault) for fault in error.errors())}") from None
    try:
        query = guard_sql(audience.sql, f"{path}: sql", parameters=PARAMETERS)
    except ZoneError as error:
        raise (with_way(error, audience.sql, f"audiences.{audience.name}", door.graph) if door else error) from None
    if repeated := sorted({column for column in query.columns if query.columns.count(column) > 1}):
        raise ConfigurationError(f"{path}: sql: column named twice: {', '.join(repeated)}")
    if missing := [column for column in ["person_key", *audience.columns()] if column not in query.columns]:
        raise ConfigurationError(f"{path}: sql: gives no column {', '.join(missing)}")
    audience._query = query
    if door and (faults := judge_audience(audience, door, str(path))):
        raise ConfigurationError("\n".join(faults))
    return audience


def json_schema() -> str:
    """The JSON Schema of an audience file, as committed for editors."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Audience.model_json_schema()}
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def _fault(fault: Any) -> str:
    field = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing":
        message = "this field is missing"
    elif fault["type"] == "extra_forbidden":
        message = "no such field"
    return f"{field}: {message}" if field else message
