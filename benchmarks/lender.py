"""A lender with as many people as a benchmark asks for, published as the real publisher does it.

Everybody has an approved application, a phone, a consent and sure links, but for shares that are held back.
Belongs here: what the measured code reads. Not here: anything that is measured.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from activation.audiences import Audience, load_audience
from lendloop.clock import Clock
from lendloop.home import CHECKOUT, Home
from lendloop.publish import GroupState, PublishableTable, publish
from lendloop.settings import Settings, load_settings
from lendloop.source_status import SourceStatus

AS_OF = datetime(2026, 6, 30, 9, tzinfo=UTC)
GROUPS = ("customer", "crm", "support", "portfolio")
CHANGED_SHARE, GONE_SHARE = 0.025, 0.001
"""Of the people, each day: whose offer changes, and who accepted it."""

_TABLES = {
    "trusted.dim_market": """
        select 'NG' as market, 'Nigeria' as market_name, 'NGN' as currency, 'Africa/Lagos' as time_zone, 'NG' as phone_region
    """,
    "trusted.map_customer_source": """
        select person_key, source, source || '-' || number as source_id, 'phone' as rule,
            cast(1 as decimal(5, 4)) as probability, null::timestamptz as valid_from, null::timestamptz as valid_to
        from person, (values ('crm'), ('ledger')) as system (source)
    """,
    "trusted.dim_contact_permission": """
        select person_key, channel, number % 50 <> 0 as is_permitted, 'crm:' || channel || '_consent' as basis,
            $as_of::timestamptz - to_days(90 + (number % 300)::integer) as decided_at
        from person, (values ('sms'), ('email')) as way (channel)
    """,
    "trusted.fct_suppression": """
        select person_key, 'opt_out' as reason, 'phone' as via, 'crm' as source, number::varchar as source_id,
            $as_of::timestamptz as since
        from person where number % 97 = 0
    """,
    "trusted.fct_ticket_suppression": """
        select person_key, 'dispute' as reason, 'phone' as via, number as ticket_id, $as_of::timestamptz as since
        from person where number % 211 = 0
    """,
    "trusted.fct_application": """
        select 'a-' || number as application_id, person_key, 'NG' as market, 'Flex ' || 30 * (1 + number % 3) as product_name,
            'NGN' as currency, cast(1000 as decimal(19, 6)) as requested_amount,
            cast(500 + number % 1000 + case when hash(number, $day::integer) % 1000000 < 1000000 * $changed::double
                then $day::integer else 0 end as decimal(19, 6)) as approved_amount,
            'approved' as application_status, $first::timestamptz - interval 6 day as applied_at,
            $first::timestamptz - interval 5 day as approved_at,
            case when hash(number, $day::integer, 'gone') % 1000000 < 1000000 * $gone::double * $day::integer
                then $as_of::timestamptz end as accepted_at,
            null::timestamptz as disbursed_at, null::bigint as loan_id
        from person
    """,
    "contacts.customer_contact": """
        select person_key, 'sms' as channel, '+23480' || lpad(number::varchar, 8, '0') as address,
            md5('phone' || number) as address_hash, 'crm' as source, 'crm-' || number as source_id, true as is_primary
        from person where number % 101 <> 0
    """,
    "contacts.customer_profile": """
        select person_key, 'NG' as market, 'Name' || number % 5000 as first_name, 'Family' || number % 9000 as last_name,
            case when number % 3 = 0 then 'fr' else 'en' end as language
        from person
    """,
}


class BenchLender:
    """A home with a lender of `people` published in it. `publish_day` replaces what is published by another day's."""

    def __init__(self, home: Path, people: int) -> None:
        self.home = home
        self.people = people

    def settings(self, **more: object) -> Settings:
        return load_settings(**{"_env_file": None, "LENDLOOP_HOME": self.home, "hash_key": "bench", **more})

    def clock(self, day: int) -> Clock:
        return Clock(AS_OF + timedelta(days=day))

    def status(self, day: int) -> dict[str, SourceStatus]:
        return {
            name: SourceStatus(source=name, configured=True, succeeded_as_of=self.clock(day).as_of)
            for name in ("crm", "ledger", "support")
        }

    def publish_day(self, day: int) -> None:
        """What stands on a day: since day 0, some offers changed and some people accepted theirs."""
        home = Home(self.home)
        home.prepare()
        as_of = self.clock(day).as_of
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            connection.execute(
                "create table person as select md5('p' || number) as person_key, number from range(?) as n (number)",
                [self.people],
            )
            declared = []
            for key, sql in _TABLES.items():
                schema, name = key.split(".")
                connection.execute(f"create schema if not exists {schema}")
                values = {
                    "as_of": as_of, "first": AS_OF, "day": day, "changed": CHANGED_SHARE, "gone": GONE_SHARE,
                }  # fmt: skip
                statement = duckdb.extract_statements(f"create table {key} as {sql}")[0]
                named = {one: value for one, value in values.items() if one in statement.named_parameters}
                connection.execute(statement, named)
                declared.append(
                    PublishableTable(
                        schema_name=schema, name=name, group="customer" if schema == "contacts" else "crm",
                        contact_data=schema == "contacts",
                    )
                )  # fmt: skip
            groups = {name: GroupState(state="fresh") for name in GROUPS}
            publish(connection, home, declared, groups, inputs=str(day), as_of=as_of, checks={})

    def audience(self, name: str = "approved_not_accepted") -> Audience:
        return load_audience(CHECKOUT / "activation" / "definitions" / "audiences" / f"{name}.yaml")
