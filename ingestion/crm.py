"""HubSpot, the CRM: contacts, and applications as deals, into Arrow.

The first load and the comparison read the list endpoint; increments read the search endpoint
by the modified property, around its ceiling of 10,000 results; archived rows come from the list with
`archived=true`, every time. HubSpot counts what it finds: a listing that falls short of the count is read again, and
then refused. Shapes from HubSpot's API reference. Which property means what: README.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingestion.answers import UNTRUSTED
from ingestion.columns import Ids, apart, as_text, column_of, id_of
from ingestion.contract import column_name
from ingestion.http import Body, Request, VendorApi
from ingestion.tables import CRM, RawTable
from lendloop.errors import ConfigurationError, TransientError
from lendloop.settings import Settings

COMPARE_EVERY_DAYS = 7
LIST_LIMIT, SEARCH_LIMIT = 100, 200
SEARCH_CEILING = 10_000
BLOCK_ROWS = 20_000
READINGS = 3
"""How often a listing that falls short of its count is read, before it is refused."""

PROPERTIES: dict[str, dict[str, str]] = {
    "contacts": {
        "first_name": "firstname",
        "last_name": "lastname",
        "phone": "phone",
        "email": "email",
        "market": "country",
        "date_of_birth": "date_of_birth",
        "national_id": "national_id",
        "ledger_client_id": "ledger_client_id",
        "sms_consent": "sms_consent",
        "sms_consent_at": "sms_consent_at",
        "email_consent": "email_consent",
        "email_consent_at": "email_consent_at",
        "do_not_contact": "do_not_contact",
        "is_fraud": "fraud_flag",
        "is_deceased": "deceased",
        "has_dispute": "in_dispute",
        "language": "hs_language",
        "lifecycle_stage": "lifecyclestage",
        "eligible_at": "eligible_at",
        "offered_at": "offered_at",
        "created_at": "createdate",
        "updated_at": "lastmodifieddate",
    },
    "deals": {
        "contact_id": "contact_id",
        "ledger_loan_id": "ledger_loan_id",
        "product": "loan_product",
        "market": "country",
        "currency": "deal_currency_code",
        "stage": "dealstage",
        "requested_amount": "amount",
        "approved_amount": "approved_amount",
        "applied_at": "applied_at",
        "kyc_completed_at": "kyc_completed_at",
        "approved_at": "approved_at",
        "declined_at": "declined_at",
        "accepted_at": "accepted_at",
        "disbursed_at": "disbursed_at",
        "created_at": "createdate",
        "updated_at": "hs_lastmodifieddate",
    },
}
"""HubSpot's property for each column of raw, by object."""
NOT_TAKEN = frozenset({"dealname", "createdate", "lastmodifieddate"})
"""Properties beyond the mapped ones that raw has no use for; so are all that begin with `hs_`."""


def mapped_properties(overrides: dict[str, str]) -> dict[str, dict[str, str]]:
    """The properties by object and column, with the settings' overrides (`contacts.sms_consent`: name).

    Raises ConfigurationError for a column that does not exist.
    """
    mapping = {name: dict(columns) for name, columns in PROPERTIES.items()}
    for place, vendor_name in overrides.items():
        kind, _, column = place.partition(".")
        if column not in mapping.get(kind, {}):
            known = ", ".join(f"{name}.{one}" for name, columns in PROPERTIES.items() for one in columns)
            raise ConfigurationError(f"LENDLOOP_CRM_PROPERTIES names {place!r}; known are: {known}")
        mapping[kind][column] = vendor_name
    return mapping


@dataclass(frozen=True)
class _Object:
    """What is asked of one object: the property of each raw column, the further ones, the modified property."""

    columns: dict[str, str]
    extra: dict[str, str]

    @property
    def asked(self) -> list[str]:
        return [*dict.fromkeys([*self.columns.values(), *self.extra.values()])]


