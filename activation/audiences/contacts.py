"""Where a candidate can be reached: addresses and profile, with the sureness of the link to them.

Belongs here: temporary tables `link`, `contact` and `profile` of a selection. Not here: consent.
"""

from __future__ import annotations

import duckdb

from activation.audiences.definition import Audience
from activation.audiences.readers import has_table, quote
from lendloop.clock import Clock

SURE_LINK = "0.95"
"""The least probability with which a source record is taken to be this person's."""


def find_contacts(connection: duckdb.DuckDBPyConnection, audience: Audience, clock: Clock) -> None:
    """`contact`: the best address a candidate has on the audience's channel, and whether its link is sure."""
    links = "select null::varchar person_key, null::varchar source, null::varchar source_id, null::double probability limit 0"
    if has_table(connection, "published", "trusted", "map_customer_source"):
        links = (
            "select person_key, source, cast(source_id as varchar) source_id, max(probability) probability"
            " from published.trusted.map_customer_source"
            " where person_key in (select person_key from candidate)"
            " and (valid_to is null or cast(valid_to as timestamptz) > $as_of) group by all"
        )
    parameters = {"as_of": clock.as_of} if "$as_of" in links else {}
    connection.execute(f"create or replace temp table link as {links}", parameters)
    addresses = "select null::varchar person_key, null::varchar address, null::varchar address_hash, false sure limit 0"
    if _has_contacts(connection, "customer_contact"):
        addresses = (
            "select c.person_key, c.address, c.address_hash,"
            f" coalesce(link.probability >= {SURE_LINK}, false) as sure"
            " from contacts.contacts.customer_contact as c"
            " left join link on link.person_key = c.person_key and link.source = c.source"
            " and link.source_id = cast(c.source_id as varchar)"
            f" where c.channel = {quote(audience.channel)} and c.address is not null"
            " and c.person_key in (select person_key from candidate)"
            " qualify row_number() over (partition by c.person_key"
            " order by sure desc, c.is_primary desc, c.source, c.source_id, c.address) = 1"
        )
    connection.execute(f"create or replace temp table contact as {addresses}")
    profile = "select null::varchar person_key, null::varchar market, null::varchar first_name, null::varchar last_name, null::varchar language limit 0"
    if _has_contacts(connection, "customer_profile"):
        profile = (
            "select person_key, market, first_name, last_name, language from contacts.contacts.customer_profile"
            " where person_key in (select person_key from candidate)"
            " qualify row_number() over (partition by person_key order by market) = 1"
        )
    connection.execute(f"create or replace temp table profile as {profile}")


def _has_contacts(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    return has_table(connection, "contacts", "contacts", name)
