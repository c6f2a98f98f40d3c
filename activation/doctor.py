"""Checks of where things go: marketing, Slack, mail, operational state, delivery ledgers.

Nothing is sent and nothing is written: a list is read, a channel looked up, a mail server greeted.
"""

from __future__ import annotations

import os
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import duckdb
import sqlalchemy as sa
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from activation.alerts.email import Email
from activation.audiences import ledger, store
from activation.destinations.registry import is_configured
from activation.ops import tables as t
from activation.ops.migrate import current_version, known_versions, newest_version
from lendloop.doctor import Finding, probe, skew_of
from lendloop.formats import refuse_newer, version_of
from lendloop.locks import free_or_holder
from lendloop.settings import Settings

CONNECT_TIMEOUT_S = 8
SLACK_SCOPES = {
    "chat:write": "send",
    "channels:read": "find a channel by its name",
    "channels:history": "look a message up",
}


def check_blueshift(settings: Settings) -> list[Finding]:
    """Read the account's lists, as a sync does first."""
    if not is_configured("blueshift", settings):
        return [Finding(check="blueshift", state="ok", found="not configured")]
    settings.require("blueshift_url", "blueshift_key")
    url = f"{str(settings.blueshift_url).rstrip('/')}/api/v1/custom_user_lists"
    answer = probe("GET", url, auth=(settings.secret("blueshift_key"), ""))
    if answer.status in (401, 403):
        found = f"Blueshift refuses the key ({answer.status})"
        return [
            Finding(check="blueshift", state="failure", found=found, advice="LENDLOOP_BLUESHIFT_KEY: the user API key")
        ]
    if answer.status >= 400 and answer.status not in (404, 429):
        found = f"Blueshift answered {answer.status}"
        return [Finding(check="blueshift", state="failure", found=found, advice="LENDLOOP_BLUESHIFT_URL")]
    found = f"Blueshift answers in {answer.latency_s * 1000:.0f} ms and shows its lists"
    return [Finding(check="blueshift", state="ok", found=found), *skew_of("Blueshift", answer.skew_s)]


def check_slack(settings: Settings) -> list[Finding]:
    """Sign in, see the token's scopes where Slack tells them, and whether the bot is in the channel."""
    if not settings.slack_url:
        return [Finding(check="slack", state="ok", found="not configured")]
    settings.require("slack_token")
    client = WebClient(
        token=settings.secret("slack_token"), base_url=settings.slack_url, timeout=CONNECT_TIMEOUT_S, retry_handlers=[]
    )
    try:
        signed_in = client.auth_test()
        findings = _scopes(_header(signed_in.headers, "x-oauth-scopes")) + _channel(client, settings.slack_channel)
    except SlackApiError as error:
        needed = error.response.get("needed")
        found = f"Slack refuses: {error.response.get('error')}" + (f", lacks the scope {needed}" if needed else "")
        return [
            Finding(
                check="slack", state="failure", found=found, advice="LENDLOOP_SLACK_TOKEN and the scopes of its app"
            )
        ]
    except OSError as error:
        return [Finding(check="slack", state="failure", found=f"no answer: {error}", advice="LENDLOOP_SLACK_URL")]
    if any(finding.state == "failure" for finding in findings):
        return findings
    found = f"signed in to {signed_in.get('team') or 'the workspace'}"
    return [Finding(check="slack", state="ok", found=found), *findings]


def _header(headers: Any, wanted: str) -> str | None:
    """A header's text, or None when it was not sent: then nothing is said of scopes."""
    found = next((value for name, value in dict(headers).items() if name.lower() == wanted), None)
    return ",".join(found) if isinstance(found, list) else found


def _scopes(told: str | None) -> list[Finding]:
    if told is None:
        return []
    has = {scope.strip() for scope in told.split(",")}
    lacking = [f"{scope} (to {why})" for scope, why in SLACK_SCOPES.items() if scope not in has]
    if not lacking:
        return []
    state: Any = "failure" if "chat:write" not in has else "warning"
    return [
        Finding(
            check="slack",
            state=state,
            found=f"lacks {', '.join(lacking)}",
            advice="add the scopes and install the app again",
        )
    ]


def _channel(client: WebClient, wanted: str | None) -> list[Finding]:
    if not wanted:
        return [
            Finding(
                check="slack",
                state="warning",
                found="LENDLOOP_SLACK_CHANNEL is not set",
                advice="messages without a route of their own are held",
            )
        ]
    cursor: str | None = None
    while True:
        page = client.conversations_list(limit=200, cursor=cursor)
        for channel in page.get("channels") or []:
            if wanted.lstrip("#") in (channel.get("name"), channel.get("id")):
                if channel.get("is_member") is False:
                    found = f"the bot is not in #{channel['name']}"
                    return [
                        Finding(check="slack", state="failure", found=found, advice="invite it: /invite in the channel")
                    ]
                return []
        cursor = (page.get("response_metadata") or {}).get("next_cursor")
        if not cursor:
            found = f"{wanted} is no channel that the bot can see"
            return [
                Finding(
                    check="slack",
                    state="failure",
                    found=found,
                    advice="LENDLOOP_SLACK_CHANNEL; invite the bot if it is private",
                )
            ]


