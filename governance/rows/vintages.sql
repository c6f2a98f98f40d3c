-- Loans of the cohort, what of each was charged off until the week on book, and what came after.
select
    loan.loan_id,
    loan.market,
    loan.product_id,
    loan.currency,
    loan.principal_disbursed as disbursed_principal,
    case
        when coalesce(loan.charged_off_on, loan.written_off_on) <= loan.disbursed_on + cast($weeks_on_book * 7 as integer)
            then
                case
                    when loan.principal_written_off > 0 then loan.principal_written_off
                    else loan.principal_outstanding
                end
        else 0
    end as charged_off_amount,
    (
        select coalesce(sum(cash.amount), 0) from trusted.fct_loan_transaction as cash
        where
            cash.loan_id = loan.loan_id
            and cash.transaction_type_id = 8
            and not cash.is_reversed
            and cash.transaction_date <= loan.disbursed_on + cast($weeks_on_book * 7 as integer)
    ) as cohort_recovered_amount
from trusted.fct_loan as loan
where cast(date_trunc('month', loan.disbursed_on) as date) = $period
