with installments as (
    select
        installment_id, loan_id, installment_number, due_on, principal_due, principal_paid, principal_written_off,
        interest_due, interest_paid, is_complete, met_on, _loaded_at
    from {{ ref('stg_ledger__installments') }}
),

loans as (
    select
        lent.loan_id, lent.market, lent.product_id, lent.currency,
        -- a loan that is over is late no longer
        least(coalesce(lent.closed_on, lent.written_off_on, clocks.business_date), clocks.business_date) as counted_until
    from {{ ref('fct_loan') }} as lent
    inner join {{ ref('int_market_clock') }} as clocks on lent.market = clocks.market
)

select
    installments.installment_id,
    installments.loan_id,
    cast(installments.installment_number as integer) as installment_number,
    loans.market,
    loans.product_id,
    loans.currency,
    installments.due_on,
    {{ money('installments.principal_due') }} as principal_due,
    {{ money('installments.principal_paid') }} as principal_paid,
    {{ money('installments.principal_written_off') }} as principal_written_off,
    {{ money('installments.interest_due') }} as interest_due,
    {{ money('installments.interest_paid') }} as interest_paid,
    installments.is_complete,
    installments.met_on,
    case
        when installments.is_complete
            then greatest(coalesce({{ days_between('installments.due_on', 'installments.met_on') }}, 0), 0)
        else greatest({{ days_between('installments.due_on', 'loans.counted_until') }}, 0)
    end as days_late,
    installments._loaded_at as loaded_at
from installments
inner join loans on installments.loan_id = loans.loan_id
