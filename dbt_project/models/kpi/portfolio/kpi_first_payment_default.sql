select
    first_due_on,
    market,
    product_id,
    currency,
    horizon_days,
    {{ ratio('defaulted_loan_count', 'mature_loan_count') }} as fpd_rate,
    {{ ratio('defaulted_first_loan_count', 'mature_first_loan_count') }} as fpd_rate_first_loans,
    mature_loan_count,
    defaulted_loan_count,
    mature_first_loan_count,
    defaulted_first_loan_count
from {{ ref('agg_first_payment_default') }}
