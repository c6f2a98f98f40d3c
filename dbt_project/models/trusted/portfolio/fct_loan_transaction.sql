{{ config(
    materialized='incremental',
    unique_key='loan_transaction_id',
    incremental_strategy='delete+insert',
    on_schema_change='append_new_columns',
    post_hook=delete_what_left('loan_transaction_id', 'int_loan_transaction')
) }}

{% if is_incremental() %}
with {{ changed_keys(
    ref('int_loan_transaction'), this, 'loan_transaction_id',
    ['loan_id', 'market', 'product_id', 'currency', 'loaded_at']
) }}
{% endif %}

select
    loan_transaction_id,
    loan_id,
    market,
    product_id,
    currency,
    transaction_type_id,
    transaction_type,
    transaction_date,
    amount,
    principal_amount,
    interest_amount,
    fee_amount,
    penalty_amount,
    is_reversed,
    reversed_on,
    created_at,
    modified_at,
    loaded_at
from {{ ref('int_loan_transaction') }}
{% if is_incremental() %}
where loan_transaction_id in (select loan_transaction_id from changed_keys)
{% endif %}
