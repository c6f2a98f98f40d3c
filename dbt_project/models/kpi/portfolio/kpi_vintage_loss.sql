select
    cohort_month,
    market,
    product_id,
    currency,
    weeks_on_book,
    case
        when is_mature then {{ ratio('(charged_off_amount - cohort_recovered_amount)', 'disbursed_principal') }}
    end as vintage_loss,
    cohort_loan_count,
    disbursed_principal,
    case when is_mature then charged_off_amount end as charged_off_amount,
    case when is_mature then cohort_recovered_amount end as cohort_recovered_amount,
    is_mature
from {{ ref('agg_cohort') }}
