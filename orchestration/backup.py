"""`lendloop backup` and `lendloop restore`: every room's part, under the locks that make them agree.

What is in an archive is what cannot be had again; the rest is loaded and built anew by the next pass.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from pydantic import SecretStr
from sqlalchemy import Engine

from activation.backup import bring_deliveries_up, copy_deliveries, deliveries_at_rest
from activation.ops import open_ops
from activation.ops.migrate import known_versions
from activation.ops.portable import dump_ops, is_empty, load_ops
from ingestion.backup import keep_deleted_people
from lendloop.backup import (
    MANIFEST,
    Manifest,
    copy_files,
    key_fingerprint,
    put_in_place,
    seal,
    staging,
    unseal,
)
from lendloop.clock import Clock
from lendloop.days import days_file
from lendloop.errors import ConfigurationError, LockTimeoutError, PermanentError
from lendloop.formats import refuse_newer, upgrade, version_of
from lendloop.history import keep_history
from lendloop.home import Home
from lendloop.locks import file_lock
from lendloop.project import load_manifest
from lendloop.publish import CATALOG, Catalog, read_catalog
from lendloop.settings import SOURCES, Settings
from lendloop.standing import standing_file
from lendloop.warehouse import VERSIONS, connect_warehouse, warehouse_lock

OPS = "ops"
PURPOSE = "backup"


def make_backup(settings: Settings, clock: Clock, target: Path, *, with_warehouse: bool = False) -> Manifest:
    """Write the archive `target` (`.tar.gz`, or a folder otherwise), readable by its owner only.

    Nothing is sent, loaded or built while the parts are copied; they are packed after that. Raises
    LockTimeoutError, ConfigurationError when `target` exists, PermanentError when a published file is missing.
    """
    home = settings.home.prepare()
    manifest = load_manifest(home)
    key = settings.identifier_key()
    with staging(target.absolute()) as stage:
        with _everything_at_rest(settings):
            copy_deliveries(home, stage / "delivery")
            with _ops(settings) as engine:
                ops_version = dump_ops(engine, stage / OPS)
            quarantine = {path: stage / path.relative_to(home.root) for path in home.quarantine.rglob("*.parquet")}
            kept = [path for path in (standing_file(home), days_file(home)) if path.exists()]
            copy_files(quarantine | {path: stage / path.relative_to(home.root) for path in kept})
            if with_warehouse:
                _copy_warehouse(home, stage)
            else:
                _copy_history(home, manifest, stage)
        if home.decisions.exists():
            copy_files({home.decisions: stage / home.decisions.name})
        inside = settings.hash_key is None
        if inside:
            copy_files({home.secrets / "hash.key": stage / "secrets" / "hash.key"})
        return seal(
            stage,
            target.absolute(),
            Manifest(
                made_at=datetime.now(UTC),
                as_of=clock.as_of,
                ops_version=ops_version,
                hash_key=key_fingerprint(key),
                hash_key_inside=inside,
                with_warehouse=with_warehouse,
            ),
        )


@contextmanager
def _everything_at_rest(settings: Settings, purpose: str = PURPOSE, timeout_s: float | None = None) -> Iterator[None]:
    """Hold every lock of the home: of sources, deliveries, alerts and the warehouse, in the order a pass takes them."""
    home, wait_s = settings.home, settings.lock_timeout_s if timeout_s is None else timeout_s
    with ExitStack() as stack:
        for source in SOURCES:
            stack.enter_context(file_lock(home.locks / f"source-{source}.lock", purpose, wait_s))
        stack.enter_context(deliveries_at_rest(home, purpose, wait_s))
        stack.enter_context(file_lock(home.locks / "outbox.lock", purpose, wait_s))
        stack.enter_context(warehouse_lock(home, purpose, wait_s))
        yield


def _copy_warehouse(home: Home, stage: Path) -> None:
    """The warehouse and all that is published. The small catalogues name absolute paths: the next pass writes them."""
    if home.warehouse.exists():
        with connect_warehouse(home) as connection:
            connection.execute("checkpoint")
        copy_files({home.warehouse: stage / home.warehouse.name})
    catalog = read_catalog(home)
    paths = [
        (home.contacts_files if table.contact_data else home.published_files) / file
        for table in catalog.tables.values()
        for file in table.files
    ]
    if missing := [path for path in paths if not path.exists()]:
        raise PermanentError(
            f"{missing[0]} is published and not there: nothing was backed up; see lendloop doctor, or leave out --with-warehouse"
        )
    paths += [*home.dlt.glob("status_*.json"), *home.dlt.glob("memory_*.json")]
    copy_files({path: stage / path.relative_to(home.root) for path in paths})
    _write_catalog(stage, catalog.model_copy(update={"inputs": "", "retired": {}}))


def _copy_history(home: Home, manifest: Any, stage: Path) -> None:
    """A warehouse with nothing in it but what neither sources nor builds give again."""
    _write_catalog(stage, Catalog(version=read_catalog(home).version))
    if not home.warehouse.exists():
        return
    with connect_warehouse(home) as connection:
        connection.execute(f"attach '{str(stage / home.warehouse.name).replace(chr(39), chr(39) * 2)}' as kept")
        keep_history(connection, manifest, "kept")
        keep_deleted_people(connection, "kept")
        connection.execute("detach kept")


def _write_catalog(stage: Path, catalog: Catalog) -> None:
    path = stage / "published" / CATALOG
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(catalog.model_dump_json(indent=1))


def restore_backup(settings: Settings, source: Path, *, force: bool = False) -> tuple[Manifest, Path | None]:
    """Put an archive in the place of the home. Returns its manifest, and where what was there before is kept.

    Everything is verified and brought up to this version beside the home before anything in it is touched.
    Raises ConfigurationError (no backup, a newer one, another hash key, a home that holds something and no `force`),
    PermanentError (damaged), LockTimeoutError when the home is in use.
    """
    home, source = settings.home, source.absolute()
    for folder in (home.root, home.locks, home.delivery):
        folder.mkdir(parents=True, exist_ok=True)
    stage = home.root / f".restore-{os.getpid()}"
    for left in home.root.glob(".restore-*"):
        shutil.rmtree(left)
    stage.mkdir(mode=0o700)
    try:
        manifest = unseal(source, stage)
        _bring_up(settings, manifest, stage)
        with _in_use_by_nobody(settings):
            aside = _put_in_place(settings, manifest, source, stage, force)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return manifest, aside


@contextmanager
def _in_use_by_nobody(settings: Settings) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(_everything_at_rest(settings, "restore", 0.0))
        except LockTimeoutError as error:
            raise LockTimeoutError(f"the home {settings.home.root} is in use, nothing was restored: {error}") from None
        yield


def _bring_up(settings: Settings, manifest: Manifest, stage: Path) -> None:
    """Refuse what this code does not know, and bring what is older to its versions."""
    if manifest.ops_version not in known_versions():
        raise ConfigurationError(
            f"the backup's operational state is at version {manifest.ops_version}, which this lendloop does not know:"
            " run a newer lendloop"
        )
    kept = stage / "secrets" / "hash.key"
    if settings.hash_key is not None:
        fingerprint = key_fingerprint(settings.hash_key.get_secret_value().encode())
    else:
        fingerprint = key_fingerprint(kept.read_bytes()) if kept.exists() else ""
    if fingerprint != manifest.hash_key:
        raise ConfigurationError(
            "LENDLOOP_HASH_KEY is not the key that this backup was made with: every identifier would change;"
            f" {'unset it, the backup holds the key' if manifest.hash_key_inside else 'set the one of then'}"
        )
    bring_deliveries_up(stage / "delivery")
    warehouse = stage / settings.home.warehouse.name
    if warehouse.exists():
        with duckdb.connect(str(warehouse)) as connection:
            refuse_newer(f"the backup's {warehouse.name}", version_of(connection, "raw_meta"), len(VERSIONS))
            upgrade(connection, "raw_meta", VERSIONS, warehouse.name)
    (stage / MANIFEST).unlink()


def _put_in_place(settings: Settings, manifest: Manifest, source: Path, stage: Path, force: bool) -> Path | None:
    home, folder = settings.home, stage / OPS
    in_home = settings.operational_url == f"sqlite:///{home.ops_sqlite}"
    there = _held(settings)
    if there and not (force or home.unfinished_restore.exists()):
        raise ConfigurationError(
            f"{home.root} is in use by an installation ({', '.join(there)}): --force moves that aside and restores"
        )
    aside = home.root / f"aside-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    if in_home:
        draft = settings.model_copy(update={"ops_url": SecretStr(f"sqlite:///{stage / home.ops_sqlite.name}")})
        with _ops(draft) as engine:
            load_ops(engine, folder, manifest.ops_version)
    home.unfinished_restore.write_text(str(source))
    if not in_home:
        with _ops(settings) as engine:
            if not is_empty(engine):
                aside.mkdir(mode=0o700, exist_ok=True)
                dump_ops(engine, aside / OPS)
            load_ops(engine, folder, manifest.ops_version)
    shutil.rmtree(folder)
    put_in_place(home, stage, aside)
    home.unfinished_restore.unlink()
    home.prepare()
    return aside if aside.exists() else None


def _held(settings: Settings) -> list[str]:
    """What of an installation a home and its operational database hold."""
    home = settings.home
    held = [path.name for path in (home.warehouse, home.published_files / CATALOG) if path.exists()]
    held += [home.delivery.name] if any(home.delivery.glob("*.duckdb")) else []
    held += [home.quarantine.name] if any(home.quarantine.rglob("*.parquet")) else []
    if settings.ops_url is not None or home.ops_sqlite.exists():
        with _ops(settings) as engine:
            held += [] if is_empty(engine) else ["operational state"]
    return held


@contextmanager
def _ops(settings: Settings) -> Iterator[Engine]:
    engine = open_ops(settings)
    try:
        yield engine
    finally:
        engine.dispose()