class CrmReader:
    """The portal's contacts and deals. Open it with `with CrmReader.open(settings)`."""

    lists_keys = False

    def __init__(self, api: VendorApi, mapping: dict[str, dict[str, str]]) -> None:
        self.api = api
        self.notes: list[str] = []
        self._lacking: dict[str, list[str]] = {}
        self._objects = {name: self._describe(name, columns) for name, columns in mapping.items()}

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[CrmReader]:
        """Sign in and ask which properties there are. Raises ConfigurationError, TransientError."""
        settings.require("crm_url", "crm_token")
        mapping = mapped_properties(settings.crm_properties)
        api = VendorApi(
            str(settings.crm_url),
            headers={"Authorization": f"Bearer {settings.secret('crm_token')}"},
            vendor="HubSpot",
            settings_named="LENDLOOP_CRM_TOKEN, LENDLOOP_CRM_URL",
        )
        try:
            yield cls(api, mapping)
        finally:
            api.close()

    def _describe(self, name: str, columns: dict[str, str]) -> _Object:
        listed = self.api.call(Request(f"crm/v3/properties/{name}")).get("results", [])
        there = {str(one["name"]) for one in listed}
        absent = {column: vendor for column, vendor in columns.items() if there and vendor not in there}
        self._lacking[name] = list(absent)
        if absent:
            told = ", ".join(f"{column} ({vendor})" for column, vendor in absent.items())
            self.notes.append(f"{name}: no such property in HubSpot, NULL: {told}")
        taken = {*columns.values(), *NOT_TAKEN}
        extra = {
            column_name(str(one["name"])): str(one["name"])
            for one in listed
            if not one.get("hubspotDefined") and one["name"] not in taken and not str(one["name"]).startswith("hs_")
        }
        table = next(table for table in CRM if table.name == name)
        return _Object(columns, {(f"x_{key}" if key in table.columns else key): value for key, value in extra.items()})

    def has(self, table: RawTable) -> bool:
        return table.name in self._objects

    def lacks(self, table: RawTable) -> list[str]:
        return self._lacking[table.name]

    def follows_cursor(self, table: RawTable) -> bool:
        return table.cursor is not None

    def compare_every_days(self, table: RawTable) -> int | None:
        """An erasure shows only in the total: everything is listed when that is off, and once a week all the same."""
        return COMPARE_EVERY_DAYS

    def read(self, table: RawTable, floor: datetime | int | None) -> Iterator[tuple[pa.Table, bool]]:
        """Live rows from `floor` on (all without one), then every archived row.

        Raises TransientError when fewer live rows come than HubSpot counts.
        """
        what = self._objects[table.name]
        live = self._live(table.name, what)
        if isinstance(floor, datetime):
            live = self._searched(table.name, what, floor)
        for pages, deleted in ((live, False), (self._listed(table.name, what, archived=True), True)):
            for batch in _batches(pages, what):
                yield batch, deleted

    def weight(self, table: RawTable) -> int | None:
        """Live rows, as the search endpoint counts them."""
        return self._total(table.name)

    def count(self, table: RawTable, first: datetime | None, end: datetime | None) -> int:
        """How many live rows were created from `first` until before `end`, in one call.

        Raises TransientError when HubSpot does not say it.
        """
        total = self._total(table.name, self._created(table, first, end))
        if total is None:
            raise TransientError(f"HubSpot does not say how many {table.name} it finds")
        return total

    def listed(
        self, table: RawTable, first: datetime | None, end: datetime | None, columns: tuple[str, ...]
    ) -> Iterator[pa.Table]:
        """These columns of the live rows created from `first` until before `end`, page by page."""
        what = _Object({name: self._objects[table.name].columns[name] for name in columns}, {})
        for page in self._by_id(table.name, what, self._created(table, first, end)):
            yield from _batches(iter([page]), what)

    def _created(self, table: RawTable, first: datetime | None, end: datetime | None) -> list[dict[str, str]]:
        created = self._objects[table.name].columns["created_at"]
        bounds = (("GTE", first), ("LT", end))
        return [_filter(created, operator, _milliseconds(moment)) for operator, moment in bounds if moment is not None]

    def _total(self, name: str, filters: list[dict[str, str]] | None = None) -> int | None:
        groups = [{"filters": filters}] if filters else []
        answer = self.api.call(Request(f"crm/v3/objects/{name}/search", body={"filterGroups": groups, "limit": 1}))
        return None if answer.get("total") is None else int(answer["total"])

    def keys(self, table: RawTable) -> Iterator[pa.Table]:
        """Not used: rows are listed whole."""
        return iter(())

    def by_key(self, table: RawTable, keys: pa.Table) -> Iterator[pa.Table]:
        """Not used: rows are listed whole."""
        return iter(())

    def _live(self, name: str, what: _Object) -> Iterator[list[Any]]:
        """Every live row. What was created or archived meanwhile is allowed for: the lower count is held against it."""
        seen, before = Ids(), self._total(name)
        for _ in range(READINGS):
            for page in self._listed(name, what, archived=False):
                seen.add(page)
                yield page
            counts = [count for count in (before, self._total(name)) if count is not None]
            if not counts or seen.count() >= min(counts):
                return
        raise _short(name, seen.count(), min(counts))

    def _listed(self, name: str, what: _Object, *, archived: bool) -> Iterator[list[Any]]:
        params: dict[str, Any] = {"limit": LIST_LIMIT, "archived": str(archived).lower()}
        params["properties"] = ",".join(what.asked)
        path = f"crm/v3/objects/{name}"

        def following(answer: Body) -> Request | None:
            after = _after(answer)
            return None if after is None else Request(path, {**params, "after": after}, rows="results")

        for answer in self.api.pages(Request(path, params, rows="results"), following):
            yield _rows(answer)

    def _searched(self, name: str, what: _Object, floor: datetime) -> Iterator[list[Any]]:
        """Every live row modified at `floor` or later, by modified time.

        A search ends at 10,000 results: it starts again at the last time seen, and where one time alone fills a
        search, that time is read by id before it goes on behind it.
        """
        modified = what.columns["updated_at"]
        start, operator = _milliseconds(floor), "GTE"
        while True:
            seen, last = Ids(), start
            for page in self._search(name, what, [_filter(modified, operator, start)], modified, seen):
                last = max([last, *(moment for row in page if (moment := _modified(row, modified)) is not None)])
                yield page
            if seen.count() < SEARCH_CEILING:
                return
            if last == start and operator == "GTE":
                yield from self._by_id(name, what, [_filter(modified, "EQ", start)])
                operator = "GT"
            elif last == start:
                return
            else:
                start, operator = last, "GTE"

    def _by_id(self, name: str, what: _Object, filters: list[dict[str, str]]) -> Iterator[list[Any]]:
        """Every live row that some filters let through, by id, which goes around the ceiling."""
        last_id = "0"
        while True:
            seen = Ids()
            after = [*filters, _filter("hs_object_id", "GT", last_id)]
            for page in self._search(name, what, after, "hs_object_id", seen):
                last_id = next((found for row in reversed(page) if (found := id_of(row))), last_id)
                yield page
            if seen.count() < SEARCH_CEILING:
                return

    def _search(
        self, name: str, what: _Object, filters: list[dict[str, str]], by: str, seen: Ids
    ) -> Iterator[list[Any]]:
        """The pages of one search, up to its ceiling. Rows that are modified meanwhile move the others from page to
        page: what is short of the total is read again."""
        body: Body = {
            "filterGroups": [{"filters": filters}],
            "sorts": [{"propertyName": by, "direction": "ASCENDING"}],
            "properties": what.asked,
            "limit": SEARCH_LIMIT,
        }
        path = f"crm/v3/objects/{name}/search"

        def following(answer: Body) -> Request | None:
            after = _after(answer)
            if after is None or int(after) >= SEARCH_CEILING:
                return None
            return Request(path, body={**body, "after": after}, rows="results")

        for _ in range(READINGS):
            totals = [SEARCH_CEILING]
            for answer in self.api.pages(Request(path, body=body, rows="results"), following):
                page = _rows(answer)
                seen.add(page)
                totals.append(int(answer.get("total", 0)))
                yield page
            if seen.count() >= min(totals):
                return
        raise _short(name, seen.count(), min(totals))


