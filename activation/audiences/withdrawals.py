"""Who said no: they leave a destination in every pass, also in one whose plan may not start.

Belongs here: finding them in what is published. Not here: removing them (ledger, delivery).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import duckdb

from activation.audiences.definition import Audience, ExcludeReason
from activation.audiences.readers import has_table, quote
from lendloop.settings import SourceName

SUPPRESSIONS: tuple[tuple[str, SourceName], ...] = (("fct_suppression", "crm"), ("fct_ticket_suppression", "support"))
"""Tables of trusted that name people to hold back, and the source each is made of."""


def find_withdrawn(connection: duckdb.DuckDBPyConnection, audience: Audience) -> None:
    """`withdrawn`: the keys, those before a merge or a split too, of everyone who may not be in the audience.

    Only a no counts, however old what says it is. That somebody has no permission, or that a table is not there, does not.
    """
    tables = [table for table, source in SUPPRESSIONS if source in audience.requires]
    _find(connection, [f"channel = {quote(audience.channel)}"], tables, audience.exclude)


def find_whoever_said_no(connection: duckdb.DuckDBPyConnection) -> None:
    """`withdrawn`, of an audience of which nothing is known: whoever said no on any channel, or is held back for any reason."""
    _find(connection, [], [table for table, _ in SUPPRESSIONS], get_args(ExcludeReason))


def _find(
    connection: duckdb.DuckDBPyConnection, channel: Sequence[str], tables: Sequence[str], reasons: Sequence[str]
) -> None:
    said = ["select null::varchar as person_key limit 0"]
    if has_table(connection, "published", "trusted", "dim_contact_permission"):
        refused = " and ".join(["not coalesce(is_permitted, false)", *channel])
        said.append(f"select person_key from published.trusted.dim_contact_permission where {refused}")
    listed = ", ".join(quote(reason) for reason in reasons)
    said += [
        f"select person_key from published.trusted.{table} where reason in ({listed})"
        for table in tables
        if has_table(connection, "published", "trusted", table)
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
