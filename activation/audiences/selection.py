"""Who is desired: candidates, less everyone who may not be written to, frozen with quote and payload.

Belongs here: consent, exclusions, sure links, once, hold-outs, quotes, the canonical payload. Not
here: what was delivered (planner) and how it is sent (delivery). Everything is set-based SQL over
one publication; nothing is sent and no network is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import duckdb

from activation.audiences.basis import basis_of, keep_selection, kept_selection
from activation.audiences.contacts import SURE_LINK, find_contacts
from activation.audiences.definition import Audience
from activation.audiences.quotes import BUSINESS_DATE, date_values, hmac_pads, quote_offers
from activation.audiences.readers import (
    Snapshot,
    attach_published,
    fenced,
    has_table,
    market_zones,
    parameter_values,
    quote,
)
from activation.audiences.withdrawals import SUPPRESSIONS
from lendloop.clock import Clock
from lendloop.errors import PermanentError
from lendloop.settings import Settings, SourceName
from lendloop.source_status import SourceStatus
from lendloop.standing import read_standing

HASH_VERSION = "1"
"""Of the canonical payload; a new one re-sends everybody, which the full-sync guard asks about."""
REASON_ORDER = (
    "no_contact_point", "no_consent", "no_sure_link", "opt_out", "deceased", "fraud", "dispute", "complaint", "hardship",
    "crm_absent", "crm_stale", "support_absent", "support_stale", "ledger_absent", "ledger_stale",
    "costs_absent", "costs_stale", "survey_absent", "survey_stale", "once", "hold_out",
)  # fmt: skip
_ASKED = ("opt_out", "deceased", "fraud", "dispute", "complaint", "hardship", "once", "hold_out")
"""Reasons that end a membership on purpose, however many they are; so does a consent that says no."""
_GROUPS_OF_SOURCE = {
    "crm": ("customer", "crm"),
    "support": ("support",),
    "ledger": ("portfolio",),
    "costs": ("portfolio",),
    "survey": ("customer",),
}


BEHIND_EVERY_AUDIENCE = (
    "trusted.dim_market",
    "trusted.map_customer_source",
    "trusted.dim_contact_permission",
    "trusted.fct_suppression",
    "trusted.fct_ticket_suppression",
    "contacts.customer_contact",
    "contacts.customer_profile",
)
"""What says who is who, who agreed, who is held back and how they are reached, whatever an audience's SQL reads."""


@dataclass
class Selection:
    """What selecting found. `held_back` counts people by their first reason; `blocked` names a broken source."""

    snapshot: Snapshot
    candidates: int = 0
    desired: int = 0
    held_back: dict[str, int] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: bool = False


def select(
    connection: duckdb.DuckDBPyConnection,
    audience: Audience,
    *,
    settings: Settings,
    clock: Clock,
    source_status: Mapping[str, SourceStatus],
) -> Selection:
    """Freeze `state.desired` and `state.decision` from what is published now.

    `connection` comes from `open_store`. A broken or absent source of facts leaves the frozen rows
    as they were and is said in the result. Raises PermanentError when nothing is published.
    """
    for name in ("published", "contacts"):
        connection.execute(f"detach database if exists {name}")
    selection = Selection(attach_published(connection, settings.home))
    absent = [
        source
        for source in audience.rests_on
        if _freshness(source, audience.rests_on[source], selection, source_status, clock) == "absent"
    ]
    if absent:
        selection.skipped = True
        selection.notes.append(f"{', '.join(absent)}: not read yet or not configured, so nobody is selected")
        return selection
    for source, hours in audience.rests_on.items():
        if _freshness(source, hours, selection, source_status, clock) == "stale":
            selection.blocked.append(f"stale_source: {source} was last read in full more than {hours:g} h ago")
    if refusal := read_standing(settings.home).refusal([*audience.query.tables, *BEHIND_EVERY_AUDIENCE]):
        selection.blocked.append(f"demoted_source: {refusal}")
    missing = [t for t in audience.query.tables if not has_table(connection, "published", *t.split("."))]
    if missing:
        selection.blocked.append(f"empty_source: {', '.join(missing)} is not published")
    if selection.blocked:
        return selection
    basis = _basis(connection, audience, settings, clock, selection, source_status)
    if kept := kept_selection(connection, clock, basis):
        selection.candidates, selection.desired, selection.held_back, selection.notes = kept
        return selection
    _load_candidates(connection, audience, settings, clock, selection)
    if selection.blocked:
        return selection
    find_contacts(connection, audience, clock)
    _decide(connection, audience, settings, clock, selection, source_status)
    quote_offers(connection, audience, settings, clock)
    _freeze(connection, audience, clock, selection)
    if _basis(connection, audience, settings, clock, selection, source_status) == basis:
        keep_selection(
            connection, clock, basis, candidates=selection.candidates, desired=selection.desired,
            held_back=selection.held_back, notes=selection.notes,
        )  # fmt: skip
    return selection


