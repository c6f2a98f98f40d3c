with days as (
    select
        as_of_date, market, product_id, currency, loan_count, outstanding_principal, par_1_principal, par_7_principal,
        par_30_principal, par_60_principal, par_90_principal, disbursed_amount, repaid_amount, written_off_amount,
        recovered_amount
    from {{ ref('agg_portfolio_daily') }}
    where outstanding_principal is not null
),

totals as (
    select
        as_of_date,
        market,
        product_id,
        currency,
        cast(sum(loan_count) as bigint) as loan_count,
        sum(outstanding_principal) as outstanding_principal,
        {% for days in [1, 7, 30, 60, 90] -%}
        sum(par_{{ days }}_principal) as par_{{ days }}_principal,
        {% endfor -%}
        sum(disbursed_amount) as disbursed_amount,
        sum(repaid_amount) as repaid_amount,
        sum(written_off_amount) as written_off_amount,
        sum(recovered_amount) as recovered_amount
    from days
    group by as_of_date, market, product_id, currency
)

select
    as_of_date,
    market,
    product_id,
    currency,
    {% for days in [1, 7, 30, 60, 90] -%}
    {{ ratio('par_' ~ days ~ '_principal', 'outstanding_principal') }} as par_{{ days }},
    {% endfor -%}
    loan_count,
    outstanding_principal,
    {% for days in [1, 7, 30, 60, 90] -%}
    par_{{ days }}_principal,
    {% endfor -%}
    disbursed_amount,
    repaid_amount,
    written_off_amount,
    recovered_amount
from totals
