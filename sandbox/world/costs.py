"""The costs that the pretend lender's finance keeps, as a CSV file: plausible, and from its loan book alone.

Every market has each kind of cost in each month that is over. Some of the acquisition cost names the product that was
advertised; the rest is borne by all.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sandbox.world.markets import BASE_AMOUNT, CURRENCIES, MARKETS, MINOR_UNIT

COSTS = "costs.csv"
HEADER = ("month", "market", "currency", "product", "kind", "amount")
OF_NEW_BORROWER = {"acquisition": Decimal("0.05"), "onboarding": Decimal("0.02")}
"""What a new borrower costs, as a share of the market's usual first amount."""
OF_LENT = {"funding": Decimal("0.012"), "servicing": Decimal("0.008"), "collections": Decimal("0.010")}
"""What money lent costs, as a share of what the month lent."""
ADVERTISED = "M3"
ADVERTISED_SHARE = Decimal("0.2")
Line = tuple[str, str, str, str, str, str]


def write_costs(path: Path, loans: pa.Table, today: date) -> None:
    """Write what all months before `today`'s cost a lender of these loans (`m_loan`); the file is replaced atomically."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with draft.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(_cost_lines(loans, today))
    draft.replace(path)


def _cost_lines(loans: pa.Table, today: date) -> Iterator[Line]:
    """In the order of months and markets."""
    lent, new = _by_month(loans)
    for month in sorted({month for month, _ in lent if month < today.replace(day=1)}):
        for place, (market, currency) in enumerate(zip(MARKETS, CURRENCIES, strict=True)):
            unit = Decimal(int(MINOR_UNIT[place])) / 1_000_000
            borrowers = new.get((month, currency), 0) * int(BASE_AMOUNT[place])
            amounts = {kind: borrowers * share for kind, share in OF_NEW_BORROWER.items()}
            amounts |= {kind: lent.get((month, currency), Decimal(0)) * share for kind, share in OF_LENT.items()}
            for kind, amount in amounts.items():
                named = amount * ADVERTISED_SHARE if kind == "acquisition" else Decimal(0)
                for product, part in ((f"{ADVERTISED}{market}"[:4], named), ("", amount - named)):
                    if part or not product:
                        yield f"{month:%Y-%m}", market, currency, product, kind, str(part.quantize(unit))


def _by_month(loans: pa.Table) -> tuple[dict[tuple[date, str], Decimal], dict[tuple[date, str], int]]:
    """What was lent, and how many borrowed for the first time, by month and currency."""
    lent = loans.select(["client_id", "currency_code", "disbursedon_date", "principal_disbursed_derived"]).filter(
        pc.field("disbursedon_date").is_valid()
    )
    firsts = lent.group_by(["client_id", "currency_code"]).aggregate([("disbursedon_date", "min")])
    amounts = _monthly(lent, "disbursedon_date").aggregate([("principal_disbursed_derived", "sum")]).to_pylist()
    counts = _monthly(firsts, "disbursedon_date_min").aggregate([([], "count_all")]).to_pylist()
    return (
        {(row["month"], row["currency_code"]): row["principal_disbursed_derived_sum"] for row in amounts},
        {(row["month"], row["currency_code"]): row["count_all"] for row in counts},
    )


def _monthly(rows: pa.Table, day: str) -> pa.TableGroupBy:
    months = pc.floor_temporal(rows[day], unit="month").cast(pa.date32())
    return rows.append_column("month", months).group_by(["month", "currency_code"])
