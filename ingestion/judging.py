"""What becomes of a row with bad values: SQL that types a batch and says what is wrong with it.

What belongs here: which rows stay out, and what stands where a value could not be read. What does
not: when a value is bad (contract), and running the SQL (scratch).

A row without its key stays out, and so does every row with a fault in the ledger, or when it is
replayed. Any other is loaded with NULL for the bad value, since an exclusion beside a bad birth date must
still count; an exclusion that can't be read itself counts as said (`RawTable.fails_closed`), a consent as taken back.
"""

from __future__ import annotations

import pyarrow as pa

from ingestion.contract import cast, literal, quoted, text_list
from ingestion.quarantine import identity
from ingestion.tables import ColumnType, RawTable

ENTRY = "_entry"
"""The column of a batch that holds the id in quarantine of rows that come from there."""


def typing(table: RawTable, columns: dict[str, ColumnType], schema: pa.Schema, *, strict: bool) -> str:
    """The relation `batch` typed, row by row in its order; `strict`: every fault keeps its row out.

    Beside its columns: `_bad` and `_out` (BOOLEAN: has a fault; stays out), and for bad rows `_key`, `_reason`, `_fault`
    (the columns), `_raw` (the row as JSON) and `_entry` (the row's id in quarantine).
    """
    positions = {name: position for position, name in enumerate(name for name in schema.names if name != ENTRY)}
    casts, faults, reasons = [], {}, {}
    for name, position in positions.items():
        expression, can_fail = cast(quoted(name), schema.field(name).type, columns[name])
        if name in table.text_lists:
            expression, can_fail = text_list(f"CAST({quoted(name)} AS VARCHAR)"), True
        casts.append(f"{quoted(name)} AS s{position}, {expression} AS t{position}")
        if can_fail and name not in table.key:
            faults[name] = f"(s{position} IS NOT NULL AND t{position} IS NULL)"
            reasons[name] = _wrong(name, "list of texts" if name in table.text_lists else columns[name])
    for key in table.key:
        faults[key], reasons[key] = _without_key(table, key, positions.get(key))
    bad = " OR ".join(faults.values())
    out = bad if strict or not table.keeps_rows else " OR ".join(faults[key] for key in table.key)
    values = ", ".join(
        f"{_value(table, name, position, faults)} AS {quoted(name)}" for name, position in positions.items()
    )
    reason = ", ".join(f"CASE WHEN {faults[name]} THEN {reasons[name]} END" for name in faults)
    fault = ", ".join(f"CASE WHEN {faults[name]} THEN {literal(name)} END" for name in faults)
    text = ", ".join(f"{quoted(name)} := CAST(s{position} AS VARCHAR)" for name, position in positions.items())
    key = ", ".join(f"CAST(t{positions[key]} AS VARCHAR)" if key in positions else "NULL" for key in table.key)
    given = ENTRY in schema.names
    entry = ENTRY if given else f"CASE WHEN _bad THEN {identity(table.source, table.name)} END"
    return (
        f"SELECT * REPLACE ({entry} AS {ENTRY}) FROM (SELECT {values}, _bad, _out, {ENTRY}, "
        f"CASE WHEN _bad THEN concat_ws('|', {key}) END AS _key, "
        f"CASE WHEN _bad THEN concat_ws('; ', {reason}) END AS _reason, "
        f"CASE WHEN _bad THEN concat_ws(', ', {fault}) END AS _fault, "
        f"CASE WHEN _bad THEN CAST(to_json(struct_pack({text})) AS VARCHAR) END AS _raw "
        f"FROM (SELECT *, ({bad}) AS _bad, ({out}) AS _out FROM "
        f"(SELECT {', '.join(casts)}, {ENTRY if given else 'CAST(NULL AS VARCHAR)'} AS {ENTRY} FROM batch)))"
    )


def _wrong(column: str, kind: str) -> str:
    return literal(f"wrong type: {column} does not hold a valid {kind}")


def _without_key(table: RawTable, key: str, position: int | None) -> tuple[str, str]:
    """SQL of whether a row has no such key, and of the reason."""
    empty = literal(f"no key: {key} is empty")
    if position is None:
        return "true", empty
    is_text = table.columns[key] == "text"
    absent = f"(coalesce(t{position}, '') = '')" if is_text else f"(t{position} IS NULL)"
    wrong = _wrong(key, table.columns[key])
    return absent, f"CASE WHEN coalesce(CAST(s{position} AS VARCHAR), '') = '' THEN {empty} ELSE {wrong} END"


def _value(table: RawTable, column: str, position: int, faults: dict[str, str]) -> str:
    """SQL of what raw gets: the value, NULL where it is bad, TRUE or FALSE where that would let somebody be contacted."""
    if column in table.consents and column in faults:
        return f"CASE WHEN {faults[column]} THEN false ELSE t{position} END"
    closing = [faults[name] for name, targets in table.fails_closed.items() if column in targets and name in faults]
    return f"(t{position} OR {' OR '.join(closing)})" if closing else f"t{position}"


def needed_beside(table: RawTable, names: list[str]) -> list[str]:
    """Columns that a batch with the columns `names` must have too, so that a fault can close them."""
    targets = [target for name in names for target in table.fails_closed.get(name, ())]
    return [name for name in dict.fromkeys(targets) if name not in names]
