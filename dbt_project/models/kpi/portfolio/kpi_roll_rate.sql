select
    calendar_month,
    market,
    product_id,
    currency,
    from_bucket,
    to_bucket,
    {{ ratio('rolled_principal', 'opening_bucket_principal', 'decimal(19, 6)') }} as roll_rate,
    opening_bucket_principal,
    rolled_principal
from {{ ref('agg_roll') }}
