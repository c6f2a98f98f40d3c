with tickets as (
    select
        ticket_id, requester_id, status, priority, channel, is_dispute, is_complaint, is_hardship, created_at, updated_at
    from {{ ref('stg_support__tickets') }}
),

people as (
    select person_key, source_id, market from {{ ref('int_person_record') }}
    where source = 'support'
),

customers as (
    select person_key, market from {{ ref('dim_customer') }}
),

solved as (
    select ticket_id, max(created_at) as solved_at
    from {{ ref('stg_support__ticket_events') }}
    where status = 'solved'
    group by ticket_id
),

assembled as (
    select
        tickets.ticket_id,
        people.person_key,
        coalesce(customers.market, people.market, 'ZZ') as market,
        tickets.status,
        tickets.priority,
        tickets.channel,
        tickets.status not in ('solved', 'closed') as is_open,
        tickets.is_dispute,
        tickets.is_complaint,
        tickets.is_hardship,
        tickets.created_at,
        tickets.updated_at,
        solved.solved_at
    from tickets
    left join people on people.source_id = cast(tickets.requester_id as varchar)
    left join customers on people.person_key = customers.person_key
    left join solved on tickets.ticket_id = solved.ticket_id
)

select
    ticket_id,
    person_key,
    market,
    status as ticket_status,
    priority,
    channel as ticket_channel,
    is_open,
    is_dispute,
    is_complaint,
    is_hardship,
    created_at,
    updated_at,
    case when not is_open then coalesce(solved_at, updated_at) end as solved_at
from assembled
