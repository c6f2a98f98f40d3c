{{ config(
    materialized='incremental',
    unique_key=['source', 'source_id', 'person_key', 'valid_from'],
    incremental_strategy='delete+insert',
    on_schema_change='append_new_columns',
    full_refresh=false
) }}

with links as (
    select
        person_key,
        source,
        source_id,
        rule,
        probability,
        market,
        since,
        created_at
    from {{ ref('int_person_record') }}
    where not is_deleted
),

clocks as (
    select market, business_date from {{ ref('int_market_clock') }}
),

today as (
    select max(business_date) as business_date from clocks where market = 'ZZ'
)

{% if is_incremental() %}
, records as (
    select source, source_id, created_at from {{ ref('int_person_record') }}
),

held as (
    select person_key, source, source_id, rule, probability, valid_from from {{ this }}
    where valid_to is null
)

select
    links.person_key,
    links.source,
    links.source_id,
    links.rule,
    links.probability,
    coalesce(held.valid_from, clocks.business_date) as valid_from,
    cast(null as date) as valid_to,
    links.created_at
from links
inner join clocks on links.market = clocks.market
left join held
    on links.source = held.source and links.source_id = held.source_id and links.person_key = held.person_key
where held.rule is distinct from links.rule or held.probability is distinct from links.probability

union all

select
    held.person_key,
    held.source,
    held.source_id,
    held.rule,
    held.probability,
    held.valid_from,
    today.business_date,
    records.created_at
from held
cross join today
left join records on held.source = records.source and held.source_id = records.source_id
left join links
    on held.source = links.source and held.source_id = links.source_id and held.person_key = links.person_key
where links.source_id is null
{% else %}
select
    links.person_key,
    links.source,
    links.source_id,
    links.rule,
    links.probability,
    coalesce(links.since, clocks.business_date) as valid_from,
    cast(null as date) as valid_to,
    links.created_at
from links
inner join clocks on links.market = clocks.market
{% endif %}
