-- The month's row of each product, with its share of the costs.
select
    product_id as product,
    market,
    product_id,
    currency,
    new_borrower_cost,
    new_borrower_count,
    annualised_net_income,
    average_outstanding_principal
from trusted.agg_portfolio_monthly
where calendar_month = $period
