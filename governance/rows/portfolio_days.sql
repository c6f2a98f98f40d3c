-- The snapshot's row of each product; its loans are not kept.
select
    product_id as product,
    market,
    product_id,
    currency,
    outstanding_principal,
    par_1_principal,
    par_7_principal,
    par_30_principal,
    par_60_principal,
    par_90_principal,
    bucket_current_principal,
    bucket_1_7_principal,
    bucket_8_30_principal,
    bucket_31_60_principal,
    bucket_61_90_principal,
    bucket_91_plus_principal,
    written_off_amount
from trusted.agg_portfolio_daily
where as_of_date = $period and outstanding_principal is not null
