"""Parameters of a rule: numbers within bounds, numbers by key, and the dataset and columns it is pointed at."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")
PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


class _Parameter(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str | None = Field(default=None, description="What it means, for whoever changes it.")


class NumberParameter(_Parameter):
    """One number, `$name` in the SQL."""

    value: Decimal = Field(description="The value in force.")
    min: Decimal = Field(description="People may not set it lower.")
    max: Decimal = Field(description="People may not set it higher.")

    @model_validator(mode="after")
    def _within_bounds(self) -> NumberParameter:
        if not self.min <= self.value <= self.max:
            raise ValueError(f"value {self.value} is outside its bounds {self.min} to {self.max}")
        return self


class NumbersParameter(_Parameter):
    """A number for each key (a currency, a market), `$name` in the SQL as JSON text."""

    values: dict[str, Decimal] = Field(description="The values in force, by key.")
    min: Decimal = Field(description="People may not set one lower.")
    max: Decimal = Field(description="People may not set one higher.")

    @model_validator(mode="after")
    def _within_bounds(self) -> NumbersParameter:
        for key, value in self.values.items():
            if not self.min <= value <= self.max:
                raise ValueError(f"{key}: {value} is outside its bounds {self.min} to {self.max}")
        return self


class DatasetParameter(_Parameter):
    """A table of trusted or kpi, `{name}` in the SQL."""

    dataset: str = Field(description="schema.table, in trusted or kpi.", pattern=r"^(trusted|kpi)\.[a-z_][a-z0-9_]*$")


class ColumnParameter(_Parameter):
    """A column, `{name}` in the SQL. Null with `key_of`: the key of that dataset, `<table without fct_>_id`."""

    column: str | None = Field(description="The column's name, or null with key_of.", pattern=r"^[a-z_][a-z0-9_]*$")
    key_of: str | None = Field(default=None, description="A dataset parameter whose key to take when column is null.")


_KINDS = ("value", "values", "dataset", "column")


def _kind(raw: Any) -> str | None:
    keys = raw if isinstance(raw, dict) else raw.__class__.model_fields if isinstance(raw, BaseModel) else ()
    return next((kind for kind in _KINDS if kind in keys), None)


Parameter = Annotated[
    Annotated[NumberParameter, Tag("value")]
    | Annotated[NumbersParameter, Tag("values")]
    | Annotated[DatasetParameter, Tag("dataset")]
    | Annotated[ColumnParameter, Tag("column")],
    Discriminator(
        _kind,
        custom_error_type="parameter_kind",
        custom_error_message="a parameter has one of: value (with min, max), values (with min, max), dataset, column",
    ),
]


def identifiers(parameters: dict[str, Parameter]) -> dict[str, str]:
    """What each `{name}` of the SQL stands for. Raises ValueError for a column that nothing determines."""
    found: dict[str, str] = {}
    for name, parameter in parameters.items():
        if isinstance(parameter, DatasetParameter):
            found[name] = parameter.dataset
    for name, parameter in parameters.items():
        if not isinstance(parameter, ColumnParameter):
            continue
        if parameter.column is not None:
            found[name] = parameter.column
        elif parameter.key_of in found:
            table = found[parameter.key_of].split(".")[1]
            found[name] = re.sub(r"^(fct|dim|agg)_", "", table) + "_id"
        else:
            raise ValueError(f"parameters.{name}: give column, or key_of with the name of a dataset parameter")
    return found
