-- First loans of the month, and the costs that won their borrowers. What no product alone bears is shared: see by market.
select
    'loan ' || loan_id as row,
    market,
    product_id,
    currency,
    cast(0 as decimal(38, 6)) as new_borrower_cost,
    1 as new_borrower_count
from trusted.fct_loan
where is_first_loan and cast(date_trunc('month', disbursed_on) as date) = $period
union all
select 'cost ' || cost_id, market, cost_product_id, currency, cost_amount, 0
from trusted.fct_cost
where calendar_month = $period and cost_kind in ('acquisition', 'onboarding')
