/*
  The record each person was first known by. A person's key is made of it and is held here, so that
  it stays when records join or leave: the earliest founder of a merged person wins, and of a split
  person the part with the founder keeps the key. Never rebuilt: it is the memory of the keys.
*/
{{ config(
    materialized='incremental', unique_key='record_key', incremental_strategy='delete+insert', full_refresh=false
) }}

with components as (
    select record_key, component from {{ ref('int_person_component') }}
),

records as (
    select record_key, source_order, source_id, market, created_at from {{ ref('int_identity_record') }}
),

clocks as (
    select market, business_date from {{ ref('int_market_clock') }}
),

{% if is_incremental() %}
founded as (
    select distinct components.component
    from {{ this }} as founders
    inner join components on founders.record_key = components.record_key
),
{% else %}
founded as (
    select component from components where false
),
{% endif %}

candidates as (
    select
        components.record_key,
        clocks.business_date,
        row_number() over (
            partition by components.component
            order by records.source_order, length(records.source_id), records.source_id
        ) as rank
    from components
    inner join records on components.record_key = records.record_key
    inner join clocks on records.market = clocks.market
    left join founded on components.component = founded.component
    where founded.component is null
)

select
    record_key,
    {{ dbt.hash('record_key') }} as person_key,
    business_date as founded_on
from candidates
where rank = 1
