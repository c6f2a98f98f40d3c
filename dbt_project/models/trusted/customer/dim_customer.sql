-- who is in a file only is nobody's customer
with records as (
    select
        record_key, person_key, source, source_id, source_order, market, phone_hash, email_hash, since, updated_at,
        is_deleted
    from {{ ref('int_person_record') }}
    where source <> 'survey'
),

contacts as (
    select contact_id, is_deceased, is_fraud from {{ ref('stg_crm__contacts') }}
),

-- a record that is gone still has a person while something in the facts is theirs
in_use as (
    select 'ledger:' || cast(client_id as varchar) as record_key from {{ ref('stg_ledger__loans') }}
    union
    select 'crm:' || contact_id from {{ ref('stg_crm__deals') }}
    union
    select 'support:' || cast(requester_id as varchar) from {{ ref('stg_support__tickets') }}
),

people as (
    select
        records.person_key,
        min(records.since) as customer_since,
        sum(case when records.source = 'crm' and not records.is_deleted then 1 else 0 end) as crm_contact_count,
        sum(case when records.source = 'ledger' and not records.is_deleted then 1 else 0 end) as ledger_client_count,
        sum(case when records.source = 'support' and not records.is_deleted then 1 else 0 end) as support_user_count
    from records
    left join in_use on records.record_key = in_use.record_key
    where not records.is_deleted or in_use.record_key is not null
    group by records.person_key
),

flags as (
    select
        records.person_key,
        max(case when contacts.is_deceased then 1 else 0 end) = 1 as is_deceased,
        max(case when contacts.is_fraud then 1 else 0 end) = 1 as is_fraud
    from records
    inner join contacts on records.source = 'crm' and records.source_id = contacts.contact_id
    group by records.person_key
),

homes as (
    select
        person_key,
        market,
        row_number() over (
            partition by person_key
            order by
                case when is_deleted then 1 else 0 end,
                case when market = 'ZZ' then 1 else 0 end,
                source_order,
                length(source_id),
                source_id
        ) as rank
    from records
),

addresses as (
    select person_key, channel, address_hash
    from {{ ref('customer_contact') }}
    where is_primary
)

select
    people.person_key,
    homes.market,
    people.customer_since,
    coalesce(flags.is_deceased, false) as is_deceased,
    coalesce(flags.is_fraud, false) as is_fraud,
    phones.address_hash is not null as has_phone,
    emails.address_hash is not null as has_email,
    phones.address_hash as phone_hash,
    emails.address_hash as email_hash,
    cast(people.crm_contact_count as integer) as crm_contact_count,
    cast(people.ledger_client_count as integer) as ledger_client_count,
    cast(people.support_user_count as integer) as support_user_count
from people
inner join homes on people.person_key = homes.person_key and homes.rank = 1
left join flags on people.person_key = flags.person_key
left join addresses as phones on people.person_key = phones.person_key and phones.channel = 'sms'
left join addresses as emails on people.person_key = emails.person_key and emails.channel = 'email'
