with transactions as (
    select
        account_transaction_id, account_id, transaction_type_id, transaction_date, amount, running_balance, is_reversed,
        created_at, modified_at, _loaded_at
    from {{ ref('stg_ledger__account_transactions') }}
),

accounts as (
    select account_id, client_id, currency from {{ ref('stg_ledger__accounts') }}
),

client_markets as (
    select client_id, market from {{ ref('int_ledger_client_market') }}
)

select
    transactions.account_transaction_id,
    transactions.account_id,
    accounts.client_id,
    coalesce(client_markets.market, 'ZZ') as market,
    accounts.currency,
    cast(transactions.transaction_type_id as integer) as transaction_type_id,
    case transactions.transaction_type_id
        when 1 then 'deposit'
        when 2 then 'withdrawal'
        when 3 then 'interest_posting'
        when 4 then 'withdrawal_fee'
        when 5 then 'annual_fee'
        when 6 then 'waive_charges'
        when 7 then 'pay_charge'
        else 'other'
    end as transaction_type,
    transactions.transaction_date,
    {{ money('transactions.amount') }} as amount,
    {{ money('transactions.running_balance') }} as running_balance,
    transactions.is_reversed,
    transactions.created_at,
    transactions.modified_at,
    transactions._loaded_at as loaded_at
from transactions
left join accounts on transactions.account_id = accounts.account_id
left join client_markets on accounts.client_id = client_markets.client_id
