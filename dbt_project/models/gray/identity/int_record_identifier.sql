-- What a record can be reached by or mistaken for: its valid phone and e-mail, every number that its phone may be, the
-- mailbox behind its e-mail, and every id it claims, right or wrong.
with records as (
    select record_key, person_key, source, source_id, phone_hash, email_hash, national_id_key, ledger_client_id
    from {{ ref('int_person_record') }}
),

phones as (
    select sources.record_key, points.value_hash
    from {{ ref('int_identity_source') }} as sources
    inner join {{ ref('int_contact_point') }} as points
        on points.kind = 'phone' and sources.phone = points.raw_text and sources.market = points.market
    where not points.is_valid and points.value_hash is not null
),

mailboxes as (
    select sources.record_key, points.value_hash
    from {{ ref('int_identity_source') }} as sources
    inner join {{ ref('int_contact_point') }} as points
        on points.kind = 'email' and sources.email = points.raw_text and sources.market = points.market
    where not points.is_valid and points.value_hash is not null
)

select record_key, person_key, source, source_id, 'shared_phone' as via, phone_hash as value
from records
where phone_hash is not null
union all
select records.record_key, records.person_key, records.source, records.source_id, 'shared_phone', phones.value_hash
from records
inner join phones on records.record_key = phones.record_key
union all
select record_key, person_key, source, source_id, 'shared_email', email_hash
from records
where email_hash is not null
union all
select records.record_key, records.person_key, records.source, records.source_id, 'shared_email', mailboxes.value_hash
from records
inner join mailboxes on records.record_key = mailboxes.record_key
union all
select record_key, person_key, source, source_id, 'shared_id', 'ledger:' || cast(ledger_client_id as varchar)
from records
where ledger_client_id is not null
union all
select record_key, person_key, source, source_id, 'shared_id', 'national:' || national_id_key
from records
where national_id_key is not null
union all
-- a pair that is probably one person shares the pair itself
select records.record_key, records.person_key, records.source, records.source_id, 'probable_match', pairs.pair
from records
inner join (
    select one as record_key, one || '|' || other as pair from {{ ref('int_identity_probable') }}
    union all
    select other, one || '|' || other from {{ ref('int_identity_probable') }}
) as pairs on records.record_key = pairs.record_key
