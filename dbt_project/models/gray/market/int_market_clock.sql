with markets as (
    select market, market_name, currency, time_zone, phone_region from {{ ref('markets') }}
    union all
    select 'ZZ', 'Unknown market', cast(null as varchar), 'UTC', cast(null as varchar)
),

clock as (
    select as_of, business_date from {{ source('raw_meta', 'clock') }}
)

select
    markets.market,
    markets.market_name,
    markets.currency,
    markets.time_zone,
    markets.phone_region,
    clock.as_of,
    coalesce(clock.business_date, {{ local_date('clock.as_of', 'markets.time_zone') }}) as business_date
from markets
cross join clock