def _short(name: str, found: int, total: int) -> TransientError:
    return TransientError(
        f"HubSpot counts {total} {name} and shows {found}, {READINGS} times: a page is missing, nothing was taken; "
        f"the next pass reads again"
    )


def _rows(answer: Body) -> list[Any]:
    rows = answer.get("results", [])
    if not isinstance(rows, list):
        raise TransientError("HubSpot answered a page whose results are no list: nothing was taken")
    return rows


def _after(answer: Body) -> Any:
    return ((answer.get("paging") or {}).get("next") or {}).get("after")


def _filter(name: str, operator: str, value: object) -> dict[str, str]:
    return {"propertyName": name, "operator": operator, "value": str(value)}


def _milliseconds(moment: datetime) -> int:
    return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _value(row: object, name: str) -> Any:
    return row.get(name) if isinstance(row, dict) else None


def _modified(row: object, modified: str) -> int | None:
    """When a row was modified, in milliseconds; None where neither place of it tells."""
    for text in (_value(_value(row, "properties"), modified), _value(row, "updatedAt")):
        try:
            return _milliseconds(datetime.fromisoformat(str(text)))
        except ValueError:
            continue
    return None


def _batches(pages: Iterator[list[Any]], what: _Object) -> Iterator[pa.Table]:
    """Pages as columns, put together; rows that are no objects apart."""
    waiting: list[pa.Table] = []
    refused: list[pa.Table] = []
    held = 0
    for page in pages:
        rows, unreadable = apart(page, "properties")
        if unreadable.num_rows:
            refused.append(unreadable)
        if rows:
            waiting.append(_page(rows, what))
            held += len(rows)
        if held >= BLOCK_ROWS:
            yield _table(waiting, what)
            waiting, held = [], 0
    if waiting:
        yield _table(waiting, what)
    if refused:
        yield pa.concat_tables(refused)


