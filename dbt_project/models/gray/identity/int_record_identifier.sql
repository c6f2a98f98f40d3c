-- What a record can be reached by or mistaken for: its valid phone and e-mail, and every id it claims, right or wrong.
with records as (
    select record_key, person_key, source, source_id, phone_hash, email_hash, national_id_key, ledger_client_id
    from {{ ref('int_person_record') }}
)

select record_key, person_key, source, source_id, 'shared_phone' as via, phone_hash as value
from records
where phone_hash is not null
union all
select record_key, person_key, source, source_id, 'shared_email', email_hash
from records
where email_hash is not null
union all
select record_key, person_key, source, source_id, 'shared_id', 'ledger:' || cast(ledger_client_id as varchar)
from records
where ledger_client_id is not null
union all
select record_key, person_key, source, source_id, 'shared_id', 'national:' || national_id_key
from records
where national_id_key is not null
