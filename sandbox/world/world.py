"""The pretend lender with a clock: opens, ticks, and hands out its systems' tables and its truth."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from lendloop.errors import ConfigurationError
from lendloop.locks import file_lock
from sandbox.world.ahead import ahead
from sandbox.world.changes import Changes, compare
from sandbox.world.costs import COSTS, write_costs
from sandbox.world.ledger_db import LedgerDatabase
from sandbox.world.people import START
from sandbox.world.store import State, Store, generation_name
from sandbox.world.survey_files import FOLDER as SURVEYS
from sandbox.world.survey_files import write_surveys
from sandbox.world.units import DAY, EPOCH
from sandbox.world.view import view_world

MODEL = 6
"""Grows when the same seed would give another world: older folders are then made anew."""
LEDGER_TABLES = (
    "m_office",
    "m_product_loan",
    "m_client",
    "m_loan",
    "m_loan_transaction",
    "m_loan_repayment_schedule",
    "m_loan_arrears_aging",
    "m_savings_account",
    "m_savings_account_transaction",
)
SYSTEM_TABLES = ("crm_contacts", "crm_deals", "support_tickets", "support_users", "support_ticket_events")
TRUTH_TABLES = ("people", "person_sources", "contactability", "loans")
SURVEY_TABLE = "survey_responses"
_FILES = frozenset((*LEDGER_TABLES, *SYSTEM_TABLES, SURVEY_TABLE, *(f"truth_{name}" for name in TRUTH_TABLES)))
_LOCK_TIMEOUT_S = 600.0
LARGE, LARGE_YEARS = 250_000, 4


def years_of(customers: int) -> int:
    """Years of history that a lender of this size has: a large one did not become so in a year."""
    return LARGE_YEARS if customers >= LARGE else 1


class World:
    """One world in one folder, with its ledger in a database. Make it with `World.open`.

    Threads may share it; processes take turns with a file lock, and see each other's ticks after `refresh`.
    """

    def __init__(self, store: Store, ledger: LedgerDatabase, ledger_url: str, state: State) -> None:
        self._store = store
        self._ledger = ledger
        self._ledger_url = ledger_url
        self._state = state
        self._tables: dict[str, pa.Table] = {}
        self._guard = threading.RLock()

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        customers: int = 20_000,
        seed: int = 7,
        years: int | None = None,
        ledger_url: str | None = None,
    ) -> World:
        """Open the world in `folder`, or make a new one, and bring its ledger to the same moment.

        `years` of history lie before its first day; without them as many as `years_of` says. Raises ConfigurationError
        when the folder holds another world (customers, seed, years), or the database a ledger that is not the sandbox's.
        """
        years = years_of(customers) if years is None else years
        if customers < 1 or years < 1:
            raise ConfigurationError(
                f"a world of {customers} customers and {years} years can't be made: give at least 1 of each"
            )
        folder = Path(folder).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        url = ledger_url or f"sqlite:///{folder / 'ledger.sqlite'}"
        store, ledger = Store(folder), LedgerDatabase(url)
        with file_lock(folder / "world.lock", "opening the sandbox's world", _LOCK_TIMEOUT_S):
            state = store.state()
            if state and (state.customers, state.seed, state.years) != (customers, seed, years):
                raise ConfigurationError(
                    f"{folder} holds a world of {_described(state.customers, state.seed, state.years)}, not "
                    f"{_described(customers, seed, years)}: ask for that one, or give or empty another folder"
                )
            marker = ledger.marker()
            as_of = state.as_of if state else START
            same = {"customers": customers, "seed": seed, "years": years, "model": MODEL}
            ours = marker is not None and all(marker.get(key) == value for key, value in same.items())
            if state and ours and marker and marker["as_of"] > as_of:
                as_of = int(marker["as_of"])
            is_behind = not ours or marker is None or marker["as_of"] != as_of
            if not state or state.model != MODEL or state.as_of != as_of or not store.has_all(state, _FILES):
                state = _state(customers, seed, years, as_of)
                _make(store, state, ledger if is_behind else None)
            elif is_behind:
                ledger.write_all(((name, store.table(state, name)) for name in LEDGER_TABLES), _marker(state))
            _write_files(store, state)
        return cls(store, ledger, url, state)

    @property
    def as_of(self) -> datetime:
        """The world's clock, UTC."""
        return _moment(self._state)

    @property
    def version(self) -> int:
        """1 when new, one more with every day."""
        return self._state.version

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger's database."""
        return self._ledger_url

    @property
    def costs_file(self) -> Path:
        """The CSV file of what finance says each month cost."""
        return self._store.folder / COSTS

    @property
    def survey_folder(self) -> Path:
        """The folder of survey exports and of a partner's list."""
        return self._store.folder / SURVEYS

    @property
    def customers(self) -> int:
        """How many people the world started with."""
        return self._state.customers

    @property
    def seed(self) -> int:
        """What the world was drawn from."""
        return self._state.seed

    def table(self, name: str) -> pa.Table:
        """A table of the CRM, of support or of the ledger as it stands. Raises KeyError for an unknown name."""
        if name not in SYSTEM_TABLES and name not in LEDGER_TABLES:
            raise KeyError(f"no table {name!r}: there are {', '.join((*SYSTEM_TABLES, *LEDGER_TABLES))}")
        return self._load(name)

    def truth(self) -> dict[str, pa.Table]:
        """What is really so: people, person_sources, contactability, loans (see `truth`)."""
        return {name: self._load(f"truth_{name}") for name in TRUTH_TABLES}

    def tick(self, days: int = 1) -> dict[str, Any]:
        """Let days pass and the systems change. Returns as_of, version, days, and rows new, changed and deleted by table.

        Raises ConfigurationError for less than a day.
        """
        if days < 1:
            raise ConfigurationError(f"the clock can't move {days} days: give at least 1")
        with self._guard, file_lock(self._store.folder / "world.lock", "moving the sandbox's clock", _LOCK_TIMEOUT_S):
            self.refresh()
            old = self._state
            as_of = old.as_of + days * DAY
            changes: dict[str, Changes] = {}
            counted: dict[str, dict[str, int]] = {}

            def compared() -> Iterator[tuple[str, pa.Table]]:
                for name, table in ahead(view_world(old.customers, old.seed, as_of, old.years), 1):
                    if name in LEDGER_TABLES or name in SYSTEM_TABLES:
                        change = compare(name, self._store.table(old, name), table)
                        counted[name] = change.counts()
                        if name in LEDGER_TABLES:
                            changes[name] = change
                    yield name, table

            state = _state(old.customers, old.seed, old.years, as_of)
            for _ in self._store.write(compared(), state.generation):
                pass
            self._ledger.apply(changes, _marker(state), lambda name: self._store.table(state, name))
            self._store.point(state)
            _write_files(self._store, state)
            self._state, self._tables = state, {}
        return {"as_of": self.as_of.isoformat(), "version": self.version, "days": days, "changes": counted}

    def refresh(self) -> bool:
        """See what another process ticked; whether there was anything."""
        with self._guard:
            state = self._store.state()
            if state is None or state == self._state:
                return False
            self._state, self._tables = state, {}
            return True

    def _load(self, name: str) -> pa.Table:
        with self._guard:
            if name not in self._tables:
                self._tables[name] = self._store.table(self._state, name)
            return self._tables[name]


