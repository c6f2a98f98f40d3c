-- Loans that were in the bucket at the end of the month before, and what of them is in the other now.
select
    earlier.loan_id,
    earlier.market,
    earlier.product_id,
    earlier.currency,
    earlier.closing_principal as opening_bucket_principal,
    case when later.closing_dpd_bucket = $to_bucket then later.closing_principal else 0 end as rolled_principal
from trusted.fct_loan_month as earlier
left join trusted.fct_loan_month as later
    on earlier.loan_id = later.loan_id and later.calendar_month = $period
where
    earlier.calendar_month = cast(cast($period as date) - interval 1 month as date)
    and earlier.closing_dpd_bucket = $from_bucket
