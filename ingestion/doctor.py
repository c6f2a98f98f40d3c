"""Checks of the sources: does each answer, may we read what we need, and no more than that.

Nothing is loaded; each request asks for one row at the most. A finding names tables, scopes and
variables, never a value.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from ingestion.costs import CostReader
from ingestion.ledger import REQUIRED
from ingestion.pipeline import has_leftovers
from ingestion.state import SourceMemory
from ingestion.survey import SurveyReader
from ingestion.tables import LEDGER
from lendloop.clock import Clock
from lendloop.doctor import Answer, Finding, probe, skew_of
from lendloop.errors import ConfigurationError, LendloopError
from lendloop.settings import SOURCES, Settings

CONNECT_TIMEOUT_S = 8
_TIMEOUTS: Mapping[str, dict[str, Any]] = {
    "postgresql": {"connect_timeout": CONNECT_TIMEOUT_S, "options": f"-cstatement_timeout={CONNECT_TIMEOUT_S * 1000}"},
    "mysql": {"connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": CONNECT_TIMEOUT_S},
    "mariadb": {"connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": CONNECT_TIMEOUT_S},
    "sqlite": {"timeout": CONNECT_TIMEOUT_S},
}
_NOW = {"postgresql": "select now()", "mysql": "select utc_timestamp()", "mariadb": "select utc_timestamp()"}
_READ_ONLY = "give lendloop a user that may only read"


def check_ledger(settings: Settings) -> list[Finding]:
    """Connect, read a row of each table, see whether we could write, and compare clocks."""
    if not settings.is_configured("ledger"):
        return [_not_configured("ledger")]
    try:
        url = sa.make_url(settings.secret("ledger_url"))
        if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
            return [
                Finding(
                    check="ledger",
                    state="failure",
                    found=f"{url.database} does not exist",
                    advice="LENDLOOP_LEDGER_URL",
                )
            ]
        engine = sa.create_engine(url, connect_args=_TIMEOUTS.get(url.get_backend_name(), {}), poolclass=sa.NullPool)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        found = f"LENDLOOP_LEDGER_URL is no SQLAlchemy URL that works here ({type(error).__name__})"
        return [
            Finding(check="ledger", state="failure", found=found, advice="postgresql://user:password@host:5432/name")
        ]
    began = time.monotonic()
    try:
        with engine.connect() as connection:
            latency_ms = (time.monotonic() - began) * 1000
            findings = _tables(connection, settings.ledger_schema)
            findings += _writable(connection, url, settings.ledger_schema)
            findings += skew_of("the ledger's database", _skew_s(connection))
    except DBAPIError as error:
        reason = next(iter(str(error.orig).strip().splitlines()), type(error.orig).__name__)
        return [
            Finding(
                check="ledger",
                state="failure",
                found=f"does not answer: {reason}",
                advice="LENDLOOP_LEDGER_URL, network, server",
            )
        ]
    finally:
        engine.dispose()
    where = f"{url.get_backend_name()} at {url.host or url.database}"
    return [Finding(check="ledger", state="ok", found=f"{where} answers in {latency_ms:.0f} ms"), *findings]


def _tables(connection: sa.Connection, schema: str | None) -> list[Finding]:
    inspector = sa.inspect(connection)
    present = {*inspector.get_table_names(schema), *inspector.get_view_names(schema)}
    refused, findings = [], []
    for table in LEDGER:
        if table.name not in present:
            continue
        one = sa.select(sa.literal(1)).select_from(sa.table(table.name, schema=schema)).limit(1)
        try:
            with connection.begin_nested():
                connection.execute(one).first()
        except DBAPIError:
            refused.append(table.name)
    missing = [name for name in REQUIRED if name not in present]
    absent = [table.name for table in LEDGER if table.name not in present and table.name not in REQUIRED]
    if refused:
        advice = "grant SELECT on them to lendloop's user"
        findings.append(
            Finding(check="ledger", state="failure", found=f"may not read {', '.join(refused)}", advice=advice)
        )
    if missing:
        advice = "LENDLOOP_LEDGER_URL, LENDLOOP_LEDGER_SCHEMA, or a missing right to see them"
        findings.append(Finding(check="ledger", state="failure", found=f"has no {', '.join(missing)}", advice=advice))
    if absent:
        findings.append(
            Finding(
                check="ledger",
                state="warning",
                found=f"has no {', '.join(absent)}",
                advice="what rests on them stays empty",
            )
        )
    return findings


def _writable(connection: sa.Connection, url: sa.URL, schema: str | None) -> list[Finding]:
    """Whether our user could change the ledger, as far as the database says without trying."""
    name = f"{schema}.{REQUIRED[1]}" if schema else REQUIRED[1]
    kind, could = url.get_backend_name(), False
    if kind == "postgresql":
        asked = sa.text("select has_table_privilege(current_user, to_regclass(:name), 'INSERT, UPDATE, DELETE')")
        could = bool(connection.execute(asked, {"name": name}).scalar())
    elif kind in ("mysql", "mariadb"):
        grants = " ".join(str(row[0]).upper() for row in connection.exec_driver_sql("SHOW GRANTS"))
        could = any(f"{right}" in grants for right in ("ALL PRIVILEGES", "INSERT", "UPDATE,", "UPDATE ON", "DELETE"))
    elif kind == "sqlite" and url.database:
        return []
    if could:
        return [
            Finding(
                check="ledger", state="warning", found="lendloop's user could write to the ledger", advice=_READ_ONLY
            )
        ]
    return [Finding(check="ledger", state="ok", found="read only, as it should be")]


def _skew_s(connection: sa.Connection) -> float | None:
    statement = _NOW.get(connection.dialect.name)
    if statement is None:
        return None
    told = connection.exec_driver_sql(statement).scalar()
    if not isinstance(told, datetime):
        return None
    told = told.replace(tzinfo=UTC) if told.tzinfo is None else told
    return (datetime.now(UTC) - told).total_seconds()


def check_crm(settings: Settings) -> list[Finding]:
    """One contact, one deal and the properties of both, as the loader asks for them."""
    if not settings.is_configured("crm"):
        return [_not_configured("crm")]
    settings.require("crm_token")
    base, headers = str(settings.crm_url).rstrip("/"), {"Authorization": f"Bearer {settings.secret('crm_token')}"}
    paths = [
        f"crm/v3/{kind}"
        for kind in ("objects/contacts?limit=1", "objects/deals?limit=1", "properties/contacts", "properties/deals")
    ]
    return _ask("crm", "HubSpot", "LENDLOOP_CRM_TOKEN", [(f"{base}/{path}", headers, None) for path in paths])


def check_support(settings: Settings, clock: Clock) -> list[Finding]:
    """The first page of the exports that the loader reads, from the latest moment they allow."""
    if not settings.is_configured("support"):
        return [_not_configured("support")]
    settings.require("support_user", "support_token")
    base, start = str(settings.support_url).rstrip("/"), int(clock.as_of.timestamp()) - 600
    auth = (f"{str(settings.support_user).removesuffix('/token')}/token", settings.secret("support_token"))
    paths = [f"incremental/{kind}/cursor.json?start_time={start}&per_page=1" for kind in ("tickets", "users")]
    calls: list[_Call] = [(f"{base}/api/v2/{path}", None, auth) for path in paths]
    return _ask("support", "Zendesk", "LENDLOOP_SUPPORT_USER, LENDLOOP_SUPPORT_TOKEN", calls)


def check_costs(settings: Settings) -> list[Finding]:
    """Whether the file of costs is there and has its columns."""
    if not settings.is_configured("costs"):
        return [_not_configured("costs")]
    try:
        with CostReader.open(settings) as reader:
            found = f"{len(reader.lines)} lines of costs"
    except ConfigurationError as error:
        return [Finding(check="costs", state="failure", found=str(error), advice="ingestion/README.md has the columns")]
    return [Finding(check="costs", state="ok", found=found)]


def check_survey(settings: Settings) -> list[Finding]:
    """Whether the folder of survey exports is there, and each file opens and has the columns that it needs."""
    if not settings.is_configured("survey"):
        return [_not_configured("survey")]
    advice = "ingestion/README.md has the columns"
    try:
        with SurveyReader.open(settings) as reader:
            readable = reader.look()
    except LendloopError as error:
        return [Finding(check="survey", state="failure", found=str(error), advice=advice)]
    if reader.faults:
        return [Finding(check="survey", state="failure", found=fault, advice=advice) for fault in reader.faults]
    return [Finding(check="survey", state="ok", found=f"{readable} files of people")]


_Call = tuple[str, dict[str, str] | None, tuple[str, str] | None]


def _ask(check: str, vendor: str, variables: str, calls: list[_Call]) -> list[Finding]:
    findings, answer = [], None
    for url, headers, auth in calls:
        answer = probe("GET", url, headers=headers, auth=auth)
        what = url.split("?")[0].split("/api/v2/")[-1].split("/crm/v3/")[-1]
        if answer.status == 401:
            return [Finding(check=check, state="failure", found=f"{vendor} refuses the credentials", advice=variables)]
        if answer.status == 403:
            advice = "grant it to the app of lendloop's token"
            findings.append(
                Finding(
                    check=check, state="failure", found=f"{vendor}: may not read {what}{_scopes(answer)}", advice=advice
                )
            )
        elif answer.status >= 400 and answer.status != 429:
            findings.append(
                Finding(
                    check=check,
                    state="failure",
                    found=f"{vendor} answered {answer.status} to {what}",
                    advice=f"LENDLOOP_{check.upper()}_URL",
                )
            )
    if answer is None or findings:
        return findings
    found = f"{vendor} answers in {answer.latency_s * 1000:.0f} ms and lets us read"
    return [Finding(check=check, state="ok", found=found), *skew_of(vendor, answer.skew_s)]


def _scopes(answer: Answer) -> str:
    """The scopes that a refusal names, HubSpot's way."""
    errors = answer.body.get("errors") if isinstance(answer.body, dict) else None
    named = [
        str(scope)
        for error in errors or []
        for name, scopes in (error.get("context") or {}).items()
        if name in ("requiredGranularScopes", "requiredScopes")
        for scope in scopes
    ]
    return f": lacks the scope {', '.join(dict.fromkeys(named))}" if named else ""


def check_dlt_state(settings: Settings) -> list[Finding]:
    """What the loads keep on disk: what each source remembers, and what a killed load left."""
    findings = []
    for source in SOURCES:
        SourceMemory.read(settings.home, source)
        if has_leftovers(settings.home, source):
            found = f"a load of {source} was cut off, or goes on now"
            findings.append(
                Finding(check="load state", state="warning", found=found, advice="the next pass finishes it")
            )
    path = settings.home.dbt / "last_build.json"
    if path.exists() and not isinstance(json.loads(path.read_bytes()), list):
        findings.append(
            Finding(check="load state", state="failure", found=f"{path.name} is damaged", advice="delete it")
        )
    spool = settings.home.dlt / "spool"
    if spool.exists() and not os.access(spool, os.W_OK):
        findings.append(
            Finding(check="load state", state="failure", found=f"may not write {spool}", advice="mend its owner")
        )
    return findings or [Finding(check="load state", state="ok", found="nothing was left behind")]


def _not_configured(name: str) -> Finding:
    return Finding(check=name, state="ok", found="not configured")
