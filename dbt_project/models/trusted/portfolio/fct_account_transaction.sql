{{ config(
    materialized='incremental',
    unique_key='account_transaction_id',
    incremental_strategy='delete+insert',
    on_schema_change='append_new_columns',
    post_hook=delete_what_left('account_transaction_id', 'int_account_transaction')
) }}

{% if is_incremental() %}
with {{ changed_keys(
    ref('int_account_transaction'), this, 'account_transaction_id',
    ['account_id', 'client_id', 'market', 'currency', 'loaded_at']
) }}
{% endif %}

select
    account_transaction_id,
    account_id,
    client_id,
    market,
    currency,
    transaction_type_id as account_transaction_type_id,
    transaction_type,
    transaction_date,
    amount,
    running_balance,
    is_reversed,
    created_at,
    modified_at,
    loaded_at
from {{ ref('int_account_transaction') }}
{% if is_incremental() %}
where account_transaction_id in (select account_transaction_id from changed_keys)
{% endif %}
