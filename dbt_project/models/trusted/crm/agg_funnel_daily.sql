with stages as (
    select market, coalesce(product_name, '(none)') as product_name, stage, reached_on
    from {{ ref('fct_funnel_stage') }}
),

applications as (
    select market, coalesce(product_name, '(none)') as product_name, applied_at, approved_at, accepted_at
    from {{ ref('fct_application') }}
    where person_key is not null and applied_at is not null
),

clocks as (
    select market, time_zone from {{ ref('int_market_clock') }}
),

events as (
    select
        reached_on as funnel_date,
        market,
        product_name,
        {% for stage in funnel_stages() -%}
        sum(case when stage = '{{ stage }}' then 1 else 0 end) as {{ stage }}_count{{ ',' if not loop.last }}
        {% endfor %}
    from stages
    group by reached_on, market, product_name
),

cohorts as (
    select
        {{ local_date('applications.applied_at', 'clocks.time_zone') }} as funnel_date,
        applications.market,
        applications.product_name,
        count(*) as applied,
        sum(case when applications.approved_at is not null then 1 else 0 end) as approved_of_applied,
        sum(case when applications.approved_at is not null and applications.accepted_at is not null then 1 else 0 end)
            as accepted_of_approved
    from applications
    inner join clocks on applications.market = clocks.market
    group by 1, 2, 3
)

select
    events.funnel_date,
    events.market,
    events.product_name,
    {% for stage in funnel_stages() -%}
    cast(events.{{ stage }}_count as bigint) as {{ stage }}_count,
    {% endfor -%}
    cast(coalesce(cohorts.applied, 0) as bigint) as application_count,
    cast(coalesce(cohorts.approved_of_applied, 0) as bigint) as approved_of_applied_count,
    cast(coalesce(cohorts.accepted_of_approved, 0) as bigint) as accepted_of_approved_count
from events
left join cohorts
    on
        events.funnel_date = cohorts.funnel_date
        and events.market = cohorts.market
        and events.product_name = cohorts.product_name
