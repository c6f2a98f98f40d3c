with closings as (
    select loan_id, calendar_month, market, product_id, currency, closing_principal, closing_dpd_bucket
    from {{ ref('fct_loan_month') }}
    where closing_principal > 0
),

clocks as (
    select market, cast({{ dbt.date_trunc('month', 'business_date') }} as date) as current_month
    from {{ ref('int_market_clock') }}
),

opened as (
    select
        closings.calendar_month as from_month,
        {{ plus_months('closings.calendar_month', 1) }} as calendar_month,
        closings.market,
        closings.product_id,
        closings.currency,
        closings.closing_dpd_bucket as from_bucket,
        sum(closings.closing_principal) as opening_bucket_principal
    from closings
    inner join clocks on closings.market = clocks.market
    where {{ plus_months('closings.calendar_month', 1) }} < clocks.current_month
    group by 1, 2, 3, 4, 5, 6
),

rolled as (
    select
        later.calendar_month,
        earlier.market,
        earlier.product_id,
        earlier.currency,
        earlier.closing_dpd_bucket as from_bucket,
        later.closing_dpd_bucket as to_bucket,
        sum(later.closing_principal) as rolled_principal
    from closings as earlier
    inner join closings as later
        on
            earlier.loan_id = later.loan_id
            and later.calendar_month = {{ plus_months('earlier.calendar_month', 1) }}
    group by 1, 2, 3, 4, 5, 6
),

buckets as (
    {% for bucket, name in dpd_bucket_columns() -%}
    select '{{ bucket }}' as to_bucket
    {% if not loop.last %}union all
    {% endif %}
    {%- endfor %}
)

select
    opened.calendar_month,
    opened.market,
    opened.product_id,
    opened.currency,
    opened.from_bucket,
    buckets.to_bucket,
    cast(opened.opening_bucket_principal as decimal(38, 6)) as opening_bucket_principal,
    cast(coalesce(rolled.rolled_principal, 0) as decimal(38, 6)) as rolled_principal
from opened
cross join buckets
left join rolled
    on
        {{ same_key('opened', 'rolled', ['calendar_month', 'market', 'product_id', 'currency', 'from_bucket']) }}
        and buckets.to_bucket = rolled.to_bucket
