-- What a person's way through the funnel is made of: one row an application, one an invitation.
with applications as (
    select application_id, person_key, market, product_name, applied_at, approved_at, accepted_at, disbursed_at, loan_id
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
)

select
    applications.person_key,
    'applied' as event,
    applications.application_id,
    applications.market,
    applications.product_name,
    applications.applied_at as happened_at,
    applications.approved_at,
    applications.accepted_at,
    coalesce(applications.disbursed_at, {{ midnight_utc('loans.disbursed_on') }}) as disbursed_at,
    case when loans.status in ('closed', 'overpaid') then {{ midnight_utc('loans.closed_on') }} end as repaid_at
from applications
left join loans on applications.loan_id = loans.loan_id
{% for stage in ['eligible', 'offered'] %}
union all

select
    people.person_key, '{{ stage }}', cast(null as varchar), people.market, cast(null as varchar),
    contacts.{{ stage }}_at, null, null, null, null
from people
inner join contacts on people.source_id = contacts.contact_id
where contacts.{{ stage }}_at is not null
{% endfor %}
