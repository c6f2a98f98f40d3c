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
    person_key,
    channel,
    has_consented and not has_withdrawn and not has_do_not_contact as is_permitted,
    case
        when has_do_not_contact then 'do_not_contact'
        when has_withdrawn then 'withdrawn'
        when has_consented then 'consent'
        else 'archived_contact'
    end as basis,
    case
        when has_do_not_contact then do_not_contact_at
        when has_withdrawn then withdrawn_at
        else consented_at
    end as decided_at
from judged
where has_do_not_contact or has_withdrawn or has_consented or has_archived_consent
