"""Files for whoever fetches them: an audience's whole membership as CSV and JSON lines, with a manifest.

`exports/<audience>/<audience>.csv`, `.jsonl` and `manifest.json`, each replaced atomically, the
manifest last: it names rows and SHA-256 of each file, so a reader that checks it never takes half.
Only files of this folder belong here, readable by their owner only, since they carry addresses.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from activation.destinations.contract import PROOF_COLUMNS, Contract, FileFormat, Membership

CONTRACT = Contract(
    name="drop", wave_rows=50_000, batch_rows=50_000, confirmation="row", idempotent=True, can_remove=True
)


class Drop:
    """The folder of one audience. `formats`: csv, jsonl."""

    contract = CONTRACT

    def __init__(self, folder: Path, audience: str, formats: Sequence[FileFormat]) -> None:
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

    def replace(self, members: Membership, traits: list[str], manifest: dict[str, object]) -> int:
        """Write the members' proof and `traits`. Returns how many they are. Raises OSError when the disk refuses."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        for stale in self._folder.glob(".*.tmp"):
            stale.unlink()
        files: dict[str, dict[str, object]] = {}
        rows = 0
        for kind in self._formats:
            draft = self._draft(f"{self._audience}.{kind}")
            rows = members.write(draft, kind, traits)
            files[f"{self._audience}.{kind}"] = {"rows": rows, "sha256": _settled(draft)}
        for name in files:
            os.replace(self._draft(name, new=False), self._folder / name)
        content = {**manifest, "rows": rows, "columns": [*PROOF_COLUMNS, *traits], "files": files}
        draft = self._draft("manifest.json")
        draft.write_text(json.dumps(content, indent=1))
        _settled(draft)
        os.replace(draft, self._folder / "manifest.json")
        return rows

    def _draft(self, name: str, *, new: bool = True) -> Path:
        """The file beside `name` that is to take its place; a new one is empty, and readable by its owner only."""
        path = self._folder / f".{name}.{os.getpid()}.tmp"
        if new:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        return path


def _settled(path: Path) -> str:
    """The SHA-256 of a file that is on disk, and not only on its way there."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
