with applications as (
    select
        application_id, person_key, market, product_name, applied_at, approved_at, accepted_at, disbursed_at, loan_id,
        row_number() over (partition by person_key order by applied_at, application_id) as cycle
    from {{ ref('fct_application') }}
    where person_key is not null and applied_at is not null
),

loans as (
    select loan_id, disbursed_on, closed_on, status from {{ ref('int_loan_outcome') }}
),

contacts as (
    select contact_id, eligible_at, offered_at from {{ ref('stg_crm__contacts') }}
),

people as (
    select person_key, source_id, market from {{ ref('int_person_record') }}
    where source = 'crm' and not is_deleted
),

invitations as (
    select people.person_key, people.market, 'eligible' as stage, contacts.eligible_at as reached_at
    from people
    inner join contacts on people.source_id = contacts.contact_id
    where contacts.eligible_at is not null
    union all
    select people.person_key, people.market, 'offered', contacts.offered_at
    from people
    inner join contacts on people.source_id = contacts.contact_id
    where contacts.offered_at is not null
),

-- the CRM keeps the last eligibility and offer: they open the cycle after the applications that came before them
invited as (
    select
        invitations.person_key,
        invitations.stage,
        invitations.market,
        invitations.reached_at,
        1 + count(applications.application_id) as cycle
    from invitations
    left join applications
        on invitations.person_key = applications.person_key and applications.applied_at < invitations.reached_at
    group by invitations.person_key, invitations.stage, invitations.market, invitations.reached_at
),

outcomes as (
    select
        applications.application_id,
        applications.person_key,
        applications.market,
        applications.product_name,
        applications.cycle,
        applications.applied_at,
        applications.approved_at,
        applications.accepted_at,
        coalesce(applications.disbursed_at, {{ midnight_utc('loans.disbursed_on') }}) as disbursed_at,
        case when loans.status in ('closed', 'overpaid') then {{ midnight_utc('loans.closed_on') }} end as repaid_at
    from applications
    left join loans on applications.loan_id = loans.loan_id
),

repeated as (
    select
        outcomes.person_key,
        outcomes.cycle,
        min(later.disbursed_at) as repeat_at
    from outcomes
    inner join outcomes as later on outcomes.person_key = later.person_key and outcomes.cycle < later.cycle
    where outcomes.disbursed_at is not null and later.disbursed_at is not null
    group by outcomes.person_key, outcomes.cycle
),

stages as (
    select invited.person_key, invited.cycle, invited.stage, max(invited.market) as market, min(invited.reached_at) as reached_at
    from invited
    group by invited.person_key, invited.cycle, invited.stage
    union all
    select person_key, cycle, 'applied', market, applied_at from outcomes
    union all
    select person_key, cycle, 'approved', market, approved_at from outcomes
    union all
    select person_key, cycle, 'accepted', market, accepted_at from outcomes
    union all
    select person_key, cycle, 'disbursed', market, disbursed_at from outcomes
    union all
    select person_key, cycle, 'repaid', market, repaid_at from outcomes
    union all
    select outcomes.person_key, outcomes.cycle, 'repeat', outcomes.market, repeated.repeat_at
    from outcomes
    inner join repeated on outcomes.person_key = repeated.person_key and outcomes.cycle = repeated.cycle
)

select
    stages.person_key,
    cast(stages.cycle as integer) as cycle,
    outcomes.application_id,
    coalesce(outcomes.market, stages.market) as market,
    outcomes.product_name,
    stages.stage,
    case stages.stage
        when 'eligible' then 1
        when 'offered' then 2
        when 'applied' then 3
        when 'approved' then 4
        when 'accepted' then 5
        when 'disbursed' then 6
        when 'repaid' then 7
        else 8
    end as stage_order,
    stages.reached_at
from stages
left join outcomes on stages.person_key = outcomes.person_key and stages.cycle = outcomes.cycle
where stages.reached_at is not null
