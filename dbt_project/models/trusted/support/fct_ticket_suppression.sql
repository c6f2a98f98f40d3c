with tickets as (
    select ticket_id, requester_id, status, is_dispute, is_complaint, is_hardship, created_at
    from {{ ref('stg_support__tickets') }}
    where coalesce(status, 'open') not in ('solved', 'closed')
),

flagged as (
    select
        'support:' || cast(requester_id as varchar) as record_key, ticket_id as source_id, 'complaint' as reason,
        created_at as since
    from tickets
    where is_complaint
    union all
    select 'support:' || cast(requester_id as varchar), ticket_id, 'dispute', created_at
    from tickets
    where is_dispute
    union all
    select 'support:' || cast(requester_id as varchar), ticket_id, 'hardship', created_at
    from tickets
    where is_hardship
),

{{ suppression_reach('flagged', 'reached') }}

select
    person_key,
    reason,
    via,
    source_id as ticket_id,
    since
from reached