def check_mail(settings: Settings) -> list[Finding]:
    """Greet the mail server, with TLS and sign-in as sending does; nothing is sent."""
    if not settings.smtp_url:
        return [Finding(check="mail", state="ok", found="not configured")]
    host = urlsplit(settings.smtp_url).hostname
    try:
        with Email(settings).connect(CONNECT_TIMEOUT_S) as server:
            server.ehlo_or_helo_if_needed()
            code, _ = server.noop()
    except smtplib.SMTPAuthenticationError as error:
        found = f"{host} refuses the sign-in ({error.smtp_code})"
        return [Finding(check="mail", state="failure", found=found, advice="user and password in LENDLOOP_SMTP_URL")]
    except smtplib.SMTPNotSupportedError:
        return [
            Finding(
                check="mail",
                state="failure",
                found=f"{host} offers no TLS or no sign-in",
                advice="smtps://, or another port",
            )
        ]
    except (smtplib.SMTPException, OSError) as error:
        found = f"{host} does not answer as a mail server ({type(error).__name__}: {error})"
        return [Finding(check="mail", state="failure", found=found, advice="LENDLOOP_SMTP_URL, network")]
    if not settings.alert_email:
        return [
            Finding(
                check="mail",
                state="warning",
                found="LENDLOOP_ALERT_EMAIL is not set",
                advice="mails without a route of their own are held",
            )
        ]
    return [Finding(check="mail", state="ok" if code == 250 else "warning", found=f"{host} answers")]


def check_ops(settings: Settings) -> list[Finding]:
    """Connect without migrating: version, whether it could be written, and the clock of a server."""
    try:
        with _peek(settings) as connection:
            if connection is None:
                return [Finding(check="operational state", state="ok", found="not there yet")]
            kind, version = connection.dialect.name, current_version(connection)
            findings = _version(version)
            if version is not None and not _may_write(connection, settings):
                findings.append(
                    Finding(
                        check="operational state",
                        state="failure",
                        found="can't be written",
                        advice="rights of the file, or of the database's user",
                    )
                )
            if kind == "postgresql":
                told = connection.exec_driver_sql("select clock_timestamp()").scalar()
                if isinstance(told, datetime):
                    findings += skew_of("the operational database", (datetime.now(UTC) - told).total_seconds())
    except (ArgumentError, NoSuchModuleError) as error:
        found = f"LENDLOOP_OPS_URL is no SQLAlchemy URL ({type(error).__name__})"
        return [Finding(check="operational state", state="failure", found=found, advice="postgresql://user@host/name")]
    except DBAPIError as error:
        reason = next(iter(str(error.orig).strip().splitlines()), type(error.orig).__name__)
        return [
            Finding(
                check="operational state",
                state="failure",
                found=f"does not answer: {reason}",
                advice="LENDLOOP_OPS_URL, network, server",
            )
        ]
    return findings or [Finding(check="operational state", state="ok", found=f"{kind}, version {version}")]


@contextmanager
def _peek(settings: Settings) -> Iterator[sa.Connection | None]:
    """A connection that makes and migrates nothing; None where there is no file yet.

    SQLite's file is opened as for writing, since one that only reads leaves its log behind, and told not to write.
    """
    url = sa.make_url(settings.operational_url)
    arguments: dict[str, Any] = {"timeout": CONNECT_TIMEOUT_S}
    if url.get_backend_name() == "sqlite":
        if not url.database or not os.path.exists(url.database):
            yield None
            return
        url = sa.make_url(f"sqlite:///file:{url.database}?mode=rw&uri=true")
    else:
        arguments = {"connect_timeout": CONNECT_TIMEOUT_S}
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=arguments)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("pragma query_only = on")
            yield connection
    finally:
        engine.dispose()


def _version(version: str | None) -> list[Finding]:
    if version is None:
        return [
            Finding(
                check="operational state",
                state="warning",
                found="has no tables yet",
                advice="the first pass makes them",
            )
        ]
    if version not in known_versions():
        found = f"is at version {version}, which this lendloop does not know"
        return [Finding(check="operational state", state="failure", found=found, advice="run the newer lendloop")]
    if version != newest_version():
        found = f"is at version {version}, the newest is {newest_version()}"
        return [
            Finding(
                check="operational state",
                state="warning",
                found=found,
                advice="the next pass brings it up: make a backup before",
            )
        ]
    return []


def _may_write(connection: sa.Connection, settings: Settings) -> bool:
    if connection.dialect.name == "sqlite":
        path = sa.make_url(settings.operational_url).database or ""
        return os.access(path, os.W_OK) and os.access(os.path.dirname(path), os.W_OK)
    asked = sa.text("select has_table_privilege(current_user, to_regclass(:name), 'INSERT')")
    return bool(connection.execute(asked, {"name": t.outbox.name}).scalar())


def check_deliveries(settings: Settings) -> list[Finding]:
    """Each delivery file opens and is of a version we know; one in use is left alone."""
    findings, opened = [], 0
    for path in sorted(settings.home.delivery.glob("*.duckdb")):
        with free_or_holder(path.with_suffix(".lock")) as holder:
            if holder is not None:
                findings.append(
                    Finding(check="deliveries", state="ok", found=f"{path.stem} is in use by {holder.words}")
                )
                continue
            known = len(store.VERSIONS if path.name.startswith("audience_") else ledger.VERSIONS)
            try:
                with duckdb.connect(str(path), read_only=True) as connection:
                    refuse_newer(path.name, version_of(connection, "main"), known)
            except duckdb.Error as error:
                found = f"{path.name} does not open ({type(error).__name__})"
                findings.append(
                    Finding(
                        check="deliveries",
                        state="failure",
                        found=found,
                        advice="restore it from a backup: without it removals can't be made",
                    )
                )
                continue
            opened += 1
    return [Finding(check="deliveries", state="ok", found=f"{opened} files open"), *findings]
