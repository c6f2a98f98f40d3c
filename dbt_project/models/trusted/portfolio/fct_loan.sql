with loans as (
    select
        loan_id, account_no, client_id, product_id, currency, status_id, principal_amount, principal_disbursed,
        principal_repaid, principal_outstanding, principal_written_off, interest_charged, total_outstanding,
        total_recovered, instalment_count, submitted_on, approved_on, disbursed_on, closed_on, written_off_on,
        charged_off_on
    from {{ ref('stg_ledger__loans') }}
),

loan_markets as (
    select loan_id, market from {{ ref('int_loan_market') }}
),

clocks as (
    select market, business_date from {{ ref('int_market_clock') }}
),

people as (
    select person_key, source_id from {{ ref('int_person_record') }}
    where source = 'ledger'
),

statuses as (
    select loan_id, status from {{ ref('int_loan_status') }}
),

installments as (
    select
        loan_id, installment_number, due_on, principal_due, principal_paid, principal_written_off, interest_due,
        interest_paid, charges_due, is_complete
    from {{ ref('stg_ledger__installments') }}
),

still_due as (
    select
        loan_id,
        due_on,
        case when is_complete then 0 else
            greatest(principal_due - principal_paid - principal_written_off, 0)
            + greatest(interest_due - interest_paid, 0)
            + charges_due
        end as amount
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
    inner join loan_markets on loans.loan_id = loan_markets.loan_id
    inner join clocks on loan_markets.market = clocks.market
    inner join still_due on loans.loan_id = still_due.loan_id
    where loans.status_id = 300 and still_due.amount > 0 and still_due.due_on < clocks.business_date
    group by loans.loan_id
),

ordinals as (
    select
        loans.loan_id,
        row_number() over (
            partition by coalesce(people.person_key, 'loan:' || cast(loans.loan_id as varchar))
            order by loans.disbursed_on, loans.loan_id
        ) as loan_number
    from loans
    left join people on people.source_id = cast(loans.client_id as varchar)
    where loans.disbursed_on is not null
),

assembled as (
    select
        loans.loan_id,
        loans.account_no,
        loans.client_id,
        people.person_key,
        loan_markets.market,
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
        clocks.business_date as as_of_date
    from loans
    inner join loan_markets on loans.loan_id = loan_markets.loan_id
    inner join clocks on loan_markets.market = clocks.market
    inner join statuses on loans.loan_id = statuses.loan_id
    left join people on people.source_id = cast(loans.client_id as varchar)
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
    status,
    {{ money('principal_amount') }} as principal_amount,
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
    as_of_date
from assembled
