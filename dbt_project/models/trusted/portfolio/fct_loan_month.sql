{{ config(
    materialized='incremental',
    unique_key='loan_id',
    incremental_strategy='delete+insert',
    on_schema_change='append_new_columns',
    post_hook="delete from {{ this }} as built where not exists (select 1 from {{ ref('fct_loan') }} as lent where lent.loan_id = built.loan_id and lent.disbursed_on < {{ plus_months('built.calendar_month', 1) }})"
) }}

/*
  A build makes anew all months of the loans of which anything was loaded, and of those that lack a
  month: every loan on book at the end of a month that is now over.
*/
with clocks as (
    select market, cast({{ dbt.date_trunc('month', 'business_date') }} as date) as current_month
    from {{ ref('int_market_clock') }}
),

activity as (
    select
        loan_id,
        max(transaction_date) as last_on,
        {{ fingerprint_of_rows(['loan_transaction_id', 'loaded_at']) }} as input_hash
    from {{ ref('fct_loan_transaction') }}
    group by loan_id
),

known as (
    select
        loans.loan_id,
        loans.market,
        loans.product_id,
        loans.currency,
        loans.written_off_on,
        cast({{ dbt.date_trunc('month', 'loans.disbursed_on') }} as date) as first_month,
        -- a loan that is over has no month after its last movement
        least(
            {{ plus_months('clocks.current_month', -1) }},
            case
                when loans.status_id = 300 then clocks.current_month
                else cast({{ dbt.date_trunc('month', 'greatest(coalesce(loans.closed_on, loans.disbursed_on), coalesce(loans.written_off_on, loans.disbursed_on), coalesce(loans.charged_off_on, loans.disbursed_on), coalesce(activity.last_on, loans.disbursed_on))') }} as date)
            end
        ) as last_month,
        loans.loaded_at,
        coalesce(activity.input_hash, 0) as input_hash
    from {{ ref('fct_loan') }} as loans
    inner join clocks on loans.market = clocks.market
    left join activity on loans.loan_id = activity.loan_id
    where loans.disbursed_on < clocks.current_month
),

{% if is_incremental() %}
built as (
    select
        loan_id,
        max(calendar_month) as last_month,
        max(loaded_at) as loaded_at,
        max(input_hash) as input_hash,
        max(market) as market,
        max(product_id) as product_id,
        max(currency) as currency
    from {{ this }}
    group by loan_id
),
{% endif %}

subjects as (
    select
        known.loan_id, known.market, known.product_id, known.currency, known.written_off_on, known.first_month,
        known.last_month, known.loaded_at, known.input_hash
    from known
    {% if is_incremental() %}
    left join built on known.loan_id = built.loan_id
    where {{ differs('known', 'built', ['last_month', 'loaded_at', 'input_hash', 'market', 'product_id', 'currency']) }}
    {% endif %}
),

offsets as (
    select 0 as number
    union all
    {{ numbers_to(1200) }}
),

months as (
    select
        subjects.loan_id,
        subjects.market,
        subjects.product_id,
        subjects.currency,
        subjects.written_off_on,
        subjects.loaded_at,
        subjects.input_hash,
        {{ plus_months('subjects.first_month', 'offsets.number') }} as calendar_month,
        {{ plus_days(plus_months('subjects.first_month', 'offsets.number + 1'), -1) }} as month_end
    from subjects
    inner join offsets on offsets.number <= {{ months_between('subjects.first_month', 'subjects.last_month') }}
),

transactions as (
    select
        subjects.loan_id,
        subjects.first_month,
        moves.transaction_date as moved_on,
        case
            when moves.transaction_type_id = 1 then moves.amount
            when moves.transaction_type_id = 25 then coalesce(moves.principal_amount, 0)
            when moves.transaction_type_id in (2, 5, 6, 21, 22, 23, 28) then -coalesce(moves.principal_amount, 0)
            else 0
        end as principal_change,
        case
            when moves.transaction_type_id in (2, 5, 28) then coalesce(moves.interest_amount, 0)
            when moves.transaction_type_id = 25 then -coalesce(moves.interest_amount, 0)
            else 0
        end as interest_received,
        case
            when moves.transaction_type_id in (2, 5, 17, 28)
                then coalesce(moves.fee_amount, 0) + coalesce(moves.penalty_amount, 0)
            when moves.transaction_type_id = 25 then -coalesce(moves.fee_amount, 0) - coalesce(moves.penalty_amount, 0)
            else 0
        end as fees_received
    from subjects
    inner join {{ ref('fct_loan_transaction') }} as moves on subjects.loan_id = moves.loan_id
    where not moves.is_reversed
),

