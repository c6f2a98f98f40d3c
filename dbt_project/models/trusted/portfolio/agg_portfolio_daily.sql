{{ config(
    materialized='incremental',
    unique_key=['as_of_date', 'market', 'product_id', 'currency'],
    incremental_strategy='delete+insert',
    on_schema_change='append_new_columns',
    full_refresh=false,
    post_hook="delete from {{ this }} where loan_count is null and disbursed_amount = 0 and repaid_amount = 0 and written_off_amount = 0 and recovered_amount = 0"
) }}

-- a day's balances are known once the ledger was read on that day
with ledger as (
    select max(succeeded_as_of) as read_at from {{ source('raw_meta', 'source_read') }}
    where source = 'ledger'
),

loans as (
    select
        active.market, active.product_id, active.currency, active.principal_outstanding, active.days_past_due,
        active.dpd_bucket, clocks.business_date as as_of_date
    from {{ ref('fct_loan') }} as active
    inner join {{ ref('int_market_clock') }} as clocks on active.market = clocks.market
    cross join ledger
    where
        active.status_id = 300
        and coalesce({{ local_date('ledger.read_at', 'clocks.time_zone') }} >= clocks.business_date, true)
),

transactions as (
    select loan_id, market, product_id, currency, transaction_type_id, transaction_date, amount
    from {{ ref('fct_loan_transaction') }}
    where not is_reversed
),

write_offs as (
    select loan_id, market, product_id, currency, write_off_on, amount from {{ ref('int_unposted_write_off') }}
),

clocks as (
    select market, business_date from {{ ref('int_market_clock') }}
),

stock as (
    select
        as_of_date,
        market,
        product_id,
        currency,
        count(*) as loan_count,
        sum(principal_outstanding) as outstanding_principal,
        {% for days in [1, 7, 30, 60, 90] -%}
        sum(case when days_past_due > {{ days }} then principal_outstanding else 0 end) as par_{{ days }}_principal,
        {% endfor -%}
        {% for bucket, name in dpd_bucket_columns() -%}
        sum(case when dpd_bucket = '{{ bucket }}' then principal_outstanding else 0 end) as bucket_{{ name }}_principal{{ ',' if not loop.last }}
        {% endfor %}
    from loans
    group by as_of_date, market, product_id, currency
),

movements as (
    select
        transaction_date as moved_on,
        market,
        product_id,
        currency,
        case when transaction_type_id = 1 then amount else 0 end as disbursed_amount,
        case when transaction_type_id in (2, 28) then amount else 0 end as repaid_amount,
        case when transaction_type_id = 6 then amount else 0 end as written_off_amount,
        case when transaction_type_id = 8 then amount else 0 end as recovered_amount
    from transactions
    where transaction_type_id in (1, 2, 6, 8, 28)
    union all
    select write_off_on, market, product_id, currency, 0, 0, amount, 0
    from write_offs
),

flows as (
    select
        movements.moved_on as as_of_date,
        movements.market,
        movements.product_id,
        movements.currency,
        sum(movements.disbursed_amount) as disbursed_amount,
        sum(movements.repaid_amount) as repaid_amount,
        sum(movements.written_off_amount) as written_off_amount,
        sum(movements.recovered_amount) as recovered_amount
    from movements
    inner join clocks on movements.market = clocks.market
    where movements.moved_on <= clocks.business_date
    group by movements.moved_on, movements.market, movements.product_id, movements.currency
),

{% if is_incremental() %}
earlier as (
    select
        built.as_of_date, built.market, built.product_id, built.currency, built.loan_count, built.outstanding_principal
        {%- for days in [1, 7, 30, 60, 90] %}, built.par_{{ days }}_principal{% endfor %}
        {%- for bucket, name in dpd_bucket_columns() %}, built.bucket_{{ name }}_principal{% endfor %}
    from {{ this }} as built
    inner join clocks on built.market = clocks.market
    where built.as_of_date < clocks.business_date
),

current_keys as (
    select built.as_of_date, built.market, built.product_id, built.currency
    from {{ this }} as built
    inner join clocks on built.market = clocks.market
    where built.as_of_date = clocks.business_date
),
{% endif %}

stocks as (
    select
        as_of_date, market, product_id, currency, loan_count, outstanding_principal
        {%- for days in [1, 7, 30, 60, 90] %}, par_{{ days }}_principal{% endfor %}
        {%- for bucket, name in dpd_bucket_columns() %}, bucket_{{ name }}_principal{% endfor %}
    from stock
    {% if is_incremental() %}
    union all
    select
        as_of_date, market, product_id, currency, loan_count, outstanding_principal
        {%- for days in [1, 7, 30, 60, 90] %}, par_{{ days }}_principal{% endfor %}
        {%- for bucket, name in dpd_bucket_columns() %}, bucket_{{ name }}_principal{% endfor %}
    from earlier
    {% endif %}
),

keys as (
    select as_of_date, market, product_id, currency from stocks
    union
    select as_of_date, market, product_id, currency from flows
    {% if is_incremental() %}
    union
    select as_of_date, market, product_id, currency from current_keys
    {% endif %}
),

assembled as (
    select
        keys.as_of_date,
        keys.market,
        keys.product_id,
        keys.currency,
        stocks.loan_count,
        cast(stocks.outstanding_principal as decimal(38, 6)) as outstanding_principal,
        {% for days in [1, 7, 30, 60, 90] -%}
        cast(stocks.par_{{ days }}_principal as decimal(38, 6)) as par_{{ days }}_principal,
        {% endfor -%}
        {% for bucket, name in dpd_bucket_columns() -%}
        cast(stocks.bucket_{{ name }}_principal as decimal(38, 6)) as bucket_{{ name }}_principal,
        {% endfor -%}
        {% for flow in ['disbursed', 'repaid', 'written_off', 'recovered'] -%}
        cast(coalesce(flows.{{ flow }}_amount, 0) as decimal(38, 6)) as {{ flow }}_amount{{ ',' if not loop.last }}
        {% endfor %}
    from keys
    left join stocks
        on {{ same_key('keys', 'stocks', ['as_of_date', 'market', 'product_id', 'currency']) }}
    left join flows
        on {{ same_key('keys', 'flows', ['as_of_date', 'market', 'product_id', 'currency']) }}
)

{% set measures = ['loan_count', 'outstanding_principal'] -%}
{% for days in [1, 7, 30, 60, 90] %}{% do measures.append('par_' ~ days ~ '_principal') %}{% endfor -%}
{% for bucket, name in dpd_bucket_columns() %}{% do measures.append('bucket_' ~ name ~ '_principal') %}{% endfor -%}
{% for flow in ['disbursed', 'repaid', 'written_off', 'recovered'] %}{% do measures.append(flow ~ '_amount') %}{% endfor -%}
select
    assembled.as_of_date,
    assembled.market,
    assembled.product_id,
    assembled.currency,
    {% for measure in measures -%}
    assembled.{{ measure }}{{ ',' if not loop.last }}
    {% endfor %}
from assembled
{% if is_incremental() %}
left join {{ this }} as built
    on {{ same_key('assembled', 'built', ['as_of_date', 'market', 'product_id', 'currency']) }}
where {{ differs('assembled', 'built', ['as_of_date'] + measures) }}
{% endif %}
