with contacts as (
    select contact_id, is_do_not_contact, is_fraud, is_deceased, has_dispute, updated_at
    from {{ ref('stg_crm__contacts') }}
),

flagged as (
    select 'crm:' || contact_id as record_key, contact_id as source_id, 'opt_out' as reason, updated_at as since
    from contacts
    where is_do_not_contact
    union all
    select 'crm:' || contact_id, contact_id, 'fraud', updated_at
    from contacts
    where is_fraud
    union all
    select 'crm:' || contact_id, contact_id, 'deceased', updated_at
    from contacts
    where is_deceased
    union all
    select 'crm:' || contact_id, contact_id, 'dispute', updated_at
    from contacts
    where has_dispute
),

{{ suppression_reach('flagged', 'reached') }}

select
    person_key,
    reason,
    via,
    'crm' as source,
    source_id,
    since
from reached
