{{ config(materialized='table') }}

-- Everyone who is in the funnel, with a fingerprint of all that their stages are made of.
select
    person_key,
    {{ fingerprint_of_rows([
        'event', 'application_id', 'market', 'product_name', 'happened_at', 'approved_at', 'accepted_at', 'disbursed_at',
        'repaid_at'
    ]) }} as input_hash
from {{ ref('int_funnel_event') }}
group by person_key
