-- When anything of a loan was last loaded: its own row or one of its instalments, deleted ones included.
with loans as (
    select loan_id, _loaded_at from {{ ref('stg_ledger__loans') }}
),

schedules as (
    select loan_id, max(_loaded_at) as _loaded_at
    from {{ source('raw_ledger', 'm_loan_repayment_schedule') }}
    group by loan_id
)

select
    loans.loan_id,
    greatest(loans._loaded_at, coalesce(schedules._loaded_at, loans._loaded_at)) as loaded_at
from loans
left join schedules on loans.loan_id = schedules.loan_id