def _state(customers: int, seed: int, years: int, as_of: int) -> State:
    version = 1 + (as_of - START) // DAY
    return State(customers, seed, MODEL, as_of, version, generation_name(version, os.getpid()), years)


def _make(store: Store, state: State, ledger: LedgerDatabase | None) -> None:
    """Write the state's tables, and a ledger that is behind it at the same time."""
    view = view_world(state.customers, state.seed, state.as_of, state.years)
    tables = ahead(store.write(view, state.generation), len(_FILES))
    if ledger:
        ledger.write_all((table for table in tables if table[0] in LEDGER_TABLES), _marker(state))
    for _ in tables:
        pass
    store.point(state)


def _write_files(store: Store, state: State) -> None:
    """What people keep in files: finance's costs, surveys, a partner's list."""
    write_costs(store.folder / COSTS, store.table(state, "m_loan"), _moment(state).date())
    write_surveys(store.folder / SURVEYS, store.table(state, SURVEY_TABLE))


def _moment(state: State) -> datetime:
    return EPOCH + timedelta(microseconds=state.as_of)


def _described(customers: int, seed: int, years: int) -> str:
    return f"{customers} customers with seed {seed}" + (f" and {years} years" if years > 1 else "")


def _marker(state: State) -> dict[str, int]:
    known = {"customers": state.customers, "seed": state.seed, "years": state.years}
    return {**known, "model": state.model, "as_of": state.as_of}
