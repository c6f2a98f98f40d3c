-- The active loans of the business date: what is kept of earlier days are the sums of each product.
select
    loan.loan_id,
    loan.market,
    loan.product_id,
    loan.currency,
    loan.principal_outstanding as outstanding_principal,
    case when loan.days_past_due > 1 then loan.principal_outstanding else 0 end as par_1_principal,
    case when loan.days_past_due > 7 then loan.principal_outstanding else 0 end as par_7_principal,
    case when loan.days_past_due > 30 then loan.principal_outstanding else 0 end as par_30_principal,
    case when loan.days_past_due > 60 then loan.principal_outstanding else 0 end as par_60_principal,
    case when loan.days_past_due > 90 then loan.principal_outstanding else 0 end as par_90_principal,
    case when loan.dpd_bucket = 'current' then loan.principal_outstanding else 0 end as bucket_current_principal,
    case when loan.dpd_bucket = '1-7' then loan.principal_outstanding else 0 end as bucket_1_7_principal,
    case when loan.dpd_bucket = '8-30' then loan.principal_outstanding else 0 end as bucket_8_30_principal,
    case when loan.dpd_bucket = '31-60' then loan.principal_outstanding else 0 end as bucket_31_60_principal,
    case when loan.dpd_bucket = '61-90' then loan.principal_outstanding else 0 end as bucket_61_90_principal,
    case when loan.dpd_bucket = '91+' then loan.principal_outstanding else 0 end as bucket_91_plus_principal
from trusted.fct_loan as loan
inner join trusted.dim_market as clock on loan.market = clock.market
where loan.status_id = 300 and clock.business_date = $period
