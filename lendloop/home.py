"""Where everything lives: the paths under `LENDLOOP_HOME`. Nothing is written outside it."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from lendloop.errors import ConfigurationError

CHECKOUT = Path(__file__).resolve().parent.parent
DBT_PROJECT = CHECKOUT / "dbt_project"


@dataclass(frozen=True)
class Home:
    """Paths of one installation. Properties only name paths; `prepare` creates the folders."""

    root: Path

    @property
    def warehouse(self) -> Path:
        return self.root / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        return self.root / "published.duckdb"

    @property
    def published_files(self) -> Path:
        return self.root / "published"

    @property
    def contacts(self) -> Path:
        return self.root / "contacts.duckdb"

    @property
    def contacts_files(self) -> Path:
        """Parquet files with contact data, 0700: only activation's user reads them."""
        return self.root / "contacts"

    @property
    def delivery(self) -> Path:
        return self.root / "delivery"

    @property
    def ops_sqlite(self) -> Path:
        return self.root / "ops.sqlite"

    @property
    def exports(self) -> Path:
        return self.root / "exports"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def dagster(self) -> Path:
        return self.root / "dagster"

    @property
    def dlt(self) -> Path:
        return self.root / "dlt"

    @property
    def dbt(self) -> Path:
        return self.root / "dbt"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def sandbox(self) -> Path:
        return self.root / "sandbox"

    @property
    def decisions(self) -> Path:
        """What people decided about who is who: nothing gives it again."""
        return self.root / "identity_decisions.json"

    @property
    def site(self) -> Path:
        """Pages of the dictionary, the KPIs and the datasets, without a row of a person."""
        return self.root / "site"

    @property
    def unfinished_restore(self) -> Path:
        """A mark that stands while a restore puts a home in place."""
        return self.root / "restore.unfinished"

    @property
    def shared(self) -> tuple[Path, ...]:
        return (self.root, self.published_files, self.exports, self.dagster, self.dlt, self.dbt, self.locks)

    @property
    def private(self) -> tuple[Path, ...]:
        """Folders with personal data or secrets; dbt's log quotes the values that the engine tells of a row at fault."""
        return (self.contacts_files, self.delivery, self.quarantine, self.secrets, self.dbt / "logs")

    def prepare(self) -> Home:
        """Create the folders; those that hold personal data or secrets are readable by their owner only.

        Raises ConfigurationError when a restore into this home was cut off, and for a folder that can't be written.
        """
        if self.unfinished_restore.exists():
            raise ConfigurationError(
                f"a restore into {self.root} was cut off: run `lendloop restore {self.unfinished_restore.read_text()}` again"
            )
        for folder in (*self.shared, *self.private):
            try:
                folder.mkdir(mode=0o700 if folder in self.private else 0o777, parents=True, exist_ok=True)
                if folder in self.private and folder.stat().st_mode & 0o777 != 0o700:
                    folder.chmod(0o700)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                    raise
                raise ConfigurationError(_cannot_write(folder, str(error.strerror))) from error
            if not _is_open(folder):
                raise ConfigurationError(_cannot_write(folder, "no right to"))
        return self

    def closed(self) -> str | None:
        """Which of its folders that are there can't be written, and what to do; None when all can."""
        folders = [folder for folder in (*self.shared, *self.private) if folder.exists()]
        closed = next((folder for folder in folders if not _is_open(folder)), None)
        return _cannot_write(closed, "no right to") if closed else None


def _is_open(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _cannot_write(folder: Path, reason: str) -> str:
    return (
        f"can't write in {folder}: {reason}; give it to the user who runs lendloop, or mount it writable, and run again"
    )
