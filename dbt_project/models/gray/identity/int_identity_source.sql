-- Every record of a person in any system, side by side, as the systems spell them.
with clients as (
    select
        'ledger' as source,
        cast(client_id as varchar) as source_id,
        cast(null as varchar) as market,
        coalesce(first_name, {{ dbt.split_part('display_name', "' '", 1) }}) as first_name,
        last_name,
        date_of_birth,
        phone,
        email,
        cast(null as varchar) as national_id,
        client_id as ledger_client_id,
        cast(null as varchar) as language,
        coalesce(created_at, {{ midnight_utc('activated_on') }}) as created_at,
        activated_on as since,
        modified_at as updated_at,
        is_deleted
    from {{ ref('stg_ledger__clients') }}
),

contacts as (
    select
        'crm' as source,
        contact_id as source_id,
        market,
        first_name,
        last_name,
        date_of_birth,
        phone,
        email,
        national_id,
        ledger_client_id,
        language,
        created_at,
        cast(created_at as date) as since,
        updated_at,
        is_deleted
    from {{ ref('stg_crm__contacts') }}
),

users as (
    select
        'support' as source,
        cast(user_id as varchar) as source_id,
        cast(null as varchar) as market,
        {{ dbt.split_part('trim(full_name)', "' '", 1) }} as first_name,
        {{ dbt.split_part('trim(full_name)', "' '", -1) }} as last_name,
        cast(null as date) as date_of_birth,
        phone,
        email,
        cast(null as varchar) as national_id,
        ledger_client_id,
        cast(null as varchar) as language,
        created_at,
        cast(created_at as date) as since,
        updated_at,
        is_deleted
    from {{ ref('stg_support__users') }}
),

responses as (
    select
        'survey' as source,
        response_id as source_id,
        market,
        first_name,
        last_name,
        date_of_birth,
        phone,
        email,
        cast(null as varchar) as national_id,
        ledger_client_id,
        cast(null as varchar) as language,
        said_at as created_at,
        cast(said_at as date) as since,
        said_at as updated_at,
        is_deleted
    from {{ ref('stg_survey__responses') }}
),

records as (
    {%- for system in ['clients', 'contacts', 'users', 'responses'] %}
    select
        source, source_id, market, first_name, last_name, date_of_birth, phone, email, national_id, ledger_client_id,
        language, created_at, since, updated_at, is_deleted
    from {{ system }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

markets as (
    select market from {{ ref('markets') }}
),

client_markets as (
    select client_id, market from {{ ref('int_ledger_client_market') }}
)

select
    records.source || ':' || records.source_id as record_key,
    records.source,
    records.source_id,
    coalesce(markets.market, client_markets.market, 'ZZ') as market,
    records.first_name,
    records.last_name,
    records.date_of_birth,
    records.phone,
    records.email,
    records.national_id,
    records.ledger_client_id,
    records.language,
    records.created_at,
    records.since,
    records.updated_at,
    records.is_deleted
from records
left join markets on records.market = markets.market
left join client_markets on records.ledger_client_id = client_markets.client_id
