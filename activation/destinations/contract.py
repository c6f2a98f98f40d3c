"""What every destination is: its contract as data, the rows it takes, how it answers for each.

Belongs here: the protocol and its data classes. Not here: any vendor, any I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from lendloop.errors import LendloopError

State = Literal["accepted", "confirmed", "rejected", "unknown", "planned"]
"""How a row came back. `planned`: surely not taken, and worth another try in a later pass."""


FileFormat = Literal["csv", "jsonl"]
PROOF_COLUMNS = ("person_key", "audience_version", "snapshot", "consent_basis", "consent_decided_at", "send_id")
"""The columns that every export has, before those of its payload."""


@dataclass(frozen=True)
class Contract:
    """A destination's limits and manners, as its documentation gives them.

    `batch_rows` and `batch_bytes` bound one request; `wave_rows` is how many rows are sent between two
    writings of the ledger; `concurrency` is calls at once; `calls_per_s` by endpoint; `backoff_s` the waits between tries of one request.
    `confirmation`: `row` (each row's fate is known), `count` (only totals) or `never`.
    """

    name: str
    wave_rows: int
    batch_rows: int
    confirmation: Literal["row", "count", "never"]
    idempotent: bool
    can_remove: bool
    batch_bytes: int | None = None
    concurrency: int = 1
    calls_per_s: dict[str, float] = field(default_factory=dict)
    backoff_s: tuple[float, ...] = ()
    retry_statuses: frozenset[int] = frozenset()
    retry_after_header: str | None = None
    error_map: dict[int, str] = field(default_factory=dict)


class Row(NamedTuple):
    """One person on the way out. `payload` is the canonical JSON of the vendor's traits, empty for a removal.

    `membership_unsure`: whether the list must be told too, and not the profile only.
    """

    person_key: str
    identifier: str
    payload: str
    membership_unsure: bool = True


@dataclass(slots=True)
class Rows:
    """People on the way out, column by column, as in `Row`: thousands of them are four lists, not thousands of objects."""

    person_keys: list[str]
    identifiers: list[str]
    payloads: list[str]
    membership_unsure: list[bool]

    def __len__(self) -> int:
        return len(self.person_keys)

    def __iter__(self) -> Iterator[Row]:
        return map(Row, self.person_keys, self.identifiers, self.payloads, self.membership_unsure)

    def cut(self, first: int, end: int) -> Rows:
        """The rows from `first` up to, not including, `end`."""
        return Rows(
            self.person_keys[first:end], self.identifiers[first:end], self.payloads[first:end], self.membership_unsure[first:end]
        )  # fmt: skip

    def parts(self, size: int) -> Iterator[Rows]:
        """All rows in order, at most `size` at a time."""
        return (self.cut(at, at + size) for at in range(0, len(self), size))

    def where(self, kept: Iterable[bool]) -> Rows:
        """The rows at whose place `kept` is true."""
        marks = list(kept)
        if all(marks):
            return self
        return Rows(
            list(compress(self.person_keys, marks)), list(compress(self.identifiers, marks)),
            list(compress(self.payloads, marks)), list(compress(self.membership_unsure, marks)),
        )  # fmt: skip

    def of(self, person_keys: Sequence[str]) -> Rows:
        """The rows of these people."""
        if person_keys is self.person_keys:
            return self
        wanted = set(person_keys)
        return self.where(key in wanted for key in self.person_keys)


@dataclass(frozen=True, slots=True)
class RowResult:
    """How some rows came back: all of them in one way."""

    person_keys: Sequence[str]
    state: State
    error: str | None = None


class Membership(Protocol):
    """Everyone who is at a file destination once a sync is done, from wherever that is kept."""

    def write(self, path: Path, kind: FileFormat, traits: list[str]) -> int:
        """Write them into an existing file: `PROOF_COLUMNS`, then `traits`. Returns the rows. Raises OSError."""
        ...


class RemoteListGoneError(LendloopError):
    """The list was deleted at the vendor."""


class Destination(Protocol):
    """A vendor's list. Neither function is called with an empty batch; each answers for every row it can.

    Raises PermanentError for what no retry mends, and stops there; `RemoteListGoneError` when the
    list does not exist any more. `requests` counts calls that reached the network.
    """

    contract: Contract

    @property
    def requests(self) -> int: ...

    async def find_or_create(self, name: str) -> str:
        """The remote id of the list of that name, made when there is none."""
        ...

    async def upsert(self, remote_id: str, rows: Rows) -> list[RowResult]: ...

    async def remove(self, remote_id: str, rows: Rows) -> list[RowResult]: ...

    async def count(self, remote_id: str) -> int | None:
        """Members as the destination counts them; None when it does not say."""
        ...

    async def close(self) -> None: ...


class FileDestination(Protocol):
    """A destination that takes the whole membership at once and can be read back: it confirms by row."""

    contract: Contract

    def replace(self, members: Membership, traits: list[str], manifest: dict[str, object]) -> int:
        """Write the membership in place of the last one, atomically. Returns the rows written."""
        ...
