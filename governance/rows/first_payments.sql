-- Loans whose first instalment was due that day, once the horizon has passed.
select
    loan.loan_id,
    loan.market,
    loan.product_id,
    loan.currency,
    1 as mature_loan_count,
    case when loan.is_first_loan then 1 else 0 end as mature_first_loan_count,
    case when first.is_unpaid then 1 else 0 end as defaulted_loan_count,
    case when loan.is_first_loan and first.is_unpaid then 1 else 0 end as defaulted_first_loan_count
from trusted.fct_loan as loan
inner join trusted.dim_market as clock on loan.market = clock.market
inner join (
    select
        loan_id,
        due_on,
        not is_complete or principal_written_off > 0 or coalesce(met_on, due_on) > due_on + cast($horizon_days as integer)
            as is_unpaid,
        row_number() over (partition by loan_id order by installment_number, due_on, installment_id) as rank
    from trusted.fct_installment
) as first on loan.loan_id = first.loan_id
where
    loan.disbursed_on is not null
    and first.rank = 1
    and first.due_on = $period
    and first.due_on + cast($horizon_days as integer) < clock.business_date
