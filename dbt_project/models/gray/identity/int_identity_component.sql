/*
  Records joined into people by the edges. A component that holds two dates of birth, or two first
  names that can't be one, or two records that somebody decided to be two people, was bridged by a
  record that says too little: it falls back to its exact edges (same date of birth and same first
  name, or decided), and its other records stand alone. Where two that were decided apart are still
  together, nothing but decisions joins.
*/
with recursive records as (
    select record_key, first_name_key, last_name_key, date_of_birth from {{ ref('int_identity_record') }}
),

edges as (
    select one, other, max(case when is_exact then 1 else 0 end) = 1 as is_exact, max(case when rule = 'decision' then 1 else 0 end) = 1 as is_decided
    from {{ ref('int_identity_edge') }}
    group by one, other
),

apart as (
    select one, other from {{ ref('int_identity_decision') }}
    where verdict = 'different'
),

{{ connected_components('joined', 'records', 'edges') }},

members as (
    select joined.component, records.record_key, records.first_name_key, records.last_name_key, records.date_of_birth
    from joined
    inner join records on joined.record_key = records.record_key
),

contradicted as (
    select distinct one.component
    from members as one
    inner join members as other on one.component = other.component and one.record_key < other.record_key
    where
        one.date_of_birth <> other.date_of_birth
        or (
            not {{ names_compatible('one.first_name_key', 'other.first_name_key') }}
            and not coalesce(one.first_name_key = other.last_name_key and one.last_name_key = other.first_name_key, false)
        )
    union
    select one.component
    from apart
    inner join joined as one on apart.one = one.record_key
    inner join joined as other on apart.other = other.record_key and one.component = other.component
),

contradicted_records as (
    select members.record_key
    from members
    inner join contradicted on members.component = contradicted.component
),

exact_edges as (
    select edges.one, edges.other
    from edges
    inner join contradicted_records on edges.one = contradicted_records.record_key
    where edges.is_exact
),

{{ connected_components('split', 'contradicted_records', 'exact_edges') }},

still_together as (
    select distinct one.component
    from apart
    inner join split as one on apart.one = one.record_key
    inner join split as other on apart.other = other.record_key and one.component = other.component
),

torn_records as (
    select split.record_key
    from split
    inner join still_together on split.component = still_together.component
),

decided_edges as (
    select edges.one, edges.other
    from edges
    inner join torn_records on edges.one = torn_records.record_key
    where edges.is_decided
),

{{ connected_components('torn', 'torn_records', 'decided_edges') }}

select
    joined.record_key,
    coalesce(torn.component, split.component, joined.component) as component,
    split.component is not null as was_split
from joined
left join split on joined.record_key = split.record_key
left join torn on joined.record_key = torn.record_key
