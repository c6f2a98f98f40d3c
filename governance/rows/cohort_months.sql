-- What the cohort brought in each month so far; its borrowers stand beside the first.
select
    months_since_first as months_later,
    market,
    product_id,
    currency,
    month_discounted_value as cohort_discounted_value,
    case when months_since_first = 0 then cohort_borrower_count else 0 end as cohort_borrower_count
from trusted.agg_borrower_cohort
where borrower_cohort_month = $period and months_since_first <= $months_since_first
