-- The distinct texts that may be a phone or an e-mail, each with the market it was written in.
{{ config(materialized='view') }}

select distinct 'phone' as kind, phone as raw_text, market
from {{ ref('int_identity_source') }}
where phone is not null
union all
select distinct 'email', email, market
from {{ ref('int_identity_source') }}
where email is not null
