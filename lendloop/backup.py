"""The archive of a backup: a folder or a `.tar.gz` with a manifest, sealed and opened whole.

Belongs here: packing, checksums, unpacking, and putting a restored home in the place of the old one.
Not here: what a room's part of the archive is, and under which locks it is copied.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from lendloop.errors import ConfigurationError, PermanentError
from lendloop.formats import refuse_newer
from lendloop.home import Home

FORMAT = 1
MANIFEST = "manifest.json"
PACKAGES = ("lendloop", "duckdb", "dlt", "dbt-core", "dagster", "sqlalchemy")
STAYS = ("locks", "sandbox")
"""Folders of the home that a restore leaves where they are."""


class FileSeal(BaseModel):
    """What a file of the archive must be."""

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What an archive holds. `files` are paths relative to it; `ops_version` is that of operational state.

    `hash_key` is the fingerprint of the key under which people's identifiers are hashed, which the archive
    holds itself where `hash_key_inside`; otherwise it is LENDLOOP_HASH_KEY, to be kept apart.
    """

    format: int = FORMAT
    made_at: datetime
    as_of: datetime
    ops_version: str
    hash_key: str
    hash_key_inside: bool
    with_warehouse: bool
    versions: dict[str, str] = Field(default_factory=dict)
    files: dict[str, FileSeal] = Field(default_factory=dict)


def key_fingerprint(key: bytes) -> str:
    """Tells two keys apart without giving either away."""
    return hashlib.sha256(b"lendloop backup" + key).hexdigest()[:16]


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A private folder beside `target`, gone afterwards whatever happens. Raises ConfigurationError when `target` is there."""
    if target.exists():
        raise ConfigurationError(f"{target} exists: a backup is never written over another one")
    target.parent.mkdir(parents=True, exist_ok=True)
    stage = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    stage.mkdir(mode=0o700)
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def seal(stage: Path, target: Path, manifest: Manifest) -> Manifest:
    """Make the archive `target` of what is staged: a `.tar.gz` by its name, else a folder. Returns the full manifest."""
    files = {str(path.relative_to(stage)): _seal(path) for path in sorted(stage.rglob("*")) if path.is_file()}
    versions = {name: version(name) for name in PACKAGES} | {"python": sys.version.split()[0]}
    manifest = manifest.model_copy(update={"files": files, "versions": versions})
    (stage / MANIFEST).write_text(manifest.model_dump_json(indent=1))
    for path in stage.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    if not _is_tar(target):
        os.replace(stage, target)
        return manifest
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(draft, "wb", opener=_private) as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as tar:
                for name in (MANIFEST, *files):
                    tar.add(stage / name, arcname=name)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    return manifest


def unseal(source: Path, stage: Path) -> Manifest:
    """Copy the archive into the empty folder `stage` and verify every file.

    Raises ConfigurationError when `source` is no backup or a newer one, PermanentError naming a file that is not
    what the manifest says.
    """
    if source.is_dir():
        shutil.copytree(source, stage, dirs_exist_ok=True)
    elif source.is_file():
        try:
            with tarfile.open(source, "r:gz") as tar:
                tar.extractall(stage, filter="data")
        except (tarfile.TarError, OSError, EOFError) as error:
            raise PermanentError(f"{source} can't be unpacked: {error}") from error
    else:
        raise ConfigurationError(f"there is no backup at {source}")
    manifest = read_manifest(stage, source)
    present = {str(path.relative_to(stage)) for path in stage.rglob("*") if path.is_file()} - {MANIFEST}
    for name, expected in manifest.files.items():
        if name not in present or _seal(stage / name) != expected:
            raise PermanentError(
                f"{source}: {name} is not what was backed up: the archive is damaged, nothing was restored"
            )
    if strangers := present - manifest.files.keys():
        raise PermanentError(
            f"{source} holds files that its manifest does not know: {', '.join(sorted(strangers)[:3])}"
        )
    return manifest


def read_manifest(folder: Path, source: Path) -> Manifest:
    """The manifest in an unpacked archive."""
    path = folder / MANIFEST
    if not path.exists():
        raise ConfigurationError(f"{source} is no backup of lendloop: it has no {MANIFEST}")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise PermanentError(f"{source}: its manifest can't be read: {error.errors()[0]['msg']}") from error
    refuse_newer(f"the backup {source}", manifest.format, FORMAT)
    return manifest


def occupants(home: Home) -> list[Path]:
    """What stands in a home where a restored one would go; drafts of a restore do not count."""
    if not home.root.exists():
        return []
    return [
        path
        for path in sorted(home.root.iterdir())
        if path.name not in STAYS
        and not path.name.startswith((".restore-", "aside-"))
        and path != home.unfinished_restore
        and not (path.is_dir() and not any(inner.is_file() for inner in path.rglob("*") if inner.suffix != ".lock"))
    ]


def put_in_place(home: Home, stage: Path, aside: Path) -> None:
    """Move what stands in the home aside, and what is staged into its place.

    While it lasts the home refuses to be used (`Home.prepare`); cut off, it is done by the next restore.
    """
    for path in occupants(home):
        aside.mkdir(mode=0o700, exist_ok=True)
        os.replace(path, aside / path.name)
    for path in sorted(stage.iterdir()):
        target = home.root / path.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(path, target)


def copy_files(paths: dict[Path, Path]) -> None:
    """Copy each file to its target, its folder made."""
    for source, target in paths.items():
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _is_tar(target: Path) -> bool:
    return target.name.endswith((".tar.gz", ".tgz"))


def _seal(path: Path) -> FileSeal:
    with open(path, "rb") as file:
        return FileSeal(bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