def _basis(
    connection: duckdb.DuckDBPyConnection,
    audience: Audience,
    settings: Settings,
    clock: Clock,
    selection: Selection,
    statuses: Mapping[str, SourceStatus],
) -> str:
    """What this selection rests on. One that changed what the audience remembers rests on nothing that still stands."""
    wanted = [*audience.rests_on.items(), *_required(audience, statuses).items()]
    freshness = {
        f"{source} within {hours:g} h": _freshness(source, hours, selection, statuses, clock)
        for source, hours in wanted
    }
    return basis_of(
        connection, audience, settings, clock, stamp=selection.snapshot.stamp, freshness=freshness,
        rules=[HASH_VERSION, REASON_ORDER, _ASKED, SURE_LINK],
    )  # fmt: skip


def _freshness(
    source: str, max_age_hours: float, selection: Selection, statuses: Mapping[str, SourceStatus], clock: Clock
) -> str:
    """`fresh`, `stale` or `absent`: when the source was last read in full, and what of it readers see."""
    status = statuses.get(source)
    if status is None or not status.configured or status.succeeded_as_of is None:
        return "absent"
    seen: list[datetime | None] = [status.succeeded_as_of]
    seen += [group.published_as_of for group in selection.snapshot.not_fresh if group.name in _GROUPS_OF_SOURCE[source]]
    if any(moment is None for moment in seen):
        return "absent"
    oldest = min(moment for moment in seen if moment is not None)
    return "stale" if clock.as_of - oldest > timedelta(hours=max_age_hours) else "fresh"


def _required(audience: Audience, statuses: Mapping[str, SourceStatus]) -> dict[SourceName, float]:
    """What the audience requires, and files of people where there are any: in one that could not be read may stand a no."""
    files = statuses.get("survey")
    if files is None or not files.configured:
        return audience.requires
    return {"survey": audience.requires["crm"], **audience.requires}


def _load_candidates(
    connection: duckdb.DuckDBPyConnection, audience: Audience, settings: Settings, clock: Clock, selection: Selection
) -> None:
    values = parameter_values(audience.query, clock, market_zones(connection))
    columns = ", ".join(f'"{column}"' for column in ["person_key", *audience.columns()])
    connection.execute("drop table if exists candidate")
    with fenced(settings.home) as reader:
        try:
            batches = reader.sql(
                f"select {columns} from ({audience.query.sql}\n) as audience", params=values
            ).to_arrow_reader(50_000)
            connection.register("_candidates", batches)
            connection.execute("create temp table candidate as select * from _candidates")
        except duckdb.Error as error:
            selection.blocked.append(f"failed_query: {str(error).splitlines()[0]}")
            return
        finally:
            connection.unregister("_candidates")
    rows, people, keyed = _row(
        connection, "select count(*), count(distinct person_key), count(person_key) from candidate"
    )
    selection.candidates = people
    if keyed != rows:
        selection.blocked.append(f"duplicate_keys: {rows - keyed} rows have no person_key")
    if people != keyed:
        selection.blocked.append(f"duplicate_keys: {keyed - people} rows repeat a person_key; give one row a person")
    if people < audience.guards.min_rows:
        selection.blocked.append(
            f"empty_source: {people} candidates, fewer than guards.min_rows {audience.guards.min_rows}"
        )
    if empty := [
        t
        for t in audience.query.tables
        if not _row(connection, f"select count(*) from (select 1 from published.{t} limit 1)")[0]
    ]:
        selection.notes.append(f"empty: {', '.join(empty)}")


