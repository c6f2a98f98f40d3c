"""`lendloop kpi`: the catalogue of KPIs as it stands, and the rows behind a value. Reads only what is published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from lendloop.clock import parse_day

if TYPE_CHECKING:
    import duckdb

    from lendloop.settings import Settings

app = typer.Typer(invoke_without_command=True, help="KPIs: what each is now, and the rows behind a value.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Market = Annotated[str | None, typer.Option(help="Only this market, by its code.")]


class By(StrEnum):
    MARKET = "market"
    PRODUCT = "product"


@app.callback()
def catalogue(context: typer.Context, market: Market = None, as_json: Json = False) -> None:
    """Every KPI by market and currency: its value now, its trend, how fresh it is, and why it is blank where it is."""
    if context.invoked_subcommand:
        return
    from governance.kpi_values import check_market, standing
    from governance.kpis import read_kpis
    from lendloop.project import load_manifest
    from lendloop.publish import read_catalog
    from lendloop.settings import load_settings
    from lendloop.source_status import read_status
    from lendloop.standing import read_standing
    from orchestration.screen_kpi import show_catalogue

    check_market(market)
    settings = load_settings()
    kpis, catalog, sources = (
        read_kpis(load_manifest(settings.home)),
        read_catalog(settings.home),
        read_status(settings.home),
    )
    clock, demotions = settings.clock(), read_standing(settings.home)
    with _published(settings) as connection:
        rows = [
            row
            for kpi in kpis
            for row in standing(connection, kpi, catalog, sources, clock, market, demotions=demotions)
        ]
    show_catalogue(rows, catalog.version, as_json=as_json)


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="A KPI's name, as `lendloop kpi` lists it.")],
    on: Annotated[
        date | None,
        typer.Option(parser=parse_day, metavar="DAY", help="A day, or any day of a month; default: the newest value."),
    ] = None,
    by: Annotated[By, typer.Option(help="What to keep apart, beside currencies.")] = By.MARKET,
    market: Market = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows to show of each value.")] = 20,
    as_json: Json = False,
) -> None:
    """The rows behind a value: those that weigh most, and what the others add up to. They show keys, no person's data."""
    from governance.kpi_rows import explain as explain_kpi
    from governance.kpi_values import check_market
    from governance.kpis import find_kpi, read_kpis
    from lendloop.errors import ConfigurationError
    from lendloop.project import load_manifest
    from lendloop.settings import load_settings
    from lendloop.standing import read_standing
    from orchestration.screen_kpi import show_explained

    check_market(market)
    settings = load_settings()
    kpi = find_kpi(read_kpis(load_manifest(settings.home)), name)
    with _published(settings) as connection:
        if connection is None:
            raise ConfigurationError("nothing is published yet: lendloop run")
        found = explain_kpi(connection, kpi, on=on, by=by.value, market=market, limit=limit)
    show_explained(kpi, found, read_standing(settings.home).of(kpi.table), as_json=as_json)
    raise typer.Exit(0 if all(one.adds_up for one in found) else 1)


@contextmanager
def _published(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """What is published, open for reading; None before the first publication."""
    import duckdb

    from lendloop.zones import follow_home

    follow_home(settings)
    if not settings.home.published.exists():
        yield None
        return
    with duckdb.connect(str(settings.home.published), read_only=True) as connection:
        yield connection
