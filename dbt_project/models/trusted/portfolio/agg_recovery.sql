with transactions as (
    select loan_id, market, product_id, currency, transaction_type_id, transaction_date, amount
    from {{ ref('fct_loan_transaction') }}
    where not is_reversed and transaction_type_id in (6, 8)
),

clocks as (
    select market, business_date from {{ ref('int_market_clock') }}
),

posted as (
    select loan_id, market, product_id, currency, transaction_date as write_off_on, amount
    from transactions
    where transaction_type_id = 6
    union all
    select loan_id, market, product_id, currency, write_off_on, amount from {{ ref('int_unposted_write_off') }}
),

write_offs as (
    select
        loan_id,
        market,
        product_id,
        currency,
        min(write_off_on) as write_off_on,
        sum(amount) as amount
    from posted
    group by loan_id, market, product_id, currency
),

ages as (
    select 30 as write_off_age_days
    union all
    select 90
    union all
    select 180
    union all
    select 360
),

recovered as (
    select
        write_offs.loan_id,
        ages.write_off_age_days,
        sum(transactions.amount) as amount
    from write_offs
    cross join ages
    inner join transactions
        on
            write_offs.loan_id = transactions.loan_id
            and transactions.transaction_type_id = 8
            and transactions.transaction_date <= {{ plus_days('write_offs.write_off_on', 'ages.write_off_age_days') }}
    group by write_offs.loan_id, ages.write_off_age_days
)

select
    write_offs.write_off_on,
    write_offs.market,
    write_offs.product_id,
    write_offs.currency,
    ages.write_off_age_days,
    {% set mature = plus_days('write_offs.write_off_on', 'ages.write_off_age_days') ~ ' < clocks.business_date' -%}
    cast(sum(case when {{ mature }} then write_offs.amount else 0 end) as decimal(38, 6)) as mature_written_off_balance,
    cast(sum(case when {{ mature }} then coalesce(recovered.amount, 0) else 0 end) as decimal(38, 6)) as mature_recovered_amount
from write_offs
inner join clocks on write_offs.market = clocks.market
cross join ages
left join recovered
    on write_offs.loan_id = recovered.loan_id and ages.write_off_age_days = recovered.write_off_age_days
where write_offs.write_off_on <= clocks.business_date
group by write_offs.write_off_on, write_offs.market, write_offs.product_id, write_offs.currency, ages.write_off_age_days
