/*
  Records joined into people by the edges. A component that holds two dates of birth, or two first
  names that can't be one, was bridged by a record that says too little: it falls back to its exact
  edges (same date of birth and same first name), and its other records stand alone.
*/
with recursive records as (
    select record_key, first_name_key, last_name_key, date_of_birth from {{ ref('int_identity_record') }}
),

edges as (
    select distinct one, other, is_exact from {{ ref('int_identity_edge') }}
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

{{ connected_components('split', 'contradicted_records', 'exact_edges') }}

select
    joined.record_key,
    coalesce(split.component, joined.component) as component,
    split.component is not null as was_split
from joined
left join split on joined.record_key = split.record_key
