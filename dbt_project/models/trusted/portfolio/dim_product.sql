with products as (
    select product_id, product_name, short_name, currency, instalment_count from {{ ref('stg_ledger__products') }}
),

lent as (
    select
        product_id,
        case when count(distinct currency) = 1 then min(currency) end as currency
    from {{ ref('stg_ledger__loans') }}
    group by product_id
)

select
    coalesce(products.product_id, lent.product_id) as product_id,
    coalesce(
        products.product_name,
        case
            when coalesce(products.product_id, lent.product_id) = 0 then 'Unknown product'
            else 'Product ' || cast(coalesce(products.product_id, lent.product_id) as varchar)
        end
    ) as product_name,
    products.short_name,
    coalesce(products.currency, lent.currency) as currency,
    cast(products.instalment_count as integer) as instalment_count
from products
full outer join lent on products.product_id = lent.product_id
