with transactions as (
    select
        loan_transaction_id, loan_id, transaction_type_id, transaction_date, amount, principal_amount, interest_amount,
        fee_amount, penalty_amount, is_reversed, reversed_on, created_at, modified_at, _loaded_at
    from {{ ref('stg_ledger__loan_transactions') }}
),

loans as (
    select loan_id, market, product_id, currency from {{ ref('fct_loan') }}
)

select
    transactions.loan_transaction_id,
    transactions.loan_id,
    loans.market,
    loans.product_id,
    loans.currency,
    cast(transactions.transaction_type_id as integer) as transaction_type_id,
    case transactions.transaction_type_id
        when 1 then 'disbursement'
        when 2 then 'repayment'
        when 4 then 'waive_interest'
        when 5 then 'repayment_at_disbursement'
        when 6 then 'write_off'
        when 8 then 'recovery_repayment'
        when 9 then 'waive_charges'
        when 10 then 'accrual'
        when 16 then 'refund'
        when 24 then 'charge_refund'
        when 25 then 'chargeback'
        when 27 then 'charge_off'
        when 28 then 'down_payment'
        when 29 then 're_age'
        else 'other'
    end as transaction_type,
    transactions.transaction_date,
    {{ money('transactions.amount') }} as amount,
    {{ money('transactions.principal_amount') }} as principal_amount,
    {{ money('transactions.interest_amount') }} as interest_amount,
    {{ money('transactions.fee_amount') }} as fee_amount,
    {{ money('transactions.penalty_amount') }} as penalty_amount,
    transactions.is_reversed,
    transactions.reversed_on,
    transactions.created_at,
    transactions.modified_at,
    transactions._loaded_at as loaded_at
from transactions
inner join loans on transactions.loan_id = loans.loan_id
