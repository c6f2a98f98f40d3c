-- Applications made that day, and what became of each.
select
    application.application_id,
    application.market,
    coalesce(application.product_name, '(none)') as product_name,
    1 as application_count,
    case when application.approved_at is not null then 1 else 0 end as approved_of_applied_count,
    case when application.approved_at is not null and application.accepted_at is not null then 1 else 0 end
        as accepted_of_approved_count
from trusted.fct_application as application
inner join trusted.dim_market as clock on application.market = clock.market
where
    application.person_key is not null
    and cast(timezone(clock.time_zone, application.applied_at) as date) = $period
