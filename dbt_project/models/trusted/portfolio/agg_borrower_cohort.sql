-- What each month of a cohort brought and cost; a cost is shared with the product's other borrowers by the kind's basis.
with first_loans as (
    select
        loan_id,
        market as cohort_market,
        product_id as cohort_product_id,
        currency,
        borrower,
        cast({{ dbt.date_trunc('month', 'disbursed_on') }} as date) as borrower_cohort_month
    from (
        select
            loan_id, market, product_id, currency, disbursed_on,
            coalesce(person_key, 'loan:' || cast(loan_id as varchar)) as borrower,
            row_number() over (
                partition by coalesce(person_key, 'loan:' || cast(loan_id as varchar)), currency
                order by disbursed_on, loan_id
            ) as number_in_currency
        from {{ ref('fct_loan') }}
        where disbursed_on is not null
    ) as lent
    where number_in_currency = 1
),

loans as (
    select
        lent.loan_id,
        cast({{ dbt.date_trunc('month', 'lent.disbursed_on') }} as date) as disbursed_month,
        lent.is_first_loan,
        first_loans.borrower_cohort_month,
        first_loans.cohort_market,
        first_loans.cohort_product_id,
        first_loans.currency
    from {{ ref('fct_loan') }} as lent
    inner join first_loans
        on
            coalesce(lent.person_key, 'loan:' || cast(lent.loan_id as varchar)) = first_loans.borrower
            and lent.currency = first_loans.currency
    where lent.disbursed_on is not null
),

clocks as (
    select market, cast({{ dbt.date_trunc('month', 'business_date') }} as date) as current_month
    from {{ ref('int_market_clock') }}
),

portfolio as (
    select
        calendar_month, market, product_id, currency, new_borrower_count, principal_days, late_principal
        {%- for kind in ['funding', 'servicing', 'collections'] %}, {{ kind }}_cost{% endfor %}
    from {{ ref('agg_portfolio_monthly') }}
),

loan_months as (
    select
        lived.calendar_month,
        lived.market,
        lived.product_id,
        loans.currency,
        loans.borrower_cohort_month,
        loans.cohort_market,
        loans.cohort_product_id,
        sum(lived.interest_received) as interest_received,
        sum(lived.fees_received) as fees_received,
        sum(lived.month_charged_off_amount) as charged_off_amount,
        sum(lived.month_recovered_amount) as recovered_amount,
        sum(lived.principal_days) as principal_days,
        sum(case when lived.closing_days_past_due > 7 then lived.closing_principal else 0 end) as late_principal,
        sum(case when loans.is_first_loan and loans.disbursed_month = lived.calendar_month then 1 else 0 end) as new_borrower_count
    from {{ ref('fct_loan_month') }} as lived
    inner join loans on lived.loan_id = loans.loan_id
    group by
        lived.calendar_month, lived.market, lived.product_id, loans.currency, loans.borrower_cohort_month,
        loans.cohort_market, loans.cohort_product_id
),

shares as (
    select
        loan_months.borrower_cohort_month,
        loan_months.cohort_market,
        loan_months.cohort_product_id,
        loan_months.currency,
        loan_months.calendar_month,
        loan_months.interest_received,
        loan_months.fees_received,
        loan_months.charged_off_amount,
        loan_months.recovered_amount,
        {% for kind in ['funding', 'servicing', 'collections'] -%}
        {% set basis = var('cost_bases')[kind] -%}
        -- who has none of the basis bears nothing, once it is known what there is to bear
        case
            when portfolio.{{ kind }}_cost is null then null
            when loan_months.{{ basis }} = 0 then 0
            else
                cast(portfolio.{{ kind }}_cost as double)
                * cast(loan_months.{{ basis }} as double) / cast(portfolio.{{ basis }} as double)
        end as {{ kind }}_cost{{ ',' if not loop.last }}
        {% endfor %}
    from loan_months
    inner join portfolio
        on {{ same_key('loan_months', 'portfolio', ['calendar_month', 'market', 'product_id', 'currency']) }}
),

