"""KPIs on a terminal, and as JSON for scripts. Shapes are in docs/interfaces.md."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rich.table import Table

from governance.kpi_rows import Explained
from governance.kpi_values import Standing, amount
from governance.kpis import Kpi
from orchestration.screen import console, print_json, small_line

STATES = {"ok": "green", "stale": "yellow", "demoted": "red", "blank": "dim"}


def show_catalogue(rows: Sequence[Standing], version: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"version": version, "kpis": [_standing(row) for row in rows]})
        return
    table = Table(box=None, pad_edge=False, header_style="dim", title_justify="left")
    for name in ("kpi", "market", "value", "of", "trend", "published", "status"):
        table.add_column(name, justify="right" if name == "value" else "left", no_wrap=name != "status")
    before = None
    for row in rows:
        table.add_row(
            row.kpi.name if row.kpi.name != before else "",
            row.market or "",
            amount(row.kpi, row.value, row.currency) or "",
            row.of,
            small_line(row.trend),
            f"{row.published_as_of:%Y-%m-%d %H:%M}" if row.published_as_of else "",
            f"[{STATES[row.status]}]{row.status}[/]" + (f" [dim]{row.reason}[/]" if row.reason else ""),
        )
        before = row.kpi.name
    console.print(table)
    console.print(
        f"\n[dim]published version {version}; the trend is of 30 days, or of 12 months; what a KPI means and whose it is: "
        "--json; the rows behind a value: lendloop kpi explain NAME[/]"
    )


def show_explained(kpi: Kpi, found: Sequence[Explained], standing: str, *, as_json: bool) -> None:
    """`standing`: whether its table is agreed now, in words."""
    if as_json:
        print_json({"kpi": _kpi(kpi), "standing": standing, "values": [_explained(one) for one in found]})
        return
    console.print(f"[bold]{kpi.name}[/] {kpi.label}, version {kpi.version}, owner {kpi.owner}")
    console.print(kpi.meaning)
    if standing != "agreed":
        console.print(f"[red]{kpi.table} is not agreed now[/]: {standing}")
    console.print(f"{kpi.place} = {kpi.numerator}" + (f" / {kpi.denominator}" if kpi.denominator else ""))
    for one in found:
        value = one.value
        place = " ".join(
            filter(None, (value.market, f"product {value.product}" if value.product else "", value.currency))
        )
        parts = f"{_plain(value.numerator)}" + (f" / {_plain(value.denominator)}" if kpi.denominator else "")
        console.print(
            f"\n[bold]{place}[/] {value.period}: {amount(kpi, value.value, value.currency) or 'blank'} = {parts}"
        )
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in one.columns:
            table.add_column(name, justify="right")
        for row in one.rows:
            table.add_row(*(_plain(cell) if isinstance(cell, Decimal) else str(cell) for cell in row))
        if one.others:
            blanks = [""] * (len(one.columns) - 3)
            more = f"… {one.others:,} more"
            table.add_row(more, *blanks, _plain(one.others_numerator), _plain(one.others_denominator))
        console.print(table)
        if not one.adds_up:
            console.print(
                f"[red]these rows ({one.rows_of}) do not add up to the value[/]: of a day that is past, not every row is kept"
            )


def _plain(value: Decimal | None) -> str:
    return "blank" if value is None else f"{value:,.6f}".rstrip("0").rstrip(".")


def _kpi(kpi: Kpi) -> dict[str, Any]:
    return {
        "name": kpi.name,
        "term": kpi.term,
        "label": kpi.label,
        "meaning": kpi.meaning,
        "kind": kpi.kind,
        "owner": kpi.owner,
        "refresh": kpi.refresh,
        "version": kpi.version,
        "unit": kpi.unit,
        "place": kpi.place,
        "numerator": kpi.numerator,
        "denominator": kpi.denominator,
        "group": kpi.group,
    }


def _standing(row: Standing) -> dict[str, Any]:
    return {
        **_kpi(row.kpi),
        "market": row.market,
        "currency": row.currency,
        "period": row.period,
        "value": row.value,
        "trend": row.trend,
        "published_as_of": row.published_as_of,
        "status": row.status,
        "reason": row.reason,
    }


def _explained(one: Explained) -> dict[str, Any]:
    value = one.value
    return {
        "period": value.period,
        "market": value.market,
        "product": value.product,
        "currency": value.currency,
        "value": value.value,
        "numerator": value.numerator,
        "denominator": value.denominator,
        "rows_of": one.rows_of,
        "rows": [dict(zip(one.columns, row, strict=True)) for row in one.rows],
        "others": {"rows": one.others, "numerator": one.others_numerator, "denominator": one.others_denominator},
        "rows_in_all": one.total,
        "adds_up": one.adds_up,
    }
