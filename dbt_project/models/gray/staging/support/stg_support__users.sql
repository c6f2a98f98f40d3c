-- Deleted users stay, marked: their open tickets still hold people back.
select
    id as user_id,
    {{ as_integer('external_id') }} as ledger_client_id,
    name as full_name,
    nullif(trim(phone), '') as phone,
    nullif(trim(email), '') as email,
    role,
    created_at,
    updated_at,
    _deleted_at is not null as is_deleted,
    _loaded_at
from {{ source('raw_support', 'users') }}
where coalesce(role, 'end-user') = 'end-user'
