-- What each loan earned in the month, as if it lasted a year, and the cost of funding. What no product alone bears is
-- shared: see by market.
with month as (
    select 365.0 / (cast(cast($period as date) + interval 1 month as date) - cast($period as date)) as a_year
)

select
    'loan ' || lived.loan_id as row,
    lived.market,
    lived.product_id,
    lived.currency,
    (
        lived.interest_received + lived.fees_received - (lived.month_charged_off_amount - lived.month_recovered_amount)
    ) * month.a_year as annualised_net_income,
    lived.principal_days * month.a_year / 365 as average_outstanding_principal
from trusted.fct_loan_month as lived
cross join month
where lived.calendar_month = $period
union all
select 'cost ' || cost.cost_id, cost.market, cost.cost_product_id, cost.currency, -cost.cost_amount * month.a_year, 0
from trusted.fct_cost as cost
cross join month
where cost.calendar_month = $period and cost.cost_kind = 'funding'
