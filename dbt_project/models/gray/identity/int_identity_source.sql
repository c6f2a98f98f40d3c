-- Every record of a person in any system, side by side, as the systems spell them.
with clients as (
    select
        client_id, first_name, last_name, display_name, phone, email, date_of_birth, activated_on, created_at, modified_at,
        is_deleted
    from {{ ref('stg_ledger__clients') }}
),

client_markets as (
    select client_id, market from {{ ref('int_ledger_client_market') }}
),

contacts as (
    select
        contact_id, first_name, last_name, phone, email, market, date_of_birth, national_id, ledger_client_id, language,
        created_at, updated_at, is_deleted
    from {{ ref('stg_crm__contacts') }}
),

users as (
    select user_id, ledger_client_id, full_name, phone, email, created_at, updated_at, is_deleted
    from {{ ref('stg_support__users') }}
),

responses as (
    select
        response_id, market, first_name, last_name, date_of_birth, phone, email, ledger_client_id, said_at, is_deleted
    from {{ ref('stg_survey__responses') }}
),

markets as (
    select market from {{ ref('markets') }}
)

select
    'ledger:' || cast(clients.client_id as varchar) as record_key,
    'ledger' as source,
    cast(clients.client_id as varchar) as source_id,
    client_markets.market,
    coalesce(
        clients.first_name,
        {{ dbt.split_part('clients.display_name', "' '", 1) }}
    ) as first_name,
    clients.last_name,
    clients.date_of_birth,
    clients.phone,
    clients.email,
    cast(null as varchar) as national_id,
    clients.client_id as ledger_client_id,
    cast(null as varchar) as language,
    coalesce(clients.created_at, {{ midnight_utc('clients.activated_on') }}) as created_at,
    clients.activated_on as since,
    clients.modified_at as updated_at,
    clients.is_deleted
from clients
inner join client_markets on clients.client_id = client_markets.client_id

union all

select
    'crm:' || contacts.contact_id,
    'crm',
    contacts.contact_id,
    coalesce(markets.market, client_markets.market, 'ZZ'),
    contacts.first_name,
    contacts.last_name,
    contacts.date_of_birth,
    contacts.phone,
    contacts.email,
    contacts.national_id,
    contacts.ledger_client_id,
    contacts.language,
    contacts.created_at,
    cast(contacts.created_at as date),
    contacts.updated_at,
    contacts.is_deleted
from contacts
left join markets on contacts.market = markets.market
left join client_markets on contacts.ledger_client_id = client_markets.client_id

union all

select
    'support:' || cast(users.user_id as varchar),
    'support',
    cast(users.user_id as varchar),
    coalesce(client_markets.market, 'ZZ'),
    {{ dbt.split_part('trim(users.full_name)', "' '", 1) }},
    {{ dbt.split_part('trim(users.full_name)', "' '", -1) }},
    cast(null as date),
    users.phone,
    users.email,
    cast(null as varchar),
    users.ledger_client_id,
    cast(null as varchar),
    users.created_at,
    cast(users.created_at as date),
    users.updated_at,
    users.is_deleted
from users
left join client_markets on users.ledger_client_id = client_markets.client_id

union all

select
    'survey:' || responses.response_id,
    'survey',
    responses.response_id,
    coalesce(markets.market, client_markets.market, 'ZZ'),
    responses.first_name,
    responses.last_name,
    responses.date_of_birth,
    responses.phone,
    responses.email,
    cast(null as varchar),
    responses.ledger_client_id,
    cast(null as varchar),
    responses.said_at,
    cast(responses.said_at as date),
    responses.said_at,
    responses.is_deleted
from responses
left join markets on responses.market = markets.market
left join client_markets on responses.ledger_client_id = client_markets.client_id
