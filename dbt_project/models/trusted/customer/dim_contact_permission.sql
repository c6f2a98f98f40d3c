with members as (
    select record_key, person_key, source, source_id, is_deleted
    from {{ ref('int_person_record') }}
    where source in ('crm', 'survey')
),

contacts as (
    select contact_id, sms_consent, sms_consent_at, email_consent, email_consent_at, is_do_not_contact, updated_at
    from {{ ref('stg_crm__contacts') }}
),

-- of a file only a no counts
refusals as (
    select responses.response_id, channels.channel, responses.said_at
    from {{ ref('stg_survey__responses') }} as responses
    cross join (select 'sms' as channel union all select 'email') as channels
    where responses.is_do_not_contact
),

said as (
    select
        members.record_key,
        members.person_key,
        'sms' as channel,
        contacts.sms_consent as consent,
        contacts.sms_consent_at as consent_at,
        contacts.is_do_not_contact,
        contacts.updated_at,
        members.is_deleted
    from members
    inner join contacts on members.source = 'crm' and members.source_id = contacts.contact_id
    union all
    select
        members.record_key,
        members.person_key,
        'email',
        contacts.email_consent,
        contacts.email_consent_at,
        contacts.is_do_not_contact,
        contacts.updated_at,
        members.is_deleted
    from members
    inner join contacts on members.source = 'crm' and members.source_id = contacts.contact_id
    union all
    select
        members.record_key,
        members.person_key,
        refusals.channel,
        cast(null as boolean),
        cast(null as timestamp with time zone),
        true,
        refusals.said_at,
        members.is_deleted
    from members
    inner join refusals on members.source = 'survey' and members.source_id = refusals.response_id
),

identifiers as (
    select record_key, person_key, via, value from {{ ref('int_record_identifier') }}
),

-- what was withdrawn for a number or mailbox is withdrawn for everyone who has it, and for a probable double
touched as (
    select distinct theirs.person_key, said.channel
    from said
    inner join identifiers as mine
        on
            said.record_key = mine.record_key
            and mine.via in (case said.channel when 'sms' then 'shared_phone' else 'shared_email' end, 'probable_match')
    inner join identifiers as theirs on mine.via = theirs.via and mine.value = theirs.value
    where said.consent = false
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
        when touched.person_key is not null then 'withdrawn_by_sharer'
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
