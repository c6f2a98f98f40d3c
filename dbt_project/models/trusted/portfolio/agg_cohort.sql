with loans as (
    select
        loan_id, market, product_id, currency, disbursed_on, principal_disbursed,
        cast({{ dbt.date_trunc('month', 'disbursed_on') }} as date) as cohort_month
    from {{ ref('fct_loan') }}
    where disbursed_on is not null
),

clocks as (
    select market, business_date from {{ ref('int_market_clock') }}
),

losses as (
    select
        market,
        product_id,
        currency,
        cast({{ dbt.date_trunc('month', 'disbursed_on') }} as date) as cohort_month,
        -- the first week by whose end it had happened
        greatest(cast(ceiling({{ days_between('disbursed_on', 'moved_on') }} / 7.0) as integer), 1) as week,
        sum(charged_off_amount) as charged_off_amount,
        sum(recovered_amount) as recovered_amount
    from {{ ref('int_loan_loss') }}
    group by 1, 2, 3, 4, 5
),

cohorts as (
    select
        loans.cohort_month,
        loans.market,
        loans.product_id,
        loans.currency,
        count(*) as loan_count,
        sum(loans.principal_disbursed) as disbursed_principal,
        max(clocks.business_date) as business_date
    from loans
    inner join clocks on loans.market = clocks.market
    group by loans.cohort_month, loans.market, loans.product_id, loans.currency
),

weeks as (
    {{ numbers_to(var('cohort_weeks')) }}
),

cells as (
    select
        cohorts.cohort_month,
        cohorts.market,
        cohorts.product_id,
        cohorts.currency,
        cohorts.loan_count,
        cohorts.disbursed_principal,
        weeks.number as weeks_on_book,
        {{ plus_days(
            "cast(" ~ dbt.dateadd('month', 1, 'cohorts.cohort_month') ~ " as date)", '(weeks.number * 7 - 1)'
        ) }} < cohorts.business_date as is_mature
    from cohorts
    cross join weeks
    where {{ plus_days('cohorts.cohort_month', 'weeks.number * 7') }} <= cohorts.business_date
)

select
    cells.cohort_month,
    cells.market,
    cells.product_id,
    cells.currency,
    cells.weeks_on_book,
    cells.loan_count as cohort_loan_count,
    cast(cells.disbursed_principal as decimal(38, 6)) as disbursed_principal,
    cast(sum(coalesce(losses.charged_off_amount, 0)) over so_far as decimal(38, 6)) as charged_off_amount,
    cast(sum(coalesce(losses.recovered_amount, 0)) over so_far as decimal(38, 6)) as cohort_recovered_amount,
    cells.is_mature
from cells
left join losses
    on
        {{ same_key('cells', 'losses', ['cohort_month', 'market', 'product_id', 'currency']) }}
        and cells.weeks_on_book = losses.week
window so_far as (
    partition by cells.cohort_month, cells.market, cells.product_id, cells.currency
    order by cells.weeks_on_book rows between unbounded preceding and current row
)
