-- Loans written off that day, once they are that old, and the cash that came for each since.
with posted as (
    select loan_id, market, product_id, currency, transaction_date as written_on, amount
    from trusted.fct_loan_transaction
    where transaction_type_id = 6 and not is_reversed
    union all
    select loan_id, market, product_id, currency, written_off_on, principal_written_off
    from trusted.fct_loan as loan
    where
        status_id = 601
        and written_off_on is not null
        and not exists (
            select 1 from trusted.fct_loan_transaction as posted
            where posted.loan_id = loan.loan_id and posted.transaction_type_id = 6 and not posted.is_reversed
        )
),

written as (
    select loan_id, market, product_id, currency, min(written_on) as written_on, sum(amount) as amount
    from posted
    group by loan_id, market, product_id, currency
)

select
    written.loan_id,
    written.market,
    written.product_id,
    written.currency,
    written.amount as mature_written_off_balance,
    (
        select coalesce(sum(cash.amount), 0) from trusted.fct_loan_transaction as cash
        where
            cash.loan_id = written.loan_id
            and cash.transaction_type_id = 8
            and not cash.is_reversed
            and cash.transaction_date <= written.written_on + cast($write_off_age_days as integer)
    ) as mature_recovered_amount
from written
inner join trusted.dim_market as clock on written.market = clock.market
where
    written.written_on = $period
    and written.written_on + cast($write_off_age_days as integer) < clock.business_date
