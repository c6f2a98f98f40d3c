/*
  Support users carry no date of birth. One that the ledger's id did not place joins a person when
  its phone or e-mail and its whole name fit exactly one of the people already found.
*/
with components as (
    select record_key, component from {{ ref('int_identity_component') }}
),

records as (
    select record_key, source, first_name_key, last_name_key, phone, email from {{ ref('int_identity_record') }}
),

sizes as (
    select component, count(*) as record_count
    from components
    group by component
),

loose_users as (
    select records.record_key, records.first_name_key, records.last_name_key, records.phone, records.email
    from records
    inner join components on records.record_key = components.record_key
    inner join sizes on components.component = sizes.component
    where records.source = 'support' and sizes.record_count = 1
),

known as (
    select
        records.first_name_key, records.last_name_key, records.phone, records.email, components.component
    from records
    inner join components on records.record_key = components.record_key
    where records.source in ('ledger', 'crm')
),

shared as (
    select
        loose_users.record_key, loose_users.first_name_key, loose_users.last_name_key,
        known.first_name_key as known_first, known.last_name_key as known_last, known.component
    from loose_users
    inner join known on loose_users.phone = known.phone
    union
    select
        loose_users.record_key, loose_users.first_name_key, loose_users.last_name_key,
        known.first_name_key, known.last_name_key, known.component
    from loose_users
    inner join known on loose_users.email = known.email
),

named as (
    select distinct record_key, component
    from shared
    where
        (
            {{ names_compatible('first_name_key', 'known_first') }}
            and {{ names_compatible('last_name_key', 'known_last') }}
        )
        or (first_name_key = known_last and last_name_key = known_first)
),

apart as (
    select decisions.one as record_key, components.component
    from {{ ref('int_identity_decision') }} as decisions
    inner join components on decisions.other = components.record_key
    where decisions.verdict = 'different'
    union
    select decisions.other, components.component
    from {{ ref('int_identity_decision') }} as decisions
    inner join components on decisions.one = components.record_key
    where decisions.verdict = 'different'
),

placed as (
    select named.record_key, min(named.component) as component
    from named
    left join apart on named.record_key = apart.record_key and named.component = apart.component
    where apart.record_key is null
    group by named.record_key
    having count(*) = 1
)

select
    components.record_key,
    coalesce(placed.component, components.component) as component,
    placed.component is not null as is_placed_by_name
from components
left join placed on components.record_key = placed.record_key
