"""A careful matcher of records, to show that the world's people can be told apart and put together.

It is no part of the product and knows nothing of the truth: exact identifiers, with a name or a
date of birth that agrees.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from difflib import SequenceMatcher
from itertools import combinations

import phonenumbers

from sandbox.world import World

Record = tuple[str, str]


@dataclass(frozen=True)
class Known:
    record: Record
    name: str
    phone: str | None
    email: str | None
    born: str | None
    national_id: str | None = None
    client_id: str | None = None


def _plain(text: str | None) -> str:
    folded = unicodedata.normalize("NFKD", text or "").encode("ascii", "ignore").decode().lower()
    return " ".join("".join(c for c in folded if c.isalnum() or c == " ").split())


def _e164(phone: str | None, market: str | None) -> str | None:
    try:
        parsed = phonenumbers.parse(phone or "", market)
    except phonenumbers.NumberParseException:
        return None
    return (
        phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
        if phonenumbers.is_valid_number(parsed)
        else None
    )


def _email(email: str | None) -> str | None:
    cleaned = (email or "").strip().lower()
    return cleaned if cleaned.count("@") == 1 else None


def _born(value: object) -> str | None:
    try:
        return date.fromisoformat(str(value)).isoformat()
    except ValueError:
        return None


def _records(world: World) -> list[Known]:
    offices = {row["id"]: row["external_id"] for row in world.table("m_office").to_pylist()}
    regions = {f"{c['id']}": offices.get(c["office_id"]) for c in world.table("m_client").to_pylist()}
    found = [
        Known(
            ("crm", row["id"]),
            _plain(f"{row['firstname']} {row['lastname']}"),
            _e164(row["phone"], row["country"]),
            _email(row["email"]),
            _born(row["date_of_birth"]),
            row["national_id"],
            row["ledger_client_id"],
        )
        for row in world.table("crm_contacts").to_pylist()
        if not row["archived"]
    ]
    found += [
        Known(
            ("ledger", str(row["id"])),
            _plain(row["display_name"]),
            _e164(row["mobile_no"], offices.get(row["office_id"])),
            _email(row["email_address"]),
            _born(row["date_of_birth"]),
            client_id=str(row["id"]),
        )
        for row in world.table("m_client").to_pylist()
    ]
    for row in world.table("support_users").to_pylist():
        if row["role"] == "end-user":
            region = regions.get(row["external_id"])
            tries = [_e164(row["phone"], r) for r in ([region] if region else ["NG", "GH", "BR", "CI"])]
            phone = next((number for number in tries if number), None)
            found.append(
                Known(
                    ("support", str(row["id"])),
                    _plain(row["name"]),
                    phone,
                    _email(row["email"]),
                    None,
                    client_id=row["external_id"],
                )
            )
    return found


def _same_name(a: Known, b: Known) -> bool:
    first = SequenceMatcher(None, a.name.split(" ")[0], b.name.split(" ")[0]).ratio()
    return first > 0.6 and SequenceMatcher(None, a.name, b.name).ratio() > 0.7


def _pairs(records: list[Known], key: str) -> Iterable[tuple[Known, Known]]:
    groups: dict[str, list[Known]] = defaultdict(list)
    for record in records:
        value = getattr(record, key)
        if value:
            groups[value].append(record)
    for group in groups.values():
        yield from combinations(group, 2)


def link(world: World) -> dict[Record, Record]:
    """Each live record and the representative of the person it is thought to belong to."""
    records = _records(world)
    parent = {known.record: known.record for known in records}

    def root(record: Record) -> Record:
        while parent[record] != record:
            record = parent[record]
        return record

    for a, b in _pairs(records, "national_id"):
        parent[root(a.record)] = root(b.record)
    for key in ("client_id", "phone", "email"):
        for a, b in _pairs(records, key):
            ages_agree = (
                a.born == b.born if a.born and b.born else key == "client_id" or "support" in (a.record[0], b.record[0])
            )
            if ages_agree and _same_name(a, b):
                parent[root(a.record)] = root(b.record)
    return {record: root(record) for record in parent}
