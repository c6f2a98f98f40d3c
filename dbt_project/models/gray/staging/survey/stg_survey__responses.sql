-- A file never gives consent: of what it says of contact only a no counts. Withdrawn rows stay, marked, and so does their no.
select
    id as response_id,
    file as file_name,
    upper(nullif(trim(market), '')) as market,
    coalesce(first_name, {{ dbt.split_part('trim(full_name)', "' '", 1) }}) as first_name,
    coalesce(last_name, {{ dbt.split_part('trim(full_name)', "' '", -1) }}) as last_name,
    nullif(trim(phone), '') as phone,
    nullif(trim(email), '') as email,
    date_of_birth,
    {{ as_integer('customer_id') }} as ledger_client_id,
    answered_at,
    channel,
    campaign,
    score,
    coalesce(do_not_contact, false) or not coalesce(wants_contact, true) as is_do_not_contact,
    coalesce(answered_at, _loaded_at) as said_at,
    _deleted_at is not null as is_deleted,
    _loaded_at
from {{ source('raw_survey', 'response') }}