_STAMPS = {"created_at": "createdAt", "updated_at": "updatedAt"}
"""Where a row says it beside its properties."""


def _page(rows: list[dict[str, Any]], what: _Object) -> pa.Table:
    """Rows as columns of text under HubSpot's names, as they came."""
    properties = [row.get("properties") or {} for row in rows]
    columns = [column_of([one.get(name) for one in properties], pa.string()) for name in what.asked]
    columns.append(column_of([_id(row.get("id")) for row in rows], pa.string()))
    columns += [column_of([row.get(name) for row in rows], pa.string()) for name in _STAMPS.values()]
    columns.append(pa.array([bool(row.get("archived")) for row in rows], pa.bool_()))
    return pa.Table.from_arrays(columns, [*(f"p {name}" for name in what.asked), "id", *_STAMPS.values(), "archived"])


def _table(pages: list[pa.Table], what: _Object) -> pa.Table:
    """Pages as one table under raw's names; HubSpot's empty text is no value."""
    block = pa.concat_tables(pages).combine_chunks()
    columns = {"id": block["id"]}
    for column, name in {**what.columns, **what.extra}.items():
        values = _filled(block[f"p {name}"])
        if column in _STAMPS:
            values = pc.coalesce(values, _filled(block[_STAMPS[column]]))
        columns[column] = values
    return pa.table({**columns, "is_archived": block["archived"]})


def _filled(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(values, ""), None, values)


def _id(value: object) -> object:
    """An id is a text or a whole number: a fraction or a list would stand for many."""
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    return f"{UNTRUSTED}{as_text(value)}"
