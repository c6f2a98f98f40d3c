"""The catalogue of KPIs: what each is, where it stands, who answers for it.

A KPI is a dbt metric, or an SQL model of kpi that says in its meta what a metric can't express; both are listed alike. One
declaration with a series (first-payment default after 1, 7 and 30 days) is one KPI for each value. What does not belong
here: how a number is computed (dbt_project), what it is now (`kpi_values`) and the rows behind it (`kpi_rows`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lendloop.errors import ConfigurationError, nearest

ROWS = Path(__file__).with_name("rows")
DIMENSIONS = frozenset({"market", "product_id", "product_name", "currency"})

Refresh = Literal["daily", "monthly"]
Unit = Literal["share", "money", "count"]


class Declared(BaseModel):
    """What a metric or a model says of a KPI in its meta, under `kpi`. `series` are values of the key's own column."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str = ""
    """The table of kpi where it stands; of a model that says it of itself, that model."""
    term: str
    owner: str
    refresh: Refresh
    version: int
    unit: Unit
    rows: list[str] = Field(min_length=1)
    """Files of governance/rows, the finest first: the first whose rows add up to a value explains it."""
    series: list[dict[str, int | str]] = Field(default_factory=list)
    series_name: str = "{}"
    needs: Literal["costs"] | None = None
    """The source without which the KPI is blank."""
    label: str = ""
    column: str = ""
    numerator: str = ""
    denominator: str = ""


@dataclass(frozen=True)
class Kpi:
    """One KPI. `numerator` and `denominator` are SQL over the columns of `table`; a sum has no denominator."""

    name: str
    term: str
    label: str
    meaning: str
    kind: Literal["metric", "sql"]
    owner: str
    refresh: Refresh
    version: int
    unit: Unit
    table: str
    column: str
    numerator: str
    denominator: str | None
    period: str
    """The column of the day, or of the month's first day, that a value is of."""
    product: str | None
    has_currency: bool
    where: Mapping[str, int | str]
    group: str
    freshness: timedelta
    rows: tuple[str, ...]
    needs: Literal["costs"] | None

    @property
    def place(self) -> str:
        """Where it stands: `kpi.table.column`, and the row of its series."""
        series = ", ".join(f"{name} = {value}" for name, value in self.where.items())
        return f"{self.table}.{self.column}" + (f" ({series})" if series else "")


def read_kpis(manifest: Mapping[str, Any]) -> list[Kpi]:
    """Every KPI that the dbt project declares, in the order of tables and their columns.

    `manifest` is dbt's manifest.json as a dict. Raises ConfigurationError that names what is declared wrong.
    """
    models = {
        node["alias"]: node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["schema"] == "kpi"
    }
    kpis: list[Kpi] = []
    for metric in manifest["metrics"].values():
        if "kpi" in metric["config"].get("meta", {}):
            kpis += _of_metric(metric, models)
    for model in models.values():
        for declared in model["config"].get("meta", {}).get("kpis", []):
            kpis += _of_model(declared, model, models)
    names = [kpi.name for kpi in kpis]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"KPIs with one name: {', '.join(twice)}")
    places = {f"kpi.{name}": {column: place for place, column in enumerate(models[name]["columns"])} for name in models}
    return sorted(kpis, key=lambda kpi: (kpi.table, places[kpi.table][kpi.column]))


def _of_metric(metric: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[Kpi]:
    parts, name = metric["type_params"], metric["name"]
    declared = _declared(metric["config"]["meta"]["kpi"], f"metric {name}")
    denominator = parts["denominator"]["name"] if metric["type"] == "ratio" else None
    numerator = parts["numerator"]["name"] if metric["type"] == "ratio" else name
    label = metric["label"] or name
    yield from _expand(declared, "metric", name, label, numerator, denominator, metric["description"], models)


def _of_model(found: object, model: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[Kpi]:
    declared = _declared({**found, "table": model["alias"]} if isinstance(found, dict) else found, model["alias"])
    meaning = model["columns"].get(declared.column, {}).get("description", "")
    denominator = declared.denominator or None
    yield from _expand(
        declared, "sql", declared.column, declared.label, declared.numerator, denominator, meaning, models
    )


def _declared(found: object, what: str) -> Declared:
    try:
        return Declared.model_validate(found)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigurationError(f"{what}: its meta `kpi` is wrong: {faults}") from None


def _expand(
    declared: Declared,
    kind: Literal["metric", "sql"],
    column: str,
    label: str,
    numerator: str,
    denominator: str | None,
    meaning: str,
    models: Mapping[str, Any],
) -> Iterator[Kpi]:
    model = models.get(declared.table)
    if model is None or column not in model["columns"]:
        raise ConfigurationError(f"KPI {column} stands in no column of {declared.table}")
    if missing := [name for name in declared.rows if not (ROWS / f"{name}.sql").exists()]:
        raise ConfigurationError(f"KPI {column}: no governance/rows/{missing[0]}.sql")
    key = list(model["config"]["meta"]["key"])
    own = [name for name in key[1:] if name not in DIMENSIONS]
    for where in declared.series or [{}]:
        if sorted(where) != sorted(own):
            raise ConfigurationError(f"KPI {column}: its series must name {', '.join(own) or 'nothing'}")
        values = [str(value).replace("-", "_").replace("+", "_plus") for value in where.values()]
        shown = [str(value) for value in where.values()]
        yield Kpi(
            name=declared.series_name.format(*values) if where else column,
            term=declared.term,
            label=label.format(*shown),
            meaning=" ".join(meaning.split("\n\n")[0].split()),
            kind=kind,
            owner=declared.owner,
            refresh=declared.refresh,
            version=declared.version,
            unit=declared.unit,
            table=f"kpi.{declared.table}",
            column=column,
            numerator=numerator,
            denominator=denominator,
            period=key[0],
            product=next((name for name in key if name.startswith("product")), None),
            has_currency="currency" in key,
            where=where,
            group=str(model["group"]),
            freshness=timedelta(hours=_fail_hours(model["config"]["meta"])),
            rows=tuple(declared.rows),
            needs=declared.needs,
        )


def _fail_hours(meta: Mapping[str, Any]) -> float:
    return float(meta["freshness"]["fail_hours"])


def find_kpi(kpis: Sequence[Kpi], name: str) -> Kpi:
    """The KPI of a name. Raises ConfigurationError that names the nearest."""
    for kpi in kpis:
        if kpi.name == name:
            return kpi
    like = nearest(name, (kpi.name for kpi in kpis))
    raise ConfigurationError(f"unknown KPI {name!r}{like}; `lendloop kpi` lists all {len(kpis)}")
