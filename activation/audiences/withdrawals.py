"""Who said no: they leave a destination in every pass, also in one whose plan may not start.

Belongs here: finding them in what is published. Not here: removing them (ledger, delivery).
"""

from __future__ import annotations

import duckdb

from activation.audiences.definition import Audience
from activation.audiences.readers import has_table, quote
from lendloop.settings import SourceName

SUPPRESSIONS: tuple[tuple[str, SourceName], ...] = (("fct_suppression", "crm"), ("fct_ticket_suppression", "support"))
"""Tables of trusted that name people to hold back, and the source each is made of."""


def find_withdrawn(connection: duckdb.DuckDBPyConnection, audience: Audience) -> None:
    """`withdrawn`: the keys, those before a merge or a split too, of everyone who may not be in the audience.

    Only a no counts, however old what says it is. That somebody has no permission, or that a table is not there, does not.
    """
    said = ["select null::varchar as person_key limit 0"]
    if has_table(connection, "published", "trusted", "dim_contact_permission"):
        said.append(
            "select person_key from published.trusted.dim_contact_permission"
            f" where channel = {quote(audience.channel)} and not coalesce(is_permitted, false)"
        )
    reasons = ", ".join(quote(reason) for reason in audience.exclude)
    said += [
        f"select person_key from published.trusted.{table} where reason in ({reasons})"
        for table, source in SUPPRESSIONS
        if source in audience.requires and has_table(connection, "published", "trusted", table)
    ]
    connection.execute(f"create or replace temp table withdrawn as {' union '.join(f'({sql})' for sql in said)}")
    if has_table(connection, "published", "trusted", "map_customer_source"):
        connection.execute(
            "insert into withdrawn select distinct earlier.person_key"
            " from published.trusted.map_customer_source as record"
            " inner join published.trusted.map_customer_source as earlier using (source, source_id)"
            " where record.valid_to is null and earlier.valid_to is not null"
            " and record.person_key in (select person_key from withdrawn)"
        )
