"""Payoff quotes: made once, kept, and never changed by a later plan while they are valid.

Belongs here: amounts, expiry, offer ids. Not here: who may have one.
"""

from __future__ import annotations

import hashlib
from typing import Any

import duckdb

from activation.audiences.definition import Audience
from activation.audiences.readers import business_dates_value, market_zones
from lendloop.clock import Clock
from lendloop.settings import Settings

BUSINESS_DATE = "coalesce(cast($dates as map(varchar, date))[profile.market], $today)"
"""SQL: the business date of a candidate's market; its parameters come from `date_values`."""
_MINOR_UNITS = {"XOF": 0, "XAF": 0, "UGX": 0, "RWF": 0, "JPY": 0}
"""Decimal places of currencies that have no two; the others round to cents."""


def quote_offers(connection: duckdb.DuckDBPyConnection, audience: Audience, settings: Settings, clock: Clock) -> None:
    """Make a quote for everyone desired who has none that is valid; those that are stay as they are."""
    offer = audience.offer
    if offer is None:
        return
    inner, outer = hmac_pads(settings.identifier_key())
    owed = "cast(candidate.owed as decimal(28, 6)) * $share"
    amount = " ".join(
        f"when candidate.currency_code = '{code}' then round({owed}, {n})" for code, n in _MINOR_UNITS.items()
    )
    date_ = BUSINESS_DATE
    connection.execute(
        f"""
        insert into state.quote
        select
            candidate.person_key,
            'q' || sha256($outer || unhex(sha256($inner || encode($name || ':' || candidate.person_key || ':' || {date_}::varchar))))[1:20],
            case {amount} else round({owed}, 2) end,
            candidate.currency_code, $as_of, {date_}, {date_} + $valid_days::integer, $share, $version
        from (select person_key, "{offer.of}" as owed, "{offer.currency}" as currency_code from candidate) as candidate
        join decision on decision.person_key = candidate.person_key and len(decision.reasons) = 0
        left join profile on profile.person_key = candidate.person_key
        where not exists (
            select 1 from state.quote as valid where valid.person_key = candidate.person_key and valid.expires_on >= {date_}
        )
        """,
        {
            "inner": inner,
            "outer": outer,
            "name": audience.name,
            "share": offer.share,
            "as_of": clock.as_of,
            "valid_days": offer.valid_days,
            "version": audience.version,
            **date_values(connection, clock),
        },
    )


def date_values(connection: duckdb.DuckDBPyConnection, clock: Clock) -> dict[str, Any]:
    """Values of the parameters in `BUSINESS_DATE`."""
    return {"dates": business_dates_value(clock, market_zones(connection)), "today": clock.business_date()}


def hmac_pads(key: bytes) -> tuple[bytes, bytes]:
    """The two keys of HMAC-SHA256, so that SQL can compute it over a column."""
    block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)
