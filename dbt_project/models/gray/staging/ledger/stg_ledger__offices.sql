select
    id as office_id,
    name as office_name,
    upper(trim(external_id)) as market,
    _loaded_at
from {{ source('raw_ledger', 'm_office') }}
where _deleted_at is null
