with costs as (
    select cost_id, calendar_month, market, currency, product, cost_kind, amount from {{ ref('stg_costs__cost') }}
),

markets as (
    select market from {{ ref('int_market_clock') }}
),

products as (
    select product_id, currency, upper(short_name) as short_name from {{ ref('dim_product') }}
),

-- a short name may be given to a product of each currency
named as (
    select
        costs.cost_id,
        min(products.product_id) as product_id
    from costs
    inner join products
        on costs.product = cast(products.product_id as varchar)
        or (upper(costs.product) = products.short_name and costs.currency = products.currency)
    group by costs.cost_id
)

select
    costs.cost_id,
    costs.calendar_month,
    coalesce(markets.market, 'ZZ') as market,
    costs.currency,
    -- all products bear what names none; what names one that we don't have is the unknown product's
    case when costs.product is not null then coalesce(named.product_id, 0) end as cost_product_id,
    costs.cost_kind,
    {{ money('costs.amount') }} as cost_amount
from costs
left join markets on costs.market = markets.market
left join named on costs.cost_id = named.cost_id