def _decide(
    connection: duckdb.DuckDBPyConnection,
    audience: Audience,
    settings: Settings,
    clock: Clock,
    selection: Selection,
    statuses: Mapping[str, SourceStatus],
) -> None:
    """`decision`: each candidate's reasons for being held back, in the order of `REASON_ORDER`."""
    unread: dict[str, str] = {
        source: state
        for source, hours in _required(audience, statuses).items()
        if (state := _freshness(source, hours, selection, statuses, clock)) != "fresh"
    }
    permission = (
        "select null::varchar person_key, false is_permitted, null::varchar basis, null::timestamptz decided_at limit 0"
    )
    if has_table(connection, "published", "trusted", "dim_contact_permission"):
        permission = (
            "select person_key, bool_and(coalesce(is_permitted, false)) is_permitted, any_value(basis order by decided_at desc) basis,"
            f" max(decided_at) decided_at from published.trusted.dim_contact_permission where channel = {quote(audience.channel)}"
            " and person_key in (select person_key from candidate) group by person_key"
        )
    else:
        unread.setdefault("crm", "absent")
    connection.execute(f"create or replace temp table permission as {permission}")
    parts = []
    for table, source in SUPPRESSIONS:
        if source not in audience.requires:
            continue
        if has_table(connection, "published", "trusted", table):
            parts.append(f"select person_key, reason from published.trusted.{table}")
        else:
            unread.setdefault(source, "absent")
    reasons = ", ".join(quote(reason) for reason in audience.exclude)
    source_sql = " union all ".join(parts) or "select null::varchar person_key, null::varchar reason limit 0"
    connection.execute(
        "create or replace temp table suppression as select person_key, list(distinct reason) reasons"
        f" from ({source_sql}) where reason in ({reasons}) and person_key in (select person_key from candidate) group by person_key"
    )
    inner, outer = hmac_pads(settings.identifier_key())
    share = float(audience.holdout.share) if audience.holdout else 0.0
    facts = [f"{source}_{state}" for source, state in unread.items()]
    connection.execute(
        f"""
        create or replace temp table decision as
        with weak_link as (
            select distinct person_key from link
            where source in ({", ".join(quote(s) for s in audience.rests_on)}) and probability < {SURE_LINK}
        ),
        reasoned as (
            select
                candidate.person_key,
                list_concat(
                    [
                        case when contact.person_key is null then 'no_contact_point' end,
                        case when not coalesce(permission.is_permitted, false) then 'no_consent' end,
                        case when weak_link.person_key is not null or not coalesce(contact.sure, true) then 'no_sure_link' end,
                        case when {_once(audience)} then 'once' end,
                        case when $salt <> '' and coalesce(arm.is_held_out,
                            sha256($outer || unhex(sha256($inner || encode($salt || ':' || candidate.person_key))))[1:8] < $threshold)
                            then 'hold_out' end
                    ],
                    coalesce(suppression.reasons, []), cast($facts as varchar[])
                ) as unordered,
                permission.person_key is not null and not permission.is_permitted as withdrawn
            from candidate
            left join contact on contact.person_key = candidate.person_key
            left join permission on permission.person_key = candidate.person_key
            left join suppression on suppression.person_key = candidate.person_key
            left join weak_link on weak_link.person_key = candidate.person_key
            left join state.arm as arm on arm.person_key = candidate.person_key and arm.salt = $salt
            left join state.engagement as engaged on engaged.person_key = candidate.person_key
            left join (select person_key, max(expires_on) expires_on from state.quote group by person_key) as quoted
                on quoted.person_key = candidate.person_key
            left join profile on profile.person_key = candidate.person_key
        )
        select
            person_key,
            case when array_to_string(unordered, '') = '' then cast([] as varchar[])
                else list_filter(cast($known as varchar[]), lambda reason: list_contains(unordered, reason)) end as reasons,
            list_has_any(unordered, cast($asking as varchar[])) or withdrawn as asked
        from reasoned
        """,
        {
            "inner": inner,
            "outer": outer,
            "salt": _salt(audience),
            "threshold": f"{round(share * 2**32):08x}",
            "facts": facts,
            "known": list(REASON_ORDER),
            "asking": list(_ASKED),
            **(date_values(connection, clock) if audience.once and audience.offer else {}),
        },
    )
    selection.held_back = dict(
        connection.execute(
            "select reasons[1], count(*) from decision where len(reasons) > 0 group by 1 order by 1"
        ).fetchall()
    )


def _salt(audience: Audience) -> str:
    """What a hold-out is drawn with; empty when there is none. Whoever was drawn with it stays in their arm."""
    return f"{audience.name}:{audience.holdout.salt}" if audience.holdout else ""


