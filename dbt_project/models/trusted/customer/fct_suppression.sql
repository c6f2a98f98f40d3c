with contacts as (
    select contact_id, is_do_not_contact, is_fraud, is_deceased, has_dispute, updated_at
    from {{ ref('stg_crm__contacts') }}
),

responses as (
    select response_id, is_do_not_contact, said_at from {{ ref('stg_survey__responses') }}
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

opted_out as (
    select 'survey:' || response_id as record_key, response_id as source_id, 'opt_out' as reason, said_at as since
    from responses
    where is_do_not_contact
),

{{ suppression_reach('flagged', 'reached') }},

{{ suppression_reach('opted_out', 'reached_by_file') }}

select
    person_key,
    reason,
    via,
    'crm' as source,
    source_id,
    since
from reached
union all
select
    person_key,
    reason,
    via,
    'survey',
    source_id,
    since
from reached_by_file
