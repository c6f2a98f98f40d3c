select
    id as product_id,
    name as product_name,
    short_name,
    currency_code as currency,
    number_of_repayments as instalment_count,
    _loaded_at
from {{ source('raw_ledger', 'm_product_loan') }}
where _deleted_at is null
