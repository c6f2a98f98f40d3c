select
    id as ticket_id,
    requester_id,
    lower(status) as status,
    priority,
    via_channel as channel,
    coalesce(is_dispute, false) as is_dispute,
    coalesce(is_complaint, false) as is_complaint,
    coalesce(is_hardship, false) as is_hardship,
    created_at,
    updated_at,
    _loaded_at
from {{ source('raw_support', 'tickets') }}
where _deleted_at is null and coalesce(lower(status), '') <> 'deleted'
