select
    id as application_id,
    contact_id,
    {{ as_integer('ledger_loan_id') }} as loan_id,
    nullif(trim(product), '') as product_name,
    upper(nullif(trim(market), '')) as market,
    upper(nullif(trim(currency), '')) as currency,
    lower(trim(stage)) as status,
    requested_amount,
    approved_amount,
    coalesce(applied_at, created_at) as applied_at,
    kyc_completed_at,
    approved_at,
    declined_at,
    accepted_at,
    disbursed_at,
    _loaded_at
from {{ source('raw_crm', 'deals') }}
where _deleted_at is null and not coalesce(is_archived, false)
