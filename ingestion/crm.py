"""HubSpot, the CRM: contacts, and applications as deals, into Arrow.

The first load and the comparison read the list endpoint; increments read the search endpoint
by the modified property, around its ceiling of 10,000 results; archived rows come from the list with
`archived=true`, every time. Shapes from HubSpot's API reference. Which property means what: README.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from ingestion.columns import apart, column_of
from ingestion.contract import column_name
from ingestion.http import VendorApi
from ingestion.pipeline import dlt_for
from ingestion.tables import CRM, RawTable
from lendloop.errors import ConfigurationError
from lendloop.settings import Settings

COMPARE_EVERY_DAYS = 7
LIST_LIMIT, SEARCH_LIMIT = 100, 200
SEARCH_CEILING = 10_000
BLOCK_ROWS = 5_000

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
        self._objects = {name: self._describe(name, columns) for name, columns in mapping.items()}

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[CrmReader]:
        """Sign in and ask which properties there are. Raises ConfigurationError, TransientError."""
        settings.require("crm_url", "crm_token")
        mapping = mapped_properties(settings.crm_properties)
        dlt_for(settings.home)
        from dlt.sources.helpers.rest_client.auth import BearerTokenAuth

        api = VendorApi(
            settings.home,
            str(settings.crm_url),
            BearerTokenAuth(settings.secret("crm_token")),
            vendor="HubSpot",
            settings_named="LENDLOOP_CRM_TOKEN, LENDLOOP_CRM_URL",
        )
        try:
            yield cls(api, mapping)
        finally:
            api.close()

    def _describe(self, name: str, columns: dict[str, str]) -> _Object:
        listed = self.api.get(f"crm/v3/properties/{name}").get("results", [])
        there = {str(one["name"]) for one in listed}
        if absent := [f"{column} ({vendor})" for column, vendor in columns.items() if there and vendor not in there]:
            self.notes.append(f"{name}: no such property in HubSpot, NULL: {', '.join(absent)}")
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

    def follows_cursor(self, table: RawTable) -> bool:
        return table.cursor is not None

    def compare_every_days(self, table: RawTable) -> int | None:
        """An erasure shows only in the total: everything is listed when that is off, and once a week all the same."""
        return COMPARE_EVERY_DAYS

    def read(self, table: RawTable, floor: datetime | int | None) -> Iterator[tuple[pa.Table, bool]]:
        """Live rows from `floor` on (all without one), then every archived row."""
        what = self._objects[table.name]
        live = self._listed(table.name, what, archived=False)
        if isinstance(floor, datetime):
            live = self._searched(table.name, what, floor)
        for some, deleted in ((live, False), (self._listed(table.name, what, archived=True), True)):
            for block in _blocks(some):
                rows, unreadable = apart(block, "properties")
                if rows:
                    yield _table(rows, what), deleted
                yield unreadable, deleted

    def weight(self, table: RawTable) -> int | None:
        """Live rows, as the search endpoint counts them."""
        total = self.api.post(f"crm/v3/objects/{table.name}/search", {"filterGroups": [], "limit": 1}).get("total")
        return None if total is None else int(total)

    def keys(self, table: RawTable) -> Iterator[pa.Table]:
        """Not used: rows are listed whole."""
        return iter(())

    def by_key(self, table: RawTable, keys: pa.Table) -> Iterator[pa.Table]:
        """Not used: rows are listed whole."""
        return iter(())

    def _listed(self, name: str, what: _Object, *, archived: bool) -> Iterator[Any]:
        params: dict[str, Any] = {"limit": LIST_LIMIT, "archived": str(archived).lower()}
        params["properties"] = ",".join(what.asked)
        while True:
            answer = self.api.get(f"crm/v3/objects/{name}", **params)
            yield from answer.get("results", [])
            after = (answer.get("paging") or {}).get("next", {}).get("after")
            if after is None:
                return
            params["after"] = after

    def _searched(self, name: str, what: _Object, floor: datetime) -> Iterator[Any]:
        """Every live row modified at `floor` or later, by modified time.

        A search ends at 10,000 results: it starts again at the last time seen, and where one time alone fills a
        search, that time is read by id before it goes on behind it.
        """
        modified = what.columns["updated_at"]
        start, operator = _milliseconds(floor), "GTE"
        while True:
            count, last = 0, start
            for row in self._search(name, what, [_filter(modified, operator, start)], modified):
                count, last = count + 1, _modified(row, modified) or last
                yield row
            if count < SEARCH_CEILING:
                return
            if last == start and operator == "GTE":
                yield from self._of_one_time(name, what, modified, start)
                operator = "GT"
            elif last == start:
                return
            else:
                start, operator = last, "GTE"

    def _of_one_time(self, name: str, what: _Object, modified: str, moment: int) -> Iterator[Any]:
        last_id = "0"
        while True:
            filters = [_filter(modified, "EQ", moment), _filter("hs_object_id", "GT", last_id)]
            count = 0
            for row in self._search(name, what, filters, "hs_object_id"):
                count, last_id = count + 1, str(_value(row, "id") or last_id)
                yield row
            if count < SEARCH_CEILING:
                return

    def _search(self, name: str, what: _Object, filters: list[dict[str, str]], by: str) -> Iterator[Any]:
        body: dict[str, Any] = {
            "filterGroups": [{"filters": filters}],
            "sorts": [{"propertyName": by, "direction": "ASCENDING"}],
            "properties": what.asked,
            "limit": SEARCH_LIMIT,
        }
        while True:
            answer = self.api.post(f"crm/v3/objects/{name}/search", body)
            yield from answer.get("results", [])
            after = (answer.get("paging") or {}).get("next", {}).get("after")
            if after is None or int(after) >= SEARCH_CEILING:
                return
            body["after"] = after


def _filter(name: str, operator: str, value: object) -> dict[str, str]:
    return {"propertyName": name, "operator": operator, "value": str(value)}


def _milliseconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)


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


def _blocks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    block: list[Any] = []
    for row in rows:
        block.append(row)
        if len(block) == BLOCK_ROWS:
            yield block
            block = []
    if block:
        yield block


def _table(rows: list[dict[str, Any]], what: _Object) -> pa.Table:
    """Rows as columns; HubSpot's empty text is no value."""
    properties = [row.get("properties") or {} for row in rows]
    columns: dict[str, pa.Array] = {"id": column_of([row.get("id") for row in rows], pa.string())}
    for column, name in {**what.columns, **what.extra}.items():
        fallback = {"created_at": "createdAt", "updated_at": "updatedAt"}.get(column)
        values = [one.get(name) for one in properties]
        if fallback:
            values = [value or row.get(fallback) for value, row in zip(values, rows, strict=True)]
        columns[column] = column_of([None if value == "" else value for value in values], pa.string())
    columns["is_archived"] = pa.array([bool(row.get("archived")) for row in rows], pa.bool_())
    return pa.table(columns)
