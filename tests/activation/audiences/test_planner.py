from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from activation.audiences.definition import Guards
from activation.audiences.planner import PLAN_SQL, SENT_SQL, SOURCES, PlanCounts, guard_breaches

NOW = datetime(2026, 6, 30, tzinfo=UTC)
KEYS = st.sampled_from([f"p{n}" for n in range(8)])
HASHES = st.sampled_from(["h1", "h2", "h3"])
DESIRED = st.dictionaries(KEYS, st.tuples(st.booleans(), HASHES), max_size=8)
DELIVERED = st.dictionaries(
    KEYS,
    st.one_of(
        st.tuples(st.just(True), st.sampled_from(["accepted", "confirmed"]), HASHES, st.none()),
        st.tuples(st.just(True), st.sampled_from(["in_flight", "unknown"]), st.one_of(st.none(), HASHES), st.none()),
        st.tuples(st.just(True), st.just("rejected"), HASHES, st.one_of(st.none(), HASHES)),
        st.tuples(st.just(False), st.just("rejected"), st.none(), HASHES),
    ),
    max_size=8,
)


def plan(
    desired: dict[str, Any], delivered: dict[str, Any], sent_days_ago: int = 0
) -> dict[str, tuple[str, tuple[str, str] | None]]:
    """Action by person, and the identifier and payload that are sent."""
    with duckdb.connect() as connection:
        connection.execute(
            "create table d (person_key varchar, identifier varchar, payload varchar, payload_hash varchar, hold boolean,"
            " rule_version int, snapshot varchar, consent_basis varchar, consent_decided_at timestamptz)"
        )
        connection.execute(
            "create table l (person_key varchar, identifier varchar, payload varchar, payload_hash varchar, is_member boolean,"
            " state varchar, rejected_hash varchar, sent_as_of timestamptz, rule_version int, snapshot varchar,"
            " consent_basis varchar, consent_decided_at timestamptz)"
        )
        for key, (hold, hashed) in desired.items():
            connection.execute(
                "insert into d values (?, ?, ?, ?, ?, 1, 'v', 'b', null)", [key, key, f"new-{hashed}", hashed, hold]
            )
        for key, (member, state, hashed, rejected) in delivered.items():
            connection.execute(
                "insert into l values (?, ?, ?, ?, ?, ?, ?, ?, 1, 'v', 'b', null)",
                [
                    key,
                    f"sent-{key}",
                    f"sent-{key}",
                    hashed,
                    member,
                    state,
                    rejected,
                    NOW - timedelta(days=sent_days_ago),
                ],
            )
        connection.execute(
            f"create table p as {PLAN_SQL.format(desired='d', delivered='l')}",
            {"retry_before": NOW - timedelta(days=1)},
        )
        actions = connection.execute("select person_key, action from p").fetchall()
        sent_as = {}
        for source, origin in SOURCES.items():
            sent = SENT_SQL.format(
                source={"desired": "d", "delivered": "l"}[source],
                name=source,
                plan="p",
                actions=str(origin.actions)[1:-1].rstrip(","),
                payload=origin.payload,
            )
            sent_as |= {
                key: tuple(rest)
                for key, *rest in connection.execute(f"select person_key, identifier, payload from ({sent})").fetchall()
            }
    assert len({key for key, _ in actions}) == len(actions)
    return {key: (action, sent_as.get(key)) for key, action in actions}


@settings(max_examples=60, deadline=None)
@given(desired=DESIRED, delivered=DELIVERED)
def test_once_a_plan_is_carried_out_the_destination_holds_what_is_desired_and_a_second_plan_is_empty(
    desired: dict[str, Any], delivered: dict[str, Any]
) -> None:
    after = dict(delivered)
    actions = plan(desired, delivered, sent_days_ago=2)
    for key, (action, _) in actions.items():
        if action in ("add", "change"):
            after[key] = (True, "accepted", desired[key][1], None)
        elif action in ("remove", "forget"):
            del after[key]
    wanted = {key: hashed for key, (hold, hashed) in desired.items() if not hold}
    held = {key for key, (hold, _) in desired.items() if hold}
    assert {key: row[2] for key, row in after.items() if row[0] and key not in held} == wanted
    again = plan(desired, after, sent_days_ago=2)
    assert {action for action, _ in again.values()} <= {"unchanged", "keep", "none"}


@settings(max_examples=60, deadline=None)
@given(desired=DESIRED, delivered=DELIVERED)
def test_nobody_who_is_held_is_sent_and_a_removal_is_built_from_what_was_sent(
    desired: dict[str, Any], delivered: dict[str, Any]
) -> None:
    for key, (action, sent) in plan(desired, delivered).items():
        if action in ("add", "change"):
            assert not desired[key][0]
            assert sent == (key, f"new-{desired[key][1]}")
        if action == "remove":
            assert key not in desired
            assert sent == (f"sent-{key}", "{}")
        if desired.get(key, (False,))[0]:
            assert action in ("keep", "none")


def test_a_refused_row_waits_for_another_payload_or_a_day() -> None:
    delivered = {"p": (False, "rejected", None, "h1")}
    assert plan({"p": (False, "h1")}, delivered)["p"][0] == "refused"
    assert plan({"p": (False, "h2")}, delivered)["p"][0] == "add"
    assert plan({"p": (False, "h1")}, delivered, sent_days_ago=2)["p"][0] == "add"


def breaches(days: float | None = 1, candidates: int = 100, guards: Guards | None = None, **counts: int) -> list[str]:
    return [
        breach.split(":")[0]
        for breach in guard_breaches(guards or Guards(), PlanCounts(**counts), elapsed_days=days, candidates=candidates)
    ]


def test_guard_rails_stop_what_is_sudden() -> None:
    assert breaches(add=1000) == []
    assert breaches(members=100, remove=50, unchanged=50) == []
    assert breaches(members=100, remove=51, unchanged=49) == ["too_many_removals"]
    assert breaches(members=100, remove=51, unchanged=49, asked_removals=40) == []
    assert breaches(members=100, remove=51, unchanged=49, days=3) == []
    assert breaches(members=100, add=200, unchanged=100) == []
    assert breaches(members=100, add=201, unchanged=100) == ["sudden_growth"]
    assert breaches(members=100, add=201, unchanged=100, days=10_000) == [], "after decades too"
    assert breaches(members=60, add=495, unchanged=60, days=None) == [], "a first pass that was cut off goes on"
    assert breaches(members=100, change=90, same_version_changes=90, unchanged=10) == ["unexpected_full_sync"]
    assert breaches(members=100, change=90, same_version_changes=0, unchanged=10) == []
    assert breaches(members=100, change=90, same_version_changes=90, guards=Guards(allow_full_sync=True)) == []
    assert breaches(members=100, remove=100, candidates=0) == ["empty_source", "too_many_removals"]
    assert breaches(members=8, remove=8) == [], "a handful never stops a plan"
