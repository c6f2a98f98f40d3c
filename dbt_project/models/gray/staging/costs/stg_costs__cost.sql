select
    id as cost_id,
    cast({{ dbt.date_trunc('month', 'month') }} as date) as calendar_month,
    market,
    currency,
    product,
    kind as cost_kind,
    amount,
    _loaded_at
from {{ source('raw_costs', 'cost') }}
where
    _deleted_at is null
    and month is not null
    and market is not null
    and currency is not null
    and amount is not null
    and kind in ('{{ cost_kinds() | join("', '") }}')
