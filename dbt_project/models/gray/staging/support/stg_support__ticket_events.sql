select
    id as event_id,
    ticket_id,
    lower(status) as status,
    created_at,
    _loaded_at
from {{ source('raw_support', 'ticket_events') }}
where _deleted_at is null
