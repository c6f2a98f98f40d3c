{{ config(
    materialized='incremental',
    unique_key='loan_id',
    incremental_strategy='delete+insert',
    on_schema_change='append_new_columns',
    post_hook="delete from {{ this }} where loan_id not in (select loan_id from {{ ref('stg_ledger__loans') }})"
) }}

/*
  A build makes anew the loans that are in motion (their days past due grow by themselves), those of
  which anything was loaded, and all loans of everyone who has one of these (they number each other).
*/
with clocks as (
    select market, business_date from {{ ref('int_market_clock') }}
),

people as (
    select person_key, ledger_client_id as client_id from {{ ref('int_person_record') }}
    where source = 'ledger'
),

known as (
    select
        loans.loan_id,
        loans.status_id,
        coalesce(people.person_key, 'loan:' || cast(loans.loan_id as varchar)) as borrower,
        people.person_key,
        loan_markets.market,
        versions.loaded_at
    from {{ ref('stg_ledger__loans') }} as loans
    inner join {{ ref('int_loan_market') }} as loan_markets on loans.loan_id = loan_markets.loan_id
    inner join {{ ref('int_loan_version') }} as versions on loans.loan_id = versions.loan_id
    left join people on loans.client_id = people.client_id
),

{% if is_incremental() %}
touched as (
    select known.borrower, built.person_key as earlier_borrower
    from known
    left join {{ this }} as built on known.loan_id = built.loan_id
    where
        known.status_id = 300
        or {{ differs('known', 'built', ['loaded_at', 'person_key', 'market']) }}
    union all
    select built.person_key, built.person_key
    from {{ this }} as built
    where built.loan_id not in (select loan_id from known)
),

borrowers as (
    select borrower from touched
    union
    select earlier_borrower from touched
),
{% endif %}

subjects as (
    select known.loan_id, known.borrower, known.person_key, known.market, known.loaded_at
    from known
    {% if is_incremental() %}
    inner join borrowers on known.borrower = borrowers.borrower
    {% endif %}
),

loans as (
    select
        loans.loan_id, loans.account_no, loans.client_id, loans.product_id, loans.currency, loans.status_id,
        loans.principal_amount, loans.principal_disbursed, loans.principal_repaid, loans.principal_outstanding,
        loans.principal_written_off, loans.interest_charged, loans.total_outstanding, loans.total_recovered,
        loans.instalment_count, loans.submitted_on, loans.approved_on, loans.disbursed_on, loans.closed_on,
        loans.written_off_on, loans.charged_off_on, subjects.borrower, subjects.person_key, subjects.market,
        subjects.loaded_at
    from {{ ref('stg_ledger__loans') }} as loans
    inner join subjects on loans.loan_id = subjects.loan_id
),

statuses as (
    select loan_id, status from {{ ref('int_loan_status') }}
),

installments as (
    select
        installments.loan_id, installments.due_on, installments.principal_due, installments.principal_paid,
        installments.principal_written_off, installments.interest_due, installments.interest_paid,
        installments.charges_due, installments.is_complete
    from {{ ref('stg_ledger__installments') }} as installments
    inner join subjects on installments.loan_id = subjects.loan_id
),

still_due as (
    select
        loan_id,
        due_on,
        {{ still_due('installments') }} as amount
    from installments
),

schedules as (
    select loan_id, min(due_on) as first_due_on, count(*) as instalment_count
    from installments
    group by loan_id
),

arrears as (
    select
        loans.loan_id,
        min(still_due.due_on) as oldest_unpaid_due_on,
        sum(still_due.amount) as overdue_amount
    from loans
    inner join clocks on loans.market = clocks.market
    inner join still_due on loans.loan_id = still_due.loan_id
    where loans.status_id = 300 and still_due.amount > 0 and still_due.due_on < clocks.business_date
    group by loans.loan_id
),

ordinals as (
    select loan_id, row_number() over (partition by borrower order by disbursed_on, loan_id) as loan_number
    from loans
    where disbursed_on is not null
),

assembled as (
    select
        loans.loan_id,
        loans.account_no,
        loans.client_id,
        loans.person_key,
        loans.market,
        loans.product_id,
        loans.currency,
        loans.status_id,
        statuses.status,
        loans.principal_amount,
        coalesce(loans.principal_disbursed, 0) as principal_disbursed,
        coalesce(loans.principal_repaid, 0) as principal_repaid,
        coalesce(loans.principal_outstanding, 0) as principal_outstanding,
        coalesce(
            loans.principal_written_off,
            case
                when loans.status_id = 601
                    then
                        coalesce(loans.principal_disbursed, 0)
                        - coalesce(loans.principal_repaid, 0)
                        - coalesce(loans.principal_outstanding, 0)
            end,
            0
        ) as principal_written_off,
        coalesce(loans.total_outstanding, loans.principal_outstanding, 0) as total_outstanding,
        coalesce(loans.total_recovered, 0) as total_recovered,
        coalesce(loans.interest_charged, 0) as interest_charged,
        loans.submitted_on,
        loans.approved_on,
        loans.disbursed_on,
        loans.closed_on,
        loans.written_off_on,
        loans.charged_off_on,
        ordinals.loan_number,
        coalesce(ordinals.loan_number = 1, false) as is_first_loan,
        coalesce(loans.instalment_count, schedules.instalment_count) as instalment_count,
        schedules.first_due_on,
        arrears.oldest_unpaid_due_on,
        coalesce({{ days_between('arrears.oldest_unpaid_due_on', 'clocks.business_date') }}, 0) as days_past_due,
        coalesce(arrears.overdue_amount, 0) as overdue_amount,
        loans.loaded_at
    from loans
    inner join clocks on loans.market = clocks.market
    inner join statuses on loans.loan_id = statuses.loan_id
    left join schedules on loans.loan_id = schedules.loan_id
    left join arrears on loans.loan_id = arrears.loan_id
    left join ordinals on loans.loan_id = ordinals.loan_id
)

select
    loan_id,
    account_no,
    client_id,
    person_key,
    market,
    product_id,
    currency,
    cast(status_id as integer) as status_id,
    status as loan_status,
    {{ money('principal_amount') }} as loan_principal,
    {{ money('principal_disbursed') }} as principal_disbursed,
    {{ money('principal_repaid') }} as principal_repaid,
    {{ money('principal_outstanding') }} as principal_outstanding,
    {{ money('principal_written_off') }} as principal_written_off,
    {{ money('total_outstanding') }} as total_outstanding,
    {{ money('total_recovered') }} as total_recovered,
    {{ money('interest_charged') }} as interest_charged,
    submitted_on,
    approved_on,
    disbursed_on,
    closed_on,
    written_off_on,
    charged_off_on,
    cast(loan_number as integer) as loan_number,
    is_first_loan,
    cast(instalment_count as integer) as instalment_count,
    first_due_on,
    oldest_unpaid_due_on,
    days_past_due,
    {{ dpd_bucket('days_past_due') }} as dpd_bucket,
    {{ money('overdue_amount') }} as overdue_amount,
    loaded_at
from assembled
