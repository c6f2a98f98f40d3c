with stages as (
    select person_key, cycle, market, coalesce(product_name, '(none)') as product_name, stage, reached_at
    from {{ ref('fct_funnel_stage') }}
),

clocks as (
    select market, time_zone from {{ ref('int_market_clock') }}
),

dated as (
    select
        stages.person_key,
        stages.cycle,
        stages.market,
        stages.product_name,
        stages.stage,
        {{ local_date('stages.reached_at', 'clocks.time_zone') }} as reached_on
    from stages
    inner join clocks on stages.market = clocks.market
),

events as (
    select
        reached_on as funnel_date,
        market,
        product_name,
        {% for stage in funnel_stages() -%}
        sum(case when stage = '{{ stage }}' then 1 else 0 end) as {{ stage }}_count{{ ',' if not loop.last }}
        {% endfor %}
    from dated
    group by reached_on, market, product_name
),

cycles as (
    select
        person_key,
        cycle,
        market,
        product_name,
        min(case when stage = 'applied' then reached_on end) as applied_on,
        max(case when stage = 'approved' then 1 else 0 end) as approved,
        max(case when stage = 'accepted' then 1 else 0 end) as accepted
    from dated
    group by person_key, cycle, market, product_name
),

cohorts as (
    select
        applied_on as funnel_date,
        market,
        product_name,
        count(*) as applied,
        sum(approved) as approved_of_applied,
        sum(case when approved = 1 then accepted else 0 end) as accepted_of_approved
    from cycles
    where applied_on is not null
    group by applied_on, market, product_name
)

select
    events.funnel_date,
    events.market,
    events.product_name,
    {% for stage in funnel_stages() -%}
    cast(events.{{ stage }}_count as bigint) as {{ stage }}_count,
    {% endfor -%}
    cast(coalesce(cohorts.approved_of_applied, 0) as bigint) as approved_of_applied_count,
    cast(coalesce(cohorts.accepted_of_approved, 0) as bigint) as accepted_of_approved_count,
    {{ ratio('cohorts.approved_of_applied', 'cohorts.applied') }} as approval_rate,
    {{ ratio('cohorts.accepted_of_approved', 'cohorts.approved_of_applied') }} as take_up_rate
from events
left join cohorts
    on
        events.funnel_date = cohorts.funnel_date
        and events.market = cohorts.market
        and events.product_name = cohorts.product_name
