{{ config(materialized='ephemeral') }}

-- Write-offs that the ledger's balances know and its transactions do not: the derived columns hold.
with loans as (
    select loan_id, market, product_id, currency, status_id, written_off_on, principal_written_off
    from {{ ref('fct_loan') }}
),

posted as (
    select distinct loan_id from {{ ref('fct_loan_transaction') }}
    where transaction_type_id = 6 and not is_reversed
)

select
    loans.loan_id,
    loans.market,
    loans.product_id,
    loans.currency,
    loans.written_off_on as write_off_on,
    loans.principal_written_off as amount
from loans
left join posted on loans.loan_id = posted.loan_id
where
    loans.status_id = 601
    and loans.written_off_on is not null
    and loans.principal_written_off > 0
    and posted.loan_id is null
