select
    id as installment_id,
    loan_id,
    installment as installment_number,
    fromdate as starts_on,
    duedate as due_on,
    coalesce(principal_amount, 0) as principal_due,
    coalesce(principal_completed_derived, 0) as principal_paid,
    coalesce(principal_writtenoff_derived, 0) as principal_written_off,
    coalesce(interest_amount, 0) as interest_due,
    coalesce(interest_completed_derived, 0) as interest_paid,
    coalesce(fee_charges_amount, 0) + coalesce(penalty_charges_amount, 0) as charges_due,
    coalesce(completed_derived, false) as is_complete,
    obligations_met_on_date as met_on,
    _loaded_at
from {{ source('raw_ledger', 'm_loan_repayment_schedule') }}
where _deleted_at is null
