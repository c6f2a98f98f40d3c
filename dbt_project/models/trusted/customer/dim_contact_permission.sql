with members as (
    select person_key, source, source_id, phone_hash, email_hash, is_deleted
    from {{ ref('int_person_record') }}
    where source = 'crm'
),

contacts as (
    select contact_id, sms_consent, sms_consent_at, email_consent, email_consent_at, is_do_not_contact, updated_at
    from {{ ref('stg_crm__contacts') }}
),

said as (
    select
        members.person_key,
        'sms' as channel,
        contacts.sms_consent as consent,
        contacts.sms_consent_at as consent_at,
        contacts.is_do_not_contact,
        contacts.updated_at,
        members.is_deleted,
        members.phone_hash as address_hash
    from members
    inner join contacts on members.source_id = contacts.contact_id
    union all
    select
        members.person_key,
        'email',
        contacts.email_consent,
        contacts.email_consent_at,
        contacts.is_do_not_contact,
        contacts.updated_at,
        members.is_deleted,
        members.email_hash
    from members
    inner join contacts on members.source_id = contacts.contact_id
),

-- a number or mailbox that somebody withdrew is withdrawn for everyone who has it
withdrawn_addresses as (
    select distinct channel, address_hash
    from said
    where consent = false and address_hash is not null
),

held_addresses as (
    select distinct person_key, case via when 'shared_phone' then 'sms' else 'email' end as channel, value as address_hash
    from {{ ref('int_record_identifier') }}
    where via in ('shared_phone', 'shared_email')
),

touched as (
    select distinct held_addresses.person_key, held_addresses.channel
    from held_addresses
    inner join withdrawn_addresses
        on
            held_addresses.channel = withdrawn_addresses.channel
            and held_addresses.address_hash = withdrawn_addresses.address_hash
),

judged as (
    select
        person_key,
        channel,
        max(case when is_do_not_contact then 1 else 0 end) = 1 as has_do_not_contact,
        max(case when consent = false then 1 else 0 end) = 1 as has_withdrawn,
        max(case when consent and not is_deleted then 1 else 0 end) = 1 as has_consented,
        max(case when consent and is_deleted then 1 else 0 end) = 1 as has_archived_consent,
        max(case when is_do_not_contact then updated_at end) as do_not_contact_at,
        max(case when consent = false then consent_at end) as withdrawn_at,
        max(case when consent then consent_at end) as consented_at
    from said
    group by person_key, channel
)

select
    judged.person_key,
    judged.channel,
    judged.has_consented
    and not judged.has_withdrawn
    and not judged.has_do_not_contact
    and touched.person_key is null as is_permitted,
    case
        when judged.has_do_not_contact then 'do_not_contact'
        when judged.has_withdrawn then 'withdrawn'
        when touched.person_key is not null then 'withdrawn_for_shared_address'
        when judged.has_consented then 'consent'
        else 'archived_contact'
    end as basis,
    case
        when judged.has_do_not_contact then judged.do_not_contact_at
        when judged.has_withdrawn then judged.withdrawn_at
        else judged.consented_at
    end as decided_at
from judged
left join touched on judged.person_key = touched.person_key and judged.channel = touched.channel
where judged.has_do_not_contact or judged.has_withdrawn or judged.has_consented or judged.has_archived_consent
