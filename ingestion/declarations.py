"""Faults in the declaration of raw tables, found offline. Nothing else."""

from __future__ import annotations

from ingestion.contract import RESERVED, SQL_TYPES
from ingestion.crm import PROPERTIES
from ingestion.tables import TABLES, RawTable


def declaration_faults() -> list[str]:
    """One line for each fault: keys and cursors that are no columns, reserved names, unknown types, unmapped columns."""
    faults = []
    for source, tables in TABLES.items():
        names = [table.name for table in tables]
        faults += [
            f"{source}.{name} is declared twice" for name in sorted({one for one in names if names.count(one) > 1})
        ]
        for table in tables:
            faults += _faults_of(table)
    return faults


def _faults_of(table: RawTable) -> list[str]:
    place = f"{table.source}.{table.name}"
    faults = [f"{place}: key {key} is no column" for key in table.key if key not in table.columns]
    if not table.key:
        faults.append(f"{place} has no key")
    if table.cursor is not None and table.columns.get(table.cursor) not in ("timestamp", "bigint"):
        faults.append(f"{place}: cursor {table.cursor} is no timestamp and no bigint column")
    faults += [f"{place}: column {name} is reserved" for name in table.columns if name in RESERVED]
    faults += [
        f"{place}: {name} has unknown type {kind}" for name, kind in table.columns.items() if kind not in SQL_TYPES
    ]
    if table.source == "crm":
        mapped = {"id", "is_archived", *PROPERTIES.get(table.name, {})}
        faults += [f"{place}: {name} has no HubSpot property" for name in table.columns if name not in mapped]
        faults += [f"{place}: property for unknown column {name}" for name in mapped if name not in table.columns]
    return faults
