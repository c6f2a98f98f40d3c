{{ config(materialized='ephemeral') }}

/*
  What each loan cost: the charge-off (once: when the ledger charged it off, else when it wrote it
  off) and every cash recovery after it. Principal only.
*/
with loans as (
    select
        loan_id, market, product_id, currency, disbursed_on, principal_disbursed, principal_outstanding,
        principal_written_off, written_off_on, charged_off_on
    from {{ ref('fct_loan') }}
    where disbursed_on is not null
),

recoveries as (
    select loan_id, transaction_date, amount
    from {{ ref('fct_loan_transaction') }}
    where transaction_type_id = 8 and not is_reversed
)

select
    loan_id,
    market,
    product_id,
    currency,
    disbursed_on,
    coalesce(charged_off_on, written_off_on) as moved_on,
    case when principal_written_off > 0 then principal_written_off else principal_outstanding end as charged_off_amount,
    cast(0 as decimal(19, 6)) as recovered_amount
from loans
where coalesce(charged_off_on, written_off_on) is not null

union all

select
    loans.loan_id,
    loans.market,
    loans.product_id,
    loans.currency,
    loans.disbursed_on,
    recoveries.transaction_date,
    cast(0 as decimal(19, 6)),
    recoveries.amount
from loans
inner join recoveries on loans.loan_id = recoveries.loan_id
