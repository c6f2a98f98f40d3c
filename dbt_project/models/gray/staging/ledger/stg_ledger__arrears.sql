select
    loan_id,
    total_overdue_derived as total_overdue,
    overdue_since_date_derived as overdue_since,
    _loaded_at
from {{ source('raw_ledger', 'm_loan_arrears_aging') }}
where _deleted_at is null
