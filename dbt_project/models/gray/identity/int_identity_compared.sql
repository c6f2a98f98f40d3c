-- What splink compares of each record, and a fingerprint of it.
{{ config(materialized='view') }}

with records as (
    select
        record_key,
        first_name_key as first_name,
        last_name_key as last_name,
        cast(date_of_birth as varchar) as date_of_birth,
        phone,
        email,
        national_id_key as national_id,
        cast(ledger_client_id as varchar) as ledger_id,
        nullif(market, 'ZZ') as market
    from {{ ref('int_identity_record') }}
)

select
    record_key,
    first_name,
    last_name,
    date_of_birth,
    phone,
    email,
    national_id,
    ledger_id,
    market,
    {% set columns = ['first_name', 'last_name', 'date_of_birth', 'phone', 'email', 'national_id', 'ledger_id', 'market'] -%}
    {{ dbt.hash("coalesce(" ~ columns | join(", '-') || '|' || coalesce(") ~ ", '-')") }} as content
from records
