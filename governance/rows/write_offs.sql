-- Write-offs of the day: the ledger's transactions, and loans that were written off without one.
select loan_id, market, product_id, currency, amount as written_off_amount
from trusted.fct_loan_transaction
where transaction_type_id = 6 and not is_reversed and transaction_date = $period
union all
select loan_id, market, product_id, currency, principal_written_off
from trusted.fct_loan as loan
where
    status_id = 601
    and written_off_on = $period
    and not exists (
        select 1 from trusted.fct_loan_transaction as posted
        where posted.loan_id = loan.loan_id and posted.transaction_type_id = 6 and not posted.is_reversed
    )