cohort_months as (
    select
        borrower_cohort_month,
        cohort_market,
        cohort_product_id,
        currency,
        calendar_month,
        sum(interest_received) as interest_received,
        sum(fees_received) as fees_received,
        sum(charged_off_amount) as charged_off_amount,
        sum(recovered_amount) as recovered_amount,
        {% for kind in ['funding', 'servicing', 'collections'] -%}
        case when count({{ kind }}_cost) = count(*) then sum({{ kind }}_cost) end as {{ kind }}_cost{{ ',' if not loop.last }}
        {% endfor %}
    from shares
    group by borrower_cohort_month, cohort_market, cohort_product_id, currency, calendar_month
),

cohorts as (
    select
        first_loans.borrower_cohort_month,
        first_loans.cohort_market,
        first_loans.cohort_product_id,
        first_loans.currency,
        count(*) as cohort_borrower_count,
        max(clocks.current_month) as current_month
    from first_loans
    inner join clocks on first_loans.cohort_market = clocks.market
    where first_loans.borrower_cohort_month < clocks.current_month
    group by
        first_loans.borrower_cohort_month, first_loans.cohort_market, first_loans.cohort_product_id, first_loans.currency
),

offsets as (
    select 0 as number
    union all
    {{ numbers_to(1200) }}
),

cells as (
    select
        cohorts.borrower_cohort_month,
        cohorts.cohort_market,
        cohorts.cohort_product_id,
        cohorts.currency,
        cohorts.cohort_borrower_count,
        offsets.number as months_since_first,
        {{ plus_months('cohorts.borrower_cohort_month', 'offsets.number') }} as calendar_month
    from cohorts
    inner join offsets
        on offsets.number < {{ months_between('cohorts.borrower_cohort_month', 'cohorts.current_month') }}
),

monthly as (
    select
        cells.borrower_cohort_month,
        cells.cohort_market,
        cells.cohort_product_id,
        cells.currency,
        cells.cohort_borrower_count,
        cells.months_since_first,
        coalesce(cohort_months.interest_received, 0) as interest_received,
        coalesce(cohort_months.fees_received, 0) as fees_received,
        coalesce(cohort_months.charged_off_amount - cohort_months.recovered_amount, 0) as net_loss,
        {% for kind in ['funding', 'servicing', 'collections'] -%}
        case when cohort_months.calendar_month is null then 0 else cohort_months.{{ kind }}_cost end as {{ kind }}_cost,
        {% endfor -%}
        power(1 + {{ var('clv_discount_rate') }}, -cells.months_since_first / 12.0) as discount
    from cells
    left join cohort_months
        on {{ same_key('cells', 'cohort_months', ['borrower_cohort_month', 'cohort_market', 'cohort_product_id', 'currency', 'calendar_month']) }}
),

brought as (
    select
        borrower_cohort_month,
        cohort_market,
        cohort_product_id,
        currency,
        cohort_borrower_count,
        months_since_first,
        cast(
            discount * cast(interest_received + fees_received - net_loss as double)
            - discount * (funding_cost + servicing_cost + collections_cost)
            as decimal(38, 6)
        ) as discounted_value
    from monthly
),

lifetimes as (
    select
        borrower_cohort_month,
        cohort_market,
        cohort_product_id,
        currency,
        months_since_first,
        cohort_borrower_count,
        discounted_value,
        sum(discounted_value) over lifetime as value_so_far,
        count(*) over lifetime as months,
        count(discounted_value) over lifetime as known_months
    from brought
    window lifetime as (
        partition by borrower_cohort_month, cohort_market, cohort_product_id, currency
        order by months_since_first
        rows between unbounded preceding and current row
    )
)

select
    borrower_cohort_month,
    cohort_market as market,
    cohort_product_id as product_id,
    currency,
    months_since_first,
    cast(cohort_borrower_count as bigint) as cohort_borrower_count,
    discounted_value as month_discounted_value,
    -- one month whose costs are not known leaves all that follow unknown
    case when months = known_months then cast(value_so_far as decimal(38, 6)) end as cohort_discounted_value
from lifetimes
