with records as (
    select
        person_key, source, source_id, phone, phone_hash, email, email_hash, updated_at
    from {{ ref('int_person_record') }}
    where not is_deleted and source in ('crm', 'ledger')
),

addresses as (
    select person_key, 'sms' as channel, phone as address, phone_hash as address_hash, source, source_id, updated_at
    from records
    where phone is not null
    union all
    select person_key, 'email', email, email_hash, source, source_id, updated_at
    from records
    where email is not null
),

preferred as (
    select
        person_key,
        channel,
        address,
        address_hash,
        source,
        source_id,
        case source when 'crm' then 1 else 2 end as preference,
        updated_at,
        row_number() over (
            partition by person_key, channel, address
            order by case source when 'crm' then 1 else 2 end, updated_at desc, source_id
        ) as rank
    from addresses
)

select
    person_key,
    channel,
    address,
    address_hash,
    source,
    source_id,
    row_number() over (
        partition by person_key, channel
        order by preference, updated_at desc, source_id, address
    ) = 1 as is_primary
from preferred
where rank = 1
