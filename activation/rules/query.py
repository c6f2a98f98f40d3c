"""Running a rule's SQL on what is published: read-only, no file in reach but the published ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import duckdb

from activation.rules.model import SEVERITIES, Rule, Severity
from activation.rules.parameters import ColumnParameter, DatasetParameter, NumberParameter, NumbersParameter
from activation.rules.text import plain
from lendloop.clock import Clock
from lendloop.errors import PermanentError
from lendloop.home import Home

MAX_FINDINGS = 50_000
DEVIANCE_PLACES = Decimal("0.0001")


@dataclass(frozen=True)
class Finding:
    """One row of a rule: `entity` is the canonical text of its key. `details` is what JSON can keep."""

    entity: str
    entity_key: dict[str, Any]
    severity: Severity
    value: Decimal | None
    threshold: Decimal | None
    deviance: Decimal | None
    details: dict[str, Any]
    occurred_at: datetime | None


def run_query(rule: Rule, home: Home, clock: Clock) -> list[Finding]:
    """The rule's findings, worst first.

    Raises PermanentError when the SQL fails, names a dataset or column that is not published, gives
    two rows for one entity or more than `MAX_FINDINGS`.
    """
    try:
        connection = _open(home.published, home.published_files)
        try:
            _check_catalogue(rule, connection)
            statement = duckdb.extract_statements(
                f"select *, ({rule.deviance}) as deviance from ({rule.guarded.sql}\n) limit {MAX_FINDINGS + 1}"
            )[0]
            values = {name: value for name, value in _values(rule, clock).items() if name in statement.named_parameters}
            cursor = connection.execute(statement, values)
            names = [column[0] for column in cursor.description or []]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            connection.close()
    except duckdb.Error as error:
        raise PermanentError(f"rule {rule.rule}: its SQL failed: {str(error).splitlines()[0]}") from error
    if len(rows) > MAX_FINDINGS:
        raise PermanentError(f"rule {rule.rule}: more than {MAX_FINDINGS:,} findings; set a higher threshold")
    findings = [_finding(rule, row) for row in rows]
    seen: set[str] = set()
    for finding in findings:
        if finding.entity in seen:
            raise PermanentError(f"rule {rule.rule}: two rows for one entity: {finding.entity}")
        seen.add(finding.entity)
    return sorted(findings, key=lambda f: (-(f.deviance or Decimal(0)), f.entity))


def _open(path: Path, files: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(path), read_only=True)
    connection.execute("set timezone = 'UTC'")
    connection.execute(f"set allowed_directories = ['{str(files).replace(chr(39), chr(39) * 2)}']")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")
    return connection


def _check_catalogue(rule: Rule, connection: duckdb.DuckDBPyConnection) -> None:
    known: dict[str, set[str]] = {}
    for dataset, column in connection.execute(
        "select table_schema || '.' || table_name, column_name from information_schema.columns"
    ).fetchall():
        known.setdefault(dataset, set()).add(column)
    missing = [dataset for dataset in rule.tables if dataset not in known]
    if missing:
        raise PermanentError(f"rule {rule.rule}: {missing[0]} is not published; published: {', '.join(sorted(known))}")
    pointed_at = {p.dataset for p in rule.parameters.values() if isinstance(p, DatasetParameter)}
    for name, parameter in rule.parameters.items():
        if isinstance(parameter, ColumnParameter) and pointed_at:
            column = rule.identifiers[name]
            if not any(column in known[dataset] for dataset in pointed_at):
                raise PermanentError(
                    f"rule {rule.rule}: parameters.{name}: {', '.join(sorted(pointed_at))} has no column {column}"
                )


def _values(rule: Rule, clock: Clock) -> dict[str, Any]:
    values: dict[str, Any] = {"as_of": clock.as_of}
    for name, parameter in rule.parameters.items():
        if isinstance(parameter, NumberParameter):
            values[name] = parameter.value
        elif isinstance(parameter, NumbersParameter):
            values[name] = json.dumps({key: str(value) for key, value in parameter.values.items()})
    return values


def _finding(rule: Rule, row: dict[str, Any]) -> Finding:
    key = {name: plain(row[name]) for name in rule.entity}
    if any(part is None for part in key.values()):
        raise PermanentError(f"rule {rule.rule}: a row has no {next(n for n, part in key.items() if part is None)}")
    deviance = _decimal(row["deviance"])
    if deviance is not None:
        deviance = deviance.quantize(DEVIANCE_PLACES)
    severity = rule.severity
    if rule.escalate and deviance is not None and deviance >= rule.escalate.deviance:
        severity = max(severity, rule.escalate.severity, key=SEVERITIES.index)
    apart = {*rule.entity, "value", "threshold", "deviance"}
    return Finding(
        entity=json.dumps(key, ensure_ascii=False, sort_keys=True, separators=(",", ":")),
        entity_key=key,
        severity=severity,
        value=_decimal(row["value"]),
        threshold=_decimal(row["threshold"]),
        deviance=deviance,
        details={name: plain(value) for name, value in row.items() if name not in apart},
        occurred_at=_instant(row.get("occurred_on")),
    )


def _decimal(value: Any) -> Decimal | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise PermanentError(f"{value!r} is no number") from None
    return number if number.is_finite() else None


def _instant(value: Any) -> datetime | None:
    """A date counts as its end, so that nothing of today is history."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return datetime.combine(value, time(23, 59, 59), UTC) if isinstance(value, date) else None
