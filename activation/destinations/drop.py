"""Files for whoever fetches them: an audience's whole membership as CSV and JSON lines, with a manifest.

`exports/<audience>/<audience>.csv`, `.jsonl` and `manifest.json`, each replaced atomically, the
manifest last: it names rows and SHA-256 of each file, so a reader that checks it never takes half.
Only files of this folder belong here, readable by their owner only, since they carry addresses.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import orjson

from activation.destinations.contract import Contract, Member

PROOF_COLUMNS = ("person_key", "audience_version", "snapshot", "consent_basis", "consent_decided_at", "send_id")
"""The columns that every export has, before those of its payload."""

CONTRACT = Contract(
    name="drop", wave_rows=50_000, batch_rows=50_000, confirmation="row", idempotent=True, can_remove=True
)


class Drop:
    """The folder of one audience. `formats`: csv, jsonl."""

    contract = CONTRACT

    def __init__(self, folder: Path, audience: str, formats: list[str]) -> None:
        self._folder = folder
        self._audience = audience
        self._formats = formats

    def is_complete(self) -> bool:
        """Whether the manifest and each file it names are there."""
        try:
            manifest = json.loads((self._folder / "manifest.json").read_text())
            return all((self._folder / name).exists() for name in manifest["files"]) and len(manifest["files"]) == len(
                self._formats
            )
        except (OSError, ValueError, KeyError):
            return False

    def replace(self, members: Iterator[list[Member]], columns: list[str], manifest: dict[str, object]) -> int:
        """Write the members in batches. `columns` are the payload's traits. Raises OSError when the disk refuses."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        for stale in self._folder.glob(".*.tmp"):
            stale.unlink()
        names = {kind: f"{self._audience}.{kind}" for kind in self._formats}
        drafts = {kind: self._folder / f".{name}.{os.getpid()}.tmp" for kind, name in names.items()}
        rows = _write(drafts, members, columns)
        files = {names[kind]: {"rows": rows, "sha256": _sha256(draft)} for kind, draft in drafts.items()}
        for kind, draft in drafts.items():
            os.replace(draft, self._folder / names[kind])
        content = {**manifest, "rows": rows, "columns": [*PROOF_COLUMNS, *columns], "files": files}
        draft = self._folder / f".manifest.json.{os.getpid()}.tmp"
        with _create(draft) as file:
            json.dump(content, file, indent=1)
            _to_disk(file)
        os.replace(draft, self._folder / "manifest.json")
        return rows


def _write(drafts: dict[str, Path], members: Iterator[list[Member]], columns: list[str]) -> int:
    rows = 0
    with ExitStack() as stack:
        files = {kind: stack.enter_context(_create(draft)) for kind, draft in drafts.items()}
        writer = csv.writer(files["csv"]) if "csv" in files else None
        if writer:
            writer.writerow([*PROOF_COLUMNS, *columns])
        for batch in members:
            rows += len(batch)
            for member in batch:
                record = _record(member, columns)
                if writer:
                    writer.writerow([_text(value) for value in record.values()])
                if "jsonl" in files:
                    files["jsonl"].write(orjson.dumps(record).decode() + "\n")
        for file in files.values():
            _to_disk(file)
    return rows


def _record(member: Member, columns: list[str]) -> dict[str, object]:
    proof = (
        member.person_key,
        member.rule_version,
        member.snapshot,
        member.consent_basis,
        member.consent_decided_at,
        member.send_id,
    )
    traits = orjson.loads(member.payload)
    return dict(zip(PROOF_COLUMNS, proof, strict=True)) | {column: traits.get(column) for column in columns}


def _create(path: Path) -> IO[str]:
    return open(path, "w", encoding="utf-8", newline="", opener=_private)


def _to_disk(file: IO[str]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _text(value: object) -> object:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
