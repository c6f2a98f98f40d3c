-- How each loan stands, for those who follow applications into the ledger.
select
    loans.loan_id,
    loans.disbursed_on,
    loans.closed_on,
    statuses.status
from {{ ref('stg_ledger__loans') }} as loans
inner join {{ ref('int_loan_status') }} as statuses on loans.loan_id = statuses.loan_id
