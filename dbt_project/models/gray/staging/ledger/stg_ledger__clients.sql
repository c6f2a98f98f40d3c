-- Deleted clients stay, marked: identity and suppression still need them.
select
    id as client_id,
    status_enum as status_id,
    firstname as first_name,
    lastname as last_name,
    display_name,
    nullif(trim(mobile_no), '') as phone,
    nullif(trim(email_address), '') as email,
    date_of_birth,
    office_id,
    coalesce(activation_date, submittedon_date) as activated_on,
    created_on_utc as created_at,
    last_modified_on_utc as modified_at,
    _deleted_at is not null as is_deleted,
    _loaded_at
from {{ source('raw_ledger', 'm_client') }}
