with loans as (
    select
        lent.loan_id, lent.market, lent.product_id, lent.currency, lent.is_first_loan, clocks.business_date
    from {{ ref('fct_loan') }} as lent
    inner join {{ ref('int_market_clock') }} as clocks on lent.market = clocks.market
    where lent.disbursed_on is not null
),

first_numbers as (
    select loan_id, min(installment_number) as installment_number
    from {{ ref('fct_installment') }}
    group by loan_id
),

-- a schedule that has its first number twice begins with the earlier
installments as (
    select
        listed.loan_id,
        listed.due_on,
        listed.is_complete,
        listed.met_on,
        listed.principal_written_off,
        row_number() over (partition by listed.loan_id order by listed.due_on, listed.installment_id) as rank
    from {{ ref('fct_installment') }} as listed
    inner join first_numbers
        on listed.loan_id = first_numbers.loan_id and listed.installment_number = first_numbers.installment_number
),

first_payments as (
    select
        loans.market,
        loans.product_id,
        loans.currency,
        loans.is_first_loan,
        loans.business_date,
        installments.due_on as first_due_on,
        -- forgiven is not paid
        case
            when installments.is_complete and installments.principal_written_off = 0
                then greatest(coalesce({{ days_between('installments.due_on', 'installments.met_on') }}, 0), 0)
        end as paid_days_late
    from loans
    inner join installments on loans.loan_id = installments.loan_id
    where installments.rank = 1 and installments.due_on <= loans.business_date
),

horizons as (
    select 1 as horizon_days
    union all
    select 7
    union all
    select 30
),

judged as (
    select
        first_payments.first_due_on,
        first_payments.market,
        first_payments.product_id,
        first_payments.currency,
        horizons.horizon_days,
        first_payments.is_first_loan,
        {{ plus_days('first_payments.first_due_on', 'horizons.horizon_days') }} < first_payments.business_date as is_mature,
        coalesce(first_payments.paid_days_late > horizons.horizon_days, true) as is_defaulted
    from first_payments
    cross join horizons
)

select
    first_due_on,
    market,
    product_id,
    currency,
    horizon_days,
    cast(sum(case when is_mature then 1 else 0 end) as bigint) as mature_loan_count,
    cast(sum(case when is_mature and is_defaulted then 1 else 0 end) as bigint) as defaulted_loan_count,
    cast(sum(case when is_mature and is_first_loan then 1 else 0 end) as bigint) as mature_first_loan_count,
    cast(sum(case when is_mature and is_first_loan and is_defaulted then 1 else 0 end) as bigint) as defaulted_first_loan_count
from judged
group by first_due_on, market, product_id, currency, horizon_days
