select market, market_name, currency, time_zone, phone_region, business_date
from {{ ref('int_market_clock') }}
