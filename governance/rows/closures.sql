-- Loans closed that day, once the horizon has passed, and whether their borrower was lent to again within it.
select
    loan.loan_id,
    loan.market,
    loan.product_id,
    loan.currency,
    1 as mature_closure_count,
    case
        when exists (
            select 1 from trusted.fct_loan as later
            where
                later.person_key = loan.person_key
                and later.loan_id <> loan.loan_id
                and later.disbursed_on between loan.closed_on and loan.closed_on + cast($repeat_horizon_days as integer)
        ) then 1
        else 0
    end as repeated_closure_count
from trusted.fct_loan as loan
inner join trusted.dim_market as clock on loan.market = clock.market
where
    loan.loan_status in ('closed', 'overpaid')
    and loan.person_key is not null
    and loan.disbursed_on is not null
    and loan.closed_on = $period
    and loan.closed_on + cast($repeat_horizon_days as integer) < clock.business_date
