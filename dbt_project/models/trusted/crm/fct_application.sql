{{ config(
    materialized='incremental',
    unique_key='application_id',
    incremental_strategy='delete+insert',
    on_schema_change='append_new_columns',
    post_hook="delete from {{ this }} where application_id not in (select application_id from {{ ref('stg_crm__deals') }})"
) }}

with deals as (
    select
        application_id, contact_id, loan_id, product_name, market, currency, status, requested_amount, approved_amount,
        applied_at, kyc_completed_at, approved_at, declined_at, accepted_at, disbursed_at, _loaded_at
    from {{ ref('stg_crm__deals') }}
),

people as (
    select person_key, source_id, market from {{ ref('int_person_record') }}
    where source = 'crm'
),

markets as (
    select market, currency from {{ ref('int_market_clock') }}
),

loans as (
    select loan_id from {{ ref('stg_ledger__loans') }}
),

assembled as (
    select
        deals.application_id,
        people.person_key,
        coalesce(own_markets.market, people.market, 'ZZ') as market,
        deals.product_name,
        coalesce(deals.currency, own_markets.currency, person_markets.currency) as currency,
        {{ money('deals.requested_amount') }} as requested_amount,
        {{ money('deals.approved_amount') }} as approved_amount,
        deals.status,
        deals.applied_at,
        deals.kyc_completed_at,
        deals.approved_at,
        deals.declined_at,
        deals.accepted_at,
        deals.disbursed_at,
        loans.loan_id,
        deals._loaded_at as loaded_at
    from deals
    left join people on deals.contact_id = people.source_id
    left join markets as own_markets on deals.market = own_markets.market
    left join markets as person_markets on people.market = person_markets.market
    left join loans on deals.loan_id = loans.loan_id
)

select
    assembled.application_id,
    assembled.person_key,
    assembled.market,
    assembled.product_name,
    assembled.currency,
    assembled.requested_amount,
    assembled.approved_amount,
    assembled.status as application_status,
    assembled.applied_at,
    assembled.kyc_completed_at,
    assembled.approved_at,
    assembled.declined_at,
    assembled.accepted_at,
    assembled.disbursed_at,
    assembled.loan_id,
    assembled.loaded_at
from assembled
{% if is_incremental() %}
left join {{ this }} as built on assembled.application_id = built.application_id
where
    {{ differs('assembled', 'built', ['loaded_at', 'person_key', 'market', 'currency', 'loan_id']) }}
{% endif %}
