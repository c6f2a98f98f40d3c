select
    id as loan_transaction_id,
    loan_id,
    transaction_type_enum as transaction_type_id,
    transaction_date,
    amount,
    principal_portion_derived as principal_amount,
    interest_portion_derived as interest_amount,
    fee_charges_portion_derived as fee_amount,
    penalty_charges_portion_derived as penalty_amount,
    coalesce(is_reversed, false) as is_reversed,
    reversed_on_date as reversed_on,
    created_on_utc as created_at,
    last_modified_on_utc as modified_at,
    _loaded_at
from {{ source('raw_ledger', 'm_loan_transaction') }}
where _deleted_at is null
