-- A month's costs that name no product are shared by the basis of their kind (dbt_project.yml, `cost_bases`).
with loan_months as (
    select
        calendar_month,
        market,
        product_id,
        currency,
        sum(principal_days) as principal_days,
        sum(case when closing_days_past_due > 7 then closing_principal else 0 end) as late_principal,
        sum(interest_received) as interest_received,
        sum(fees_received) as fees_received,
        sum(month_charged_off_amount) as charged_off_amount,
        sum(month_recovered_amount) as recovered_amount
    from {{ ref('fct_loan_month') }}
    group by calendar_month, market, product_id, currency
),

new_borrowers as (
    select
        cast({{ dbt.date_trunc('month', 'disbursed_on') }} as date) as calendar_month,
        market,
        product_id,
        currency,
        count(*) as new_borrower_count
    from {{ ref('fct_loan') }}
    where is_first_loan and disbursed_on is not null
    group by 1, 2, 3, 4
),

clocks as (
    select market, cast({{ dbt.date_trunc('month', 'business_date') }} as date) as current_month
    from {{ ref('int_market_clock') }}
),

costs as (
    select
        costs.calendar_month,
        costs.market,
        costs.currency,
        costs.cost_product_id,
        costs.cost_kind,
        sum(costs.cost_amount) as cost_amount
    from {{ ref('fct_cost') }} as costs
    inner join clocks on costs.market = clocks.market
    where costs.calendar_month < clocks.current_month
    group by costs.calendar_month, costs.market, costs.currency, costs.cost_product_id, costs.cost_kind
),

bases as (
    select
        loan_months.calendar_month,
        loan_months.market,
        loan_months.product_id,
        loan_months.currency,
        loan_months.principal_days,
        loan_months.late_principal,
        coalesce(new_borrowers.new_borrower_count, 0) as new_borrower_count
    from loan_months
    left join new_borrowers
        on {{ same_key('loan_months', 'new_borrowers', ['calendar_month', 'market', 'product_id', 'currency']) }}
),

by_kind as (
    {% for kind in cost_kinds() -%}
    select
        calendar_month, market, product_id, currency, '{{ kind }}' as cost_kind,
        cast({{ var('cost_bases')[kind] }} as double) as basis,
        sum(cast({{ var('cost_bases')[kind] }} as double)) over (partition by calendar_month, market, currency) as total_basis
    from bases
    {% if not loop.last %}union all
    {% endif %}
    {%- endfor %}
),

shared as (
    select
        by_kind.calendar_month,
        by_kind.market,
        by_kind.product_id,
        by_kind.currency,
        by_kind.cost_kind,
        costs.cost_amount * by_kind.basis / by_kind.total_basis as cost_amount
    from by_kind
    inner join costs
        on {{ same_key('by_kind', 'costs', ['calendar_month', 'market', 'currency', 'cost_kind']) }}
    where costs.cost_product_id is null and by_kind.total_basis > 0
),

-- what there is nobody to share is the unknown product's
borne as (
    select calendar_month, market, product_id, currency, cost_kind, cost_amount from shared
    union all
    select costs.calendar_month, costs.market, coalesce(costs.cost_product_id, 0), costs.currency, costs.cost_kind, costs.cost_amount
    from costs
    where
        costs.cost_product_id is not null
        or not exists (
            select 1 from shared
            where {{ same_key('shared', 'costs', ['calendar_month', 'market', 'currency', 'cost_kind']) }}
        )
),

borne_by_product as (
    select
        calendar_month,
        market,
        product_id,
        currency,
        {% for kind in cost_kinds() -%}
        sum(case when cost_kind = '{{ kind }}' then cost_amount else 0 end) as {{ kind }}_cost{{ ',' if not loop.last }}
        {% endfor %}
    from borne
    group by calendar_month, market, product_id, currency
),

-- which kinds finance has written down for the month; the others are not known
written as (
    select
        calendar_month,
        market,
        currency,
        {% for kind in cost_kinds() -%}
        max(case when cost_kind = '{{ kind }}' then 1 else 0 end) as has_{{ kind }}{{ ',' if not loop.last }}
        {% endfor %}
    from costs
    group by calendar_month, market, currency
),

keys as (
    select calendar_month, market, product_id, currency from bases
    union
    select calendar_month, market, product_id, currency from borne_by_product
),

assembled as (
    select
        keys.calendar_month,
        keys.market,
        keys.product_id,
        keys.currency,
        {{ days_between('keys.calendar_month', plus_months('keys.calendar_month', 1)) }} as days_in_month,
        coalesce(loan_months.principal_days, 0) as principal_days,
        coalesce(loan_months.late_principal, 0) as late_principal,
        coalesce(loan_months.interest_received, 0) as interest_received,
        coalesce(loan_months.fees_received, 0) as fees_received,
        coalesce(loan_months.charged_off_amount, 0) as charged_off_amount,
        coalesce(loan_months.recovered_amount, 0) as recovered_amount,
        coalesce(bases.new_borrower_count, 0) as new_borrower_count,
        {% for kind in cost_kinds() -%}
        case when written.has_{{ kind }} = 1 then coalesce(borne_by_product.{{ kind }}_cost, 0) end as {{ kind }}_cost{{ ',' if not loop.last }}
        {% endfor %}
    from keys
    left join loan_months
        on {{ same_key('keys', 'loan_months', ['calendar_month', 'market', 'product_id', 'currency']) }}
    left join bases
        on {{ same_key('keys', 'bases', ['calendar_month', 'market', 'product_id', 'currency']) }}
    left join borne_by_product
        on {{ same_key('keys', 'borne_by_product', ['calendar_month', 'market', 'product_id', 'currency']) }}
    left join written
        on {{ same_key('keys', 'written', ['calendar_month', 'market', 'currency']) }}
)

select
    calendar_month,
    market,
    product_id,
    currency,
    cast(principal_days as decimal(38, 6)) as principal_days,
    cast(principal_days / days_in_month as decimal(38, 6)) as average_outstanding_principal,
    cast(late_principal as decimal(38, 6)) as late_principal,
    cast(interest_received as decimal(38, 6)) as interest_received,
    cast(fees_received as decimal(38, 6)) as fees_received,
    cast(charged_off_amount as decimal(38, 6)) as month_charged_off_amount,
    cast(recovered_amount as decimal(38, 6)) as month_recovered_amount,
    cast(new_borrower_count as bigint) as new_borrower_count,
    {% for kind in cost_kinds() -%}
    cast({{ kind }}_cost as decimal(38, 6)) as {{ kind }}_cost,
    {% endfor -%}
    cast(acquisition_cost + onboarding_cost as decimal(38, 6)) as new_borrower_cost,
    cast(
        (interest_received + fees_received - (charged_off_amount - recovered_amount) - funding_cost) * 365 / days_in_month
        as decimal(38, 6)
    ) as annualised_net_income
from assembled