losses as (
    select loan_id, moved_on, charged_off_amount, recovered_amount from {{ ref('int_loan_loss') }}
),

write_offs as (
    select loan_id, write_off_on, amount from {{ ref('int_unposted_write_off') }}
),

movements as (
    select loan_id, first_month, moved_on, principal_change, interest_received, fees_received, 0 as charged_off_amount, 0 as recovered_amount
    from transactions
    union all
    select subjects.loan_id, subjects.first_month, write_offs.write_off_on, -write_offs.amount, 0, 0, 0, 0
    from subjects
    inner join write_offs on subjects.loan_id = write_offs.loan_id
    union all
    select subjects.loan_id, subjects.first_month, losses.moved_on, 0, 0, 0, losses.charged_off_amount, losses.recovered_amount
    from subjects
    inner join losses on subjects.loan_id = losses.loan_id
),

by_month as (
    select
        loan_id,
        greatest(cast({{ dbt.date_trunc('month', 'moved_on') }} as date), first_month) as calendar_month,
        sum(principal_change) as principal_change,
        sum(
            principal_change
            * {{ days_between('greatest(moved_on, first_month)', plus_months("cast(" ~ dbt.date_trunc('month', 'greatest(moved_on, first_month)') ~ " as date)", 1)) }}
        ) as change_days,
        sum(interest_received) as interest_received,
        sum(fees_received) as fees_received,
        sum(charged_off_amount) as charged_off_amount,
        sum(recovered_amount) as recovered_amount
    from movements
    group by 1, 2
),

balances as (
    select
        months.loan_id,
        months.market,
        months.product_id,
        months.currency,
        months.written_off_on,
        months.loaded_at,
        months.input_hash,
        months.calendar_month,
        months.month_end,
        coalesce(by_month.change_days, 0) as change_days,
        coalesce(by_month.principal_change, 0) as principal_change,
        coalesce(by_month.interest_received, 0) as interest_received,
        coalesce(by_month.fees_received, 0) as fees_received,
        coalesce(by_month.charged_off_amount, 0) as charged_off_amount,
        coalesce(by_month.recovered_amount, 0) as recovered_amount,
        sum(coalesce(by_month.principal_change, 0)) over (
            partition by months.loan_id order by months.calendar_month
        ) as closing_principal
    from months
    left join by_month on months.loan_id = by_month.loan_id and months.calendar_month = by_month.calendar_month
),

-- an instalment that was met later, or given up with its loan later, was unpaid then
unpaid as (
    select
        balances.loan_id,
        balances.calendar_month,
        min(installments.due_on) as oldest_unpaid_due_on
    from balances
    inner join {{ ref('stg_ledger__installments') }} as installments
        on balances.loan_id = installments.loan_id and installments.due_on < balances.month_end
    where
        balances.closing_principal > 0
        and (
            installments.met_on > balances.month_end
            or {{ still_due('installments') }} > 0
            or (installments.principal_written_off > 0 and balances.written_off_on > balances.month_end)
        )
    group by balances.loan_id, balances.calendar_month
),

assembled as (
    select
        balances.loan_id,
        balances.calendar_month,
        balances.market,
        balances.product_id,
        balances.currency,
        balances.change_days
        + (balances.closing_principal - balances.principal_change)
        * {{ days_between('balances.calendar_month', plus_days('balances.month_end', 1)) }} as principal_days,
        greatest(balances.closing_principal, 0) as closing_principal,
        case
            when balances.closing_principal > 0
                then coalesce({{ days_between('unpaid.oldest_unpaid_due_on', 'balances.month_end') }}, 0)
        end as closing_days_past_due,
        balances.interest_received,
        balances.fees_received,
        balances.charged_off_amount,
        balances.recovered_amount,
        balances.loaded_at,
        balances.input_hash
    from balances
    left join unpaid on balances.loan_id = unpaid.loan_id and balances.calendar_month = unpaid.calendar_month
)

select
    loan_id,
    calendar_month,
    market,
    product_id,
    currency,
    cast(greatest(principal_days, 0) as decimal(38, 6)) as principal_days,
    {{ money('closing_principal') }} as closing_principal,
    closing_days_past_due,
    case when closing_days_past_due is not null then {{ dpd_bucket('closing_days_past_due') }} end as closing_dpd_bucket,
    {{ money('interest_received') }} as interest_received,
    {{ money('fees_received') }} as fees_received,
    {{ money('charged_off_amount') }} as month_charged_off_amount,
    {{ money('recovered_amount') }} as month_recovered_amount,
    loaded_at,
    input_hash
from assembled
