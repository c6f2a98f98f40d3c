-- People who reached a stage of the funnel that day.
select
    person_key,
    cycle,
    market,
    coalesce(product_name, '(none)') as product_name,
    case when stage = 'eligible' then 1 else 0 end as eligible_count,
    case when stage = 'offered' then 1 else 0 end as offered_count,
    case when stage = 'applied' then 1 else 0 end as applied_count,
    case when stage = 'approved' then 1 else 0 end as approved_count,
    case when stage = 'accepted' then 1 else 0 end as accepted_count,
    case when stage = 'disbursed' then 1 else 0 end as disbursed_count,
    case when stage = 'repaid' then 1 else 0 end as repaid_count,
    case when stage = 'repeat' then 1 else 0 end as repeat_count
from trusted.fct_funnel_stage
where reached_on = $period
