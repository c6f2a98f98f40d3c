"""Settings, in one typed place: from the environment, then `.env` in the checkout.

`.env.example` explains each. A secret is asked for by `require` only where it is needed.
"""

from __future__ import annotations

import os
import secrets as randomness
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lendloop.clock import Clock, resolve_clock
from lendloop.errors import ConfigurationError
from lendloop.home import CHECKOUT, Home

SourceName = Literal["crm", "ledger", "support", "costs", "survey"]
SOURCES: tuple[SourceName, ...] = ("crm", "ledger", "support", "costs", "survey")
ENVIRONMENTS = ("local", "prod")
_COMPANIONS = {
    "crm_url": ("crm_token",),
    "support_url": ("support_user", "support_token"),
    "blueshift_url": ("blueshift_key",),
    "slack_url": ("slack_token",),
}
"""What a system needs beside its address."""
_ADDRESSES: dict[SourceName, str] = {"costs": "costs_file", "survey": "survey_folder"}
"""Where sources lie that are no server."""


class Settings(BaseSettings):
    """Every setting of lendloop; the variable is the field's name in capitals behind `LENDLOOP_`."""

    model_config = SettingsConfigDict(
        env_prefix="LENDLOOP_", env_file=CHECKOUT / ".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    env: Literal["local", "prod"] = "local"
    home_path: Path = Field(default=CHECKOUT / "data", validation_alias="LENDLOOP_HOME")
    as_of: str | None = None
    definitions: Path = CHECKOUT / "activation" / "definitions"
    hash_key: SecretStr | None = None

    ledger_url: SecretStr | None = None
    ledger_schema: str | None = None
    crm_url: str | None = None
    crm_token: SecretStr | None = None
    support_url: str | None = None
    support_user: str | None = None
    support_token: SecretStr | None = None
    support_dispute_tags: Annotated[tuple[str, ...], NoDecode] = ("dispute",)
    support_complaint_tags: Annotated[tuple[str, ...], NoDecode] = ("complaint",)
    support_hardship_tags: Annotated[tuple[str, ...], NoDecode] = ("hardship",)
    crm_properties: dict[str, str] = Field(default_factory=dict)
    """HubSpot property names that differ from the defaults, as JSON: `{"contacts.sms_consent": "sms_ok"}`."""

    costs_file: Path | None = None
    """A CSV file of what the business cost, which finance keeps; ingestion/README.md has its columns."""

    survey_folder: Path | None = None
    """A folder of survey exports and lists of partners (CSV, XLSX, Parquet); ingestion/README.md has their columns."""

    lag_minutes: int = 60
    """How far behind the newest row a source is read again, for late commits."""
    shrink_limit: float = 0.5
    """A table that would come back smaller than this share of what raw holds is refused; 0 lets tables and columns go."""
    lock_timeout_s: float = 600.0

    blueshift_url: str | None = None
    blueshift_key: SecretStr | None = None
    blueshift_calls_per_s: float | None = Field(default=None, gt=0)
    """Profile calls a second that the vendor grants this account; without it the documented 5."""
    slack_url: str | None = None
    slack_token: SecretStr | None = None
    slack_channel: str | None = None
    smtp_url: str | None = None
    alert_email: str | None = None
    ops_url: SecretStr | None = None
    dagster_url: SecretStr | None = None

    site_url: str | None = None
    """Where people open the site; without it assets name its files."""
    site_in_pass: bool = True
    """A pass writes the site anew, into the home, when what it shows has changed."""
    schedule: str | None = None
    """When passes start where the schedule is on, as cron says it, in UTC; without it as often as the datasets ask."""
    pass_overdue_hours: float = Field(default=26.0, gt=0)
    """A last finished pass older than this is a failure of its own: passes are killed, or nobody starts them."""
    keep_deleted_days: int = Field(default=400, ge=0)
    keep_quarantine_days: int = Field(default=180, ge=0)
    keep_history_days: int = Field(default=90, ge=0)
    keep_runs_days: int = Field(default=7, ge=0)
    keep_failed_runs_days: int = Field(default=30, ge=0)
    keep_exports_days: int = Field(default=30, ge=0)
    keep_logs_days: int = Field(default=14, ge=0)

    @cached_property
    def home(self) -> Home:
        return Home(self.home_path.expanduser().resolve())

    def clock(self) -> Clock:
        """The business clock now: see `lendloop.clock.resolve_clock`."""
        return resolve_clock(self.as_of)

    @property
    def operational_url(self) -> str:
        """SQLAlchemy URL of operational state: `LENDLOOP_OPS_URL`, or SQLite in the home."""
        return self.ops_url.get_secret_value() if self.ops_url else f"sqlite:///{self.home.ops_sqlite}"

    def is_configured(self, source: SourceName) -> bool:
        """Whether a source's address is set; one that is not is shown so and never an error."""
        return getattr(self, _ADDRESSES.get(source, f"{source}_url")) is not None

    def require_companions(self) -> None:
        """Raise ConfigurationError that names, at once, what each system whose address is set still lacks."""
        needed = [name for address, names in _COMPANIONS.items() if getattr(self, address) for name in names]
        self.require(*needed)

    def require(self, *fields: str) -> None:
        """Raise ConfigurationError that names, at once, each of `fields` that is not set."""
        missing = [f"LENDLOOP_{name.upper()}" for name in fields if getattr(self, name) in (None, "")]
        if missing:
            raise ConfigurationError(f"not set: {', '.join(missing)}; put them in the environment or in .env")

    def secret(self, field: str) -> str:
        """A secret's text. Raises ConfigurationError when it is not set."""
        self.require(field)
        value = getattr(self, field)
        return str(value.get_secret_value() if isinstance(value, SecretStr) else value)

    def identifier_key(self) -> bytes:
        """The key under which identifiers of people are hashed.

        `LENDLOOP_HASH_KEY`; in `local` a key made once and kept, 0600, under the home.
        Raises ConfigurationError in `prod` when it is not set.
        """
        if self.hash_key:
            return self.hash_key.get_secret_value().encode()
        if self.env == "prod":
            self.require("hash_key")
        path = self.home.prepare().secrets / "hash.key"
        if not path.exists():
            draft = path.with_suffix(f".{os.getpid()}.tmp")
            with open(draft, "w", opener=_private_opener) as file:
                file.write(randomness.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            # a link, unlike a rename, leaves the key of a process that was quicker
            with suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        return path.read_bytes()


def _private_opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings. Raises ConfigurationError that names every variable at fault and its known values."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        faults = "; ".join(
            f"{str(fault['loc'][0]) if str(fault['loc'][0]).startswith('LENDLOOP_') else 'LENDLOOP_' + str(fault['loc'][0]).upper()}"
            f"={fault['input']!r}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ConfigurationError(faults) from None
