{{ config(
    materialized='incremental',
    unique_key='installment_id',
    incremental_strategy='delete+insert',
    on_schema_change='append_new_columns',
    post_hook=delete_what_left('installment_id', 'int_installment')
) }}

{% if is_incremental() %}
with {{ changed_keys(
    ref('int_installment'), this, 'installment_id',
    ['loan_id', 'market', 'product_id', 'currency', 'days_late', 'loaded_at']
) }}
{% endif %}

select
    installment_id,
    loan_id,
    installment_number,
    market,
    product_id,
    currency,
    due_on,
    principal_due,
    principal_paid,
    principal_written_off,
    interest_due,
    interest_paid,
    is_complete,
    met_on,
    days_late,
    loaded_at
from {{ ref('int_installment') }}
{% if is_incremental() %}
where installment_id in (select installment_id from changed_keys)
{% endif %}
