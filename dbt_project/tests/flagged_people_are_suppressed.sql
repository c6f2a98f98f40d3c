-- People whose CRM record says fraud or death and whom no suppression holds back for it.
{{ config(meta={'dimension': 'consistency'}) }}
with customers as (
    select person_key, is_fraud, is_deceased from {{ ref('dim_customer') }}
),

held as (
    select person_key, reason from {{ ref('fct_suppression') }}
),

flagged as (
    select person_key, 'fraud' as reason from customers
    where is_fraud
    union all
    select person_key, 'deceased' from customers
    where is_deceased
)

select flagged.person_key, flagged.reason
from flagged
left join held on flagged.person_key = held.person_key and flagged.reason = held.reason
where held.person_key is null
