with loans as (
    select
        lent.loan_id, lent.person_key, lent.market, lent.product_id, lent.currency, lent.loan_status, lent.disbursed_on,
        lent.closed_on, clocks.business_date
    from {{ ref('fct_loan') }} as lent
    inner join {{ ref('int_market_clock') }} as clocks on lent.market = clocks.market
    where lent.person_key is not null and lent.disbursed_on is not null
),

closures as (
    select loan_id, person_key, market, product_id, currency, closed_on, business_date
    from loans
    where loan_status in ('closed', 'overpaid') and closed_on is not null
),

returns as (
    select
        closures.loan_id,
        min(loans.disbursed_on) as returned_on
    from closures
    inner join loans
        on
            closures.person_key = loans.person_key
            and closures.loan_id <> loans.loan_id
            and loans.disbursed_on >= closures.closed_on
    group by closures.loan_id
),

horizons as (
    select 30 as repeat_horizon_days
    union all
    select 60
    union all
    select 90
),

judged as (
    select
        closures.closed_on,
        closures.market,
        closures.product_id,
        closures.currency,
        horizons.repeat_horizon_days,
        {{ plus_days('closures.closed_on', 'horizons.repeat_horizon_days') }} < closures.business_date as is_mature,
        coalesce({{ days_between('closures.closed_on', 'returns.returned_on') }} <= horizons.repeat_horizon_days, false)
            as is_repeated
    from closures
    left join returns on closures.loan_id = returns.loan_id
    cross join horizons
)

select
    closed_on,
    market,
    product_id,
    currency,
    repeat_horizon_days,
    cast(sum(case when is_mature then 1 else 0 end) as bigint) as mature_closure_count,
    cast(sum(case when is_mature and is_repeated then 1 else 0 end) as bigint) as repeated_closure_count
from judged
group by closed_on, market, product_id, currency, repeat_horizon_days
