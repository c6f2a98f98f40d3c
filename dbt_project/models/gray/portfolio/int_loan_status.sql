-- The words for the ledger's loan status numbers (Apache Fineract, LoanStatus).
select
    loan_id,
    case status_id
        when 100 then 'submitted'
        when 200 then 'approved'
        when 300 then 'active'
        when 303 then 'transfer_in_progress'
        when 304 then 'transfer_on_hold'
        when 400 then 'withdrawn'
        when 500 then 'rejected'
        when 600 then 'closed'
        when 601 then 'written_off'
        when 602 then 'rescheduled'
        when 700 then 'overpaid'
        else 'unknown'
    end as status
from {{ ref('stg_ledger__loans') }}
