"""The plan: `desired FULL OUTER JOIN delivered`, and nothing else.

First sync, retry, resync, removal and erasure are this one query. Pure: two tables in, one out.
Belongs here: the queries and the guard rails that look at its counts. Not here: any I/O.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel

from activation.audiences.definition import Guards

PLAN_SQL = """
with d as (select person_key, payload_hash, hold, rule_version, rowid as place from {desired}),
l as (
    select person_key, payload_hash, is_member, rule_version, state in ('in_flight', 'unknown') as is_unsure,
        case when sent_as_of > $retry_before then rejected_hash end as refused_hash, rowid as place
    from {delivered}
)
select
    coalesce(d.person_key, l.person_key) as person_key,
    case
        when d.hold then case when l.is_member then 'keep' else 'none' end
        when d.person_key is null then case when l.is_member then 'remove' else 'forget' end
        when l.person_key is null or not l.is_member
            then case when l.refused_hash = d.payload_hash then 'refused' else 'add' end
        when l.is_unsure then case when l.payload_hash is null then 'add' else 'change' end
        when l.refused_hash = d.payload_hash then 'refused'
        when l.payload_hash is distinct from d.payload_hash then 'change'
        else 'unchanged'
    end as action,
    l.person_key is null or not l.is_member or l.is_unsure as membership_unsure,
    l.rule_version = d.rule_version and not l.is_unsure as is_same_version,
    d.place as desired_row,
    l.place as delivered_row
from d
full outer join l on l.person_key = d.person_key
"""
"""Placeholders name relations with the columns of `state.desired` and of the ledger's `delivered`.

`action`: add, change and remove are sent; refused waits for another payload; keep stays while an
exclusion can't be checked; forget and none need nothing at the destination. `$retry_before`: refused
rows older than this are tried again. It reads no payload, so that a million rows cost what their keys do; `desired_row`
and `delivered_row` are where the rest of a row is found, as long as neither table changes.
"""

SENT_SQL = """
select p.person_key, p.action, p.membership_unsure, s.identifier, {payload} as payload, s.payload_hash, s.rule_version, s.snapshot,
    s.consent_basis, s.consent_decided_at
from {source} as s
join {plan} as p on p.{name}_row = s.rowid
where p.action in ({actions})
"""
"""What is sent for the rows of a plan; `name`, `actions` and `payload` are those of one of `SOURCES`, `source` its relation."""


class Source(NamedTuple):
    """A table that rows to send come from: for which actions, and the SQL of their payload."""

    actions: tuple[str, ...]
    payload: str


SOURCES = {"delivered": Source(("remove",), "'{}'"), "desired": Source(("add", "change"), "s.payload")}
"""In the order of sending. A removal is built from what was sent, never from the current row: it names whom, and carries no traits.

To read the traits of a few people is to unpack those of all, which would be a tenth of the time of a plan.
"""


class PlanCounts(BaseModel):
    """People by what a plan does to them, and what it is measured against."""

    add: int = 0
    change: int = 0
    remove: int = 0
    unchanged: int = 0
    keep: int = 0
    refused: int = 0
    members: int = 0
    """Delivered before this plan."""
    asked_removals: int = 0
    """Of `remove`: people who withdrew consent or are excluded by name; never a reason to stop."""
    same_version_changes: int = 0
    """Of `change`: sent before by this same version of the rule."""


MAX_GUARD_DAYS = 31.0
"""After a longer pause a plan is not trusted any further than after this one."""


def guard_breaches(guards: Guards, counts: PlanCounts, *, elapsed_days: float | None, candidates: int) -> list[str]:
    """Why a plan may not start, each as `name: what is wrong`; empty when it may.

    Shares and factors hold for one business day and widen with the days since the last plan, up to a month.
    `elapsed_days` None: no pass has finished yet, so what is delivered is a part of the first one and no measure of growth.
    """
    breaches: list[str] = []
    days = min(max(1.0, elapsed_days or 1.0), MAX_GUARD_DAYS)
    if counts.members and candidates == 0 and counts.remove > max(guards.ignore_below, counts.asked_removals):
        breaches.append(f"empty_source: no candidates at all, while {counts.members} people are delivered")
    removed = counts.remove - counts.asked_removals
    share = 1 - (1 - guards.max_removed_share) ** days
    if removed > guards.ignore_below and removed > share * counts.members:
        breaches.append(
            f"too_many_removals: {removed} of {counts.members} would be removed, more than {share:.0%}"
            f" (guards.max_removed_share {guards.max_removed_share} a day)"
        )
    total = counts.add + counts.change + counts.unchanged + counts.keep
    factor = guards.max_growth_factor**days
    judged = counts.members > 0 and elapsed_days is not None
    if judged and counts.add > guards.ignore_below and total > factor * counts.members:
        breaches.append(
            f"sudden_growth: {counts.members} would become {total}, more than {factor:.1f} times"
            f" (guards.max_growth_factor {guards.max_growth_factor:g} a day)"
        )
    if (
        not guards.allow_full_sync
        and counts.same_version_changes > guards.ignore_below
        and counts.same_version_changes >= 0.9 * counts.members
    ):
        breaches.append(
            f"unexpected_full_sync: {counts.same_version_changes} of {counts.members} would be sent again under the same version;"
            " raise the audience's version, or set guards.allow_full_sync"
        )
    return breaches
