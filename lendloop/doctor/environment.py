"""Versions of what is installed, and settings: missing, malformed, misspelt, all at once."""

from __future__ import annotations

import difflib
import os
import stat
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from dotenv import dotenv_values
from packaging.requirements import Requirement

from lendloop.doctor.findings import Finding
from lendloop.errors import ConfigurationError
from lendloop.home import CHECKOUT
from lendloop.settings import SOURCES, Settings, load_settings

PYTHONS = ((3, 11), (3, 14))
"""From, and below."""
PREFIX = "LENDLOOP_"
NOT_SETTINGS = frozenset({"LENDLOOP_NO_SKIPS", "LENDLOOP_WAREHOUSE"})
"""Variables of the tests and of dbt's profile."""


def check_versions() -> list[Finding]:
    """Python and every library against the project's pins, and against the lock where a checkout has one."""
    faults = []
    if not PYTHONS[0] <= sys.version_info[:2] < PYTHONS[1]:
        faults.append(f"Python {sys.version.split()[0]} (3.11 to 3.13 are tested)")
    for line in requires("lendloop") or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _installed(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            faults.append(f"{requirement.name} {found or 'is missing'} (wanted {requirement.specifier})")
    if faults:
        advice = "install from the lock: make setup"
        return [Finding(check="versions", state="failure", found="; ".join(faults), advice=advice)]
    apart = [f"{name} {_installed(name)} (locked {locked})" for name, locked in _lock() if _differs(name, locked)]
    if apart:
        shown = ", ".join(apart[:6]) + (f" and {len(apart) - 6} more" if len(apart) > 6 else "")
        return [Finding(check="versions", state="warning", found=f"not as locked: {shown}", advice="make setup")]
    return [Finding(check="versions", state="ok", found=f"Python {sys.version.split()[0]}, every library as pinned")]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _differs(name: str, locked: str) -> bool:
    found = _installed(name)
    return found is not None and found != locked


def _lock() -> list[tuple[str, str]]:
    """Name and version of each library that the lock wants on this Python."""
    path = CHECKOUT / "requirements.lock"
    lines = path.read_text().splitlines() if path.exists() else []
    wanted = [Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalnum()]
    return [
        (one.name, str(one.specifier).removeprefix("=="))
        for one in wanted
        if one.marker is None or one.marker.evaluate()
    ]


def check_settings() -> tuple[Settings | None, list[Finding]]:
    """The settings, None when they can't be read, and what is wrong with them."""
    findings = _unknown({**dotenv_values(_env_file()), **os.environ}) + _env_rights()
    try:
        settings = load_settings()
    except ConfigurationError as error:
        fault = Finding(check="settings", state="failure", found=str(error), advice="see .env.example")
        return None, [fault, *findings]
    try:
        settings.require_companions()
        if settings.env == "prod":
            settings.require("hash_key")
        configured = [source for source in SOURCES if settings.is_configured(source)]
        found = f"environment {settings.env}; configured sources: {', '.join(configured) or 'none'}"
        return settings, [Finding(check="settings", state="ok", found=found), *findings]
    except ConfigurationError as error:
        return settings, [Finding(check="settings", state="failure", found=str(error)), *findings]


def _env_file() -> Path:
    return Path(str(Settings.model_config.get("env_file") or os.devnull))


def known_variables() -> set[str]:
    """The name of every setting's variable."""
    fields = Settings.model_fields.items()
    return {str(field.validation_alias or f"{PREFIX}{name.upper()}") for name, field in fields}


def _unknown(given: Mapping[str, object]) -> list[Finding]:
    known = known_variables()
    strangers = sorted(
        name for name in given if name.upper().startswith(PREFIX) and name.upper() not in known | NOT_SETTINGS
    )
    return [
        Finding(
            check="settings",
            state="warning",
            found=f"{name} is no setting{_meant(name, known)}",
            advice="mend or remove it",
        )
        for name in strangers
    ]


def _meant(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name.upper(), sorted(known), n=1, cutoff=0.75)
    return f": did you mean {close[0]}?" if close else ""


def _env_rights() -> list[Finding]:
    path = _env_file()
    if not path.is_file() or not stat.S_IMODE(path.stat().st_mode) & 0o077:
        return []
    found = f"{path.name} can be read by others ({stat.S_IMODE(path.stat().st_mode):04o})"
    return [Finding(check="settings", state="warning", found=found, advice=f"chmod 600 {path}")]
