"""An audience's whole membership on its way into files, written by the database that holds it.

Belongs here: which rows and columns a file has. Not here: names, places and manifests of files (`destinations.drop`).
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from activation.audiences.readers import quote
from activation.destinations.contract import PROOF_COLUMNS, FileFormat

_MEMBERS = """
select person_key, rule_version as audience_version, snapshot, consent_basis,
    strftime(timezone('UTC', consent_decided_at), '%Y-%m-%dT%H:%M:%SZ') as consent_decided_at, send_id, payload
from (
    select * from ledger.outbox where audience = {audience} and action in ('add', 'change')
    union all by name
    select * from ledger.delivered as l where audience = {audience} and is_member
        and not exists (select 1 from ledger.outbox as o where o.audience = {audience} and o.person_key = l.person_key)
)
"""
_OPTIONS = {"csv": "format csv, header", "jsonl": "format json"}


class Membership:
    """The members that an audience has at a destination once the ledger's current plan is done."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, audience: str) -> None:
        self._db = connection
        self._members = _MEMBERS.format(audience=quote(audience))

    def write(self, path: Path, kind: FileFormat, traits: list[str]) -> int:
        """Write the members into an existing file, in the order of their keys. Returns how many.

        Columns: `PROOF_COLUMNS`, then the payload's `traits`. Raises OSError when the disk refuses.
        """
        reading = "->>" if kind == "csv" else "->"
        columns = ", ".join([*PROOF_COLUMNS, *(f'payload{reading}{quote(trait)} as "{trait}"' for trait in traits)])
        try:
            written = self._db.execute(
                f"copy (select {columns} from ({self._members}) order by person_key)"
                f" to {quote(path)} ({_OPTIONS[kind]}, use_tmp_file false)"
            ).fetchone()
        except duckdb.IOException as error:
            raise OSError(str(error).splitlines()[0]) from error
        return int(written[0]) if written else 0