def _once(audience: Audience) -> str:
    """SQL: reached already, by this key or this address, and with no quote that is still valid.

    Who was drawn into the hold-out stays counted there, whoever else behind the same address was reached.
    """
    if not audience.once:
        return "false"
    other = (
        "(engaged.person_key is null and not coalesce(arm.is_held_out, false) and contact.address_hash in"
        " (select address_hash from state.engagement where address_hash is not null))"
    )
    again = "engaged.left_as_of is not null"
    if audience.offer:
        again = f"engaged.person_key is not null and coalesce(quoted.expires_on < {BUSINESS_DATE}, true)"
    return f"({again}) or {other}"


def _freeze(connection: duckdb.DuckDBPyConnection, audience: Audience, clock: Clock, selection: Selection) -> None:
    """Write the desired rows with payload and hash, and everybody's reasons, in place of the last ones."""
    described = connection.execute("select column_name, column_type from (describe candidate)").fetchall()
    types: dict[str, str] = dict(described)
    traits = ", ".join(f"{quote(trait)}, {_trait(column, types)}" for trait, column in sorted(audience.payload.items()))
    held = "list_filter(decision.reasons, lambda reason: not (reason like '%\\_stale' escape '\\' or reason like '%\\_absent' escape '\\'))"
    quoted = "select null::varchar person_key, null::varchar offer_id, null::decimal(38, 6) amount, null::varchar currency, null::date expires_on limit 0"
    if audience.offer:
        quoted = (
            "select person_key, offer_id, amount, currency, expires_on from state.quote"
            " qualify row_number() over (partition by person_key order by expires_on desc, issued_as_of desc) = 1"
        )
    connection.execute("begin")
    connection.execute("delete from state.selection")
    connection.execute("delete from state.desired")
    connection.execute(
        f"""
        insert into state.desired
        select
            person_key, person_key, payload, md5($hash_version || ':' || payload), hold, $version, $snapshot, basis, decided_at,
            $as_of, address_hash
        from (
            select
                decision.person_key, len(decision.reasons) > 0 as hold, permission.basis, permission.decided_at,
                contact.address_hash, cast(json_object({traits}) as varchar) as payload
            from decision
            join candidate on candidate.person_key = decision.person_key
            left join contact on contact.person_key = decision.person_key
            left join profile on profile.person_key = decision.person_key
            left join permission on permission.person_key = decision.person_key
            left join ({quoted}) as offer on offer.person_key = decision.person_key
            where len({held}) = 0
        )
        """,
        {
            "hash_version": HASH_VERSION,
            "version": audience.version,
            "snapshot": selection.snapshot.id,
            "as_of": clock.as_of,
        },
    )
    connection.execute("delete from state.decision")
    # who asked stands together, so that a plan counts them without reading everybody's keys
    connection.execute(
        "insert into state.decision select person_key, reasons, asked, $as_of, $version from decision order by asked, person_key",
        {"as_of": clock.as_of, "version": audience.version},
    )
    connection.execute(
        "insert into state.arm select person_key, $salt, len(reasons) = 1, $as_of, $version from decision"
        " where $salt <> '' and (len(reasons) = 0 or reasons = ['hold_out'])"
        " and person_key not in (select person_key from state.arm where salt = $salt) order by person_key",
        {"as_of": clock.as_of, "version": audience.version, "salt": _salt(audience)},
    )
    connection.execute(
        "update state.engagement set left_as_of = $as_of where left_as_of is null"
        " and person_key not in (select person_key from state.desired)",
        {"as_of": clock.as_of},
    )
    connection.execute("commit")
    selection.desired = _row(connection, "select count(*) from state.desired where not hold")[0]


def _trait(column: str, types: dict[str, str]) -> str:
    """SQL of one payload value, in the one form it always has: money as text, times in UTC."""
    area, _, name = column.rpartition(".")
    if area == "contact":
        return f"contact.{name}" if name == "address" else f"profile.{name}"
    if area == "offer":
        value, kind = f"offer.{name}", {"amount": "DECIMAL", "expires_on": "DATE"}.get(name, "VARCHAR")
    else:
        value, kind = f'candidate."{name}"', types[name].upper()
    if kind.startswith("DECIMAL"):
        return f"regexp_replace(cast({value} as varchar), '(\\.\\d\\d\\d*?)0+$', '\\1')"
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"strftime({value}, '%Y-%m-%dT%H:%M:%SZ')"
    if kind in ("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "DOUBLE", "FLOAT"):
        return value
    return f"cast({value} as varchar)"


def _row(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row = connection.execute(sql).fetchone()
    if row is None:
        raise PermanentError("a count gave no row")
    return tuple(row)
