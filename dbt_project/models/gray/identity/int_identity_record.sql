-- Every record of a person with its identifiers normalised: what matching compares.
with sources as (
    select
        record_key, source, source_id, market, first_name, last_name, date_of_birth, phone, email, national_id,
        ledger_client_id, language, created_at, since, updated_at, is_deleted
    from {{ ref('int_identity_source') }}
),

points as (
    select kind, raw_text, market, value, value_hash
    from {{ ref('int_contact_point') }}
    where is_valid
)

select
    sources.record_key,
    sources.source,
    sources.source_id,
    case sources.source when 'ledger' then 1 when 'crm' then 2 when 'support' then 3 else 4 end as source_order,
    sources.market,
    sources.first_name,
    sources.last_name,
    {{ normalize_name('sources.first_name') }} as first_name_key,
    {{ normalize_name('sources.last_name') }} as last_name_key,
    sources.date_of_birth,
    phones.value as phone,
    phones.value_hash as phone_hash,
    emails.value as email,
    emails.value_hash as email_hash,
    {{ normalize_id('sources.national_id') }} as national_id_key,
    sources.ledger_client_id,
    sources.language,
    sources.created_at,
    sources.since,
    sources.updated_at,
    sources.is_deleted
from sources
left join points as phones
    on phones.kind = 'phone' and sources.phone = phones.raw_text and sources.market = phones.market
left join points as emails
    on emails.kind = 'email' and sources.email = emails.raw_text and sources.market = emails.market
