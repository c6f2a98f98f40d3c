{{ config(
    materialized='incremental',
    unique_key='person_key',
    incremental_strategy='delete+insert',
    on_schema_change='append_new_columns',
    post_hook="delete from {{ this }} as built where not exists (select 1 from {{ ref('int_funnel_person') }} as people where people.person_key = built.person_key and people.input_hash = built.input_hash)"
) }}

-- A person's stages are made anew when anything that they are made of has changed.
with changed as (
    select people.person_key, people.input_hash
    from {{ ref('int_funnel_person') }} as people
    {% if is_incremental() %}
    where not exists (
        select 1 from {{ this }} as built
        where built.person_key = people.person_key and built.input_hash = people.input_hash
    )
    {% endif %}
),

events as (
    select
        event.person_key, event.event, event.application_id, event.market, event.product_name, event.happened_at,
        event.approved_at, event.accepted_at, event.disbursed_at, event.repaid_at
    from {{ ref('int_funnel_event') }} as event
    {% if is_incremental() %}
    inner join changed on event.person_key = changed.person_key
    {% endif %}
),

clocks as (
    select market, time_zone from {{ ref('int_market_clock') }}
),

outcomes as (
    select
        person_key, application_id, market, product_name, happened_at as applied_at, approved_at, accepted_at,
        disbursed_at, repaid_at,
        row_number() over (partition by person_key order by happened_at, application_id) as cycle
    from events
    where event = 'applied'
),

-- the CRM keeps the last eligibility and offer: they open the cycle after the applications that came before them
invited as (
    select
        invitations.person_key,
        invitations.event as stage,
        invitations.market,
        invitations.happened_at as reached_at,
        1 + count(outcomes.application_id) as cycle
    from events as invitations
    left join outcomes
        on invitations.person_key = outcomes.person_key and outcomes.applied_at < invitations.happened_at
    where invitations.event <> 'applied'
    group by invitations.person_key, invitations.event, invitations.market, invitations.happened_at
),

repeated as (
    select
        person_key,
        cycle,
        market,
        disbursed_at,
        min(disbursed_at) over (
            partition by person_key order by cycle rows between 1 following and unbounded following
        ) as repeat_at
    from outcomes
),

stages as (
    select person_key, cycle, stage, max(market) as market, min(reached_at) as reached_at
    from invited
    group by person_key, cycle, stage
    union all
    select person_key, cycle, 'applied', market, applied_at from outcomes
    union all
    select person_key, cycle, 'approved', market, approved_at from outcomes
    union all
    select person_key, cycle, 'accepted', market, accepted_at from outcomes
    union all
    select person_key, cycle, 'disbursed', market, disbursed_at from outcomes
    union all
    select person_key, cycle, 'repaid', market, repaid_at from outcomes
    union all
    select person_key, cycle, 'repeat', market, repeat_at from repeated
    where disbursed_at is not null
),

assembled as (
    select
        stages.person_key,
        cast(stages.cycle as integer) as cycle,
        outcomes.application_id,
        coalesce(outcomes.market, stages.market) as market,
        outcomes.product_name,
        stages.stage,
        stages.reached_at,
        changed.input_hash
    from stages
    inner join changed on stages.person_key = changed.person_key
    left join outcomes on stages.person_key = outcomes.person_key and stages.cycle = outcomes.cycle
    where stages.reached_at is not null
)

select
    assembled.person_key,
    assembled.cycle,
    assembled.application_id,
    assembled.market,
    assembled.product_name,
    assembled.stage,
    case assembled.stage
        {% for stage in funnel_stages() -%}
        when '{{ stage }}' then {{ loop.index }}
        {% endfor -%}
    end as stage_order,
    assembled.reached_at,
    {{ local_date('assembled.reached_at', 'clocks.time_zone') }} as reached_on,
    assembled.input_hash
from assembled
inner join clocks on assembled.market = clocks.market
