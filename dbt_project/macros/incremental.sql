{#
  How large facts follow raw: each row holds the `_loaded_at` of the raw row it was made from
  (`loaded_at`) and what it took from its parents. A build compares those narrow columns and
  writes only rows that differ; what left raw, or lost its parent, is deleted after. No watermark of the
  whole table: a load that arrives late or out of order is found all the same.
#}

{# Whether a row is new or any of `columns` differs from what was built. #}
{% macro differs(fresh, built, columns) -%}
({% for column in columns %}{{ fresh }}.{{ column }} is distinct from {{ built }}.{{ column }}{{ ' or ' if not loop.last }}{% endfor %})
{%- endmacro %}

{# Post-hook: delete rows whose raw row, or whose loan, is gone. #}
{% macro delete_what_left(key, staging) -%}
delete from {{ '{{ this }}' }} where {{ key }} not in (select {{ key }} from {{ "{{ ref('" ~ staging ~ "') }}" }})
{%- if key != 'account_transaction_id' %} or loan_id not in (select loan_id from {{ "{{ ref('fct_loan') }}" }}){% endif %}
{%- endmacro %}
