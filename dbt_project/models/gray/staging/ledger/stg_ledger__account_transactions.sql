select
    id as account_transaction_id,
    savings_account_id as account_id,
    transaction_type_enum as transaction_type_id,
    transaction_date,
    amount,
    running_balance_derived as running_balance,
    coalesce(is_reversed, false) as is_reversed,
    created_on_utc as created_at,
    last_modified_on_utc as modified_at,
    _loaded_at
from {{ source('raw_ledger', 'm_savings_account_transaction') }}
where _deleted_at is null
