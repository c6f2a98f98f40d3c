select
    id as account_id,
    client_id,
    currency_code as currency,
    activated_on,
    _loaded_at
from {{ source('raw_ledger', 'm_savings_account') }}
where _deleted_at is null
