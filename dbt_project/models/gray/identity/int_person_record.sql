-- Every record with the person it belongs to, deleted and archived ones included.
with components as (
    select record_key, component, is_placed_by_name from {{ ref('int_person_component') }}
),

founders as (
    select record_key, person_key, founded_on from {{ ref('int_person_founder') }}
),

records as (
    select
        record_key, source, source_id, source_order, market, first_name, last_name, phone, phone_hash, email, email_hash,
        national_id_key, ledger_client_id, language, created_at, since, updated_at, is_deleted
    from {{ ref('int_identity_record') }}
),

edges as (
    select one, other, rule, probability from {{ ref('int_identity_edge') }}
),

ranked_founders as (
    select
        components.component,
        founders.person_key,
        row_number() over (
            partition by components.component
            -- whom a file knew first keeps no key that a customer has
            order by
                case when records.source = 'survey' then 1 else 0 end,
                founders.founded_on,
                records.source_order,
                length(records.source_id),
                records.source_id
        ) as rank
    from founders
    inner join components on founders.record_key = components.record_key
    inner join records on founders.record_key = records.record_key
),

ends as (
    select one as record_key, other as reached, rule, probability from edges
    union all
    select other, one, rule, probability from edges
),

rules as (
    select
        ends.record_key,
        min(case ends.rule
            when 'ledger_id' then '1ledger_id'
            when 'national_id' then '2national_id'
            when 'phone_and_birth' then '3phone_and_birth'
            when 'email_and_birth' then '4email_and_birth'
            when 'decision' then '5decision'
            else '6probable'
        end) as best,
        max(ends.probability) as probability
    from ends
    inner join components as here on ends.record_key = here.record_key
    inner join components as there on ends.reached = there.record_key and here.component = there.component
    group by ends.record_key
)

select
    records.record_key,
    ranked_founders.person_key,
    records.source,
    records.source_id,
    records.source_order,
    case
        when components.is_placed_by_name then 'contact_and_name'
        when rules.best is not null then substring(rules.best, 2)
        else 'own_record'
    end as rule,
    cast(case when components.is_placed_by_name then 0.97 else coalesce(rules.probability, 1) end as decimal(5, 4)) as probability,
    records.market,
    records.first_name,
    records.last_name,
    records.phone,
    records.phone_hash,
    records.email,
    records.email_hash,
    records.national_id_key,
    records.ledger_client_id,
    records.language,
    records.created_at,
    records.since,
    records.updated_at,
    records.is_deleted
from records
inner join components on records.record_key = components.record_key
inner join ranked_founders on components.component = ranked_founders.component and ranked_founders.rank = 1
left join rules on records.record_key = rules.record_key
