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

{#
  Post-hook: delete rows whose raw row is gone or now belongs to another `parent`, or whose loan is gone.
  (A row that moved to a loan that is gone is written by nobody.)
#}
{% macro delete_what_left(key, staging, parent='loan_id') -%}
delete from {{ '{{ this }}' }} as built where not exists (
    select 1 from {{ "{{ ref('" ~ staging ~ "') }}" }} as live
    where live.{{ key }} = built.{{ key }} and live.{{ parent }} = built.{{ parent }}
)
{%- if parent == 'loan_id' %} or loan_id not in (select loan_id from {{ "{{ ref('fct_loan') }}" }}){% endif %}
{%- endmacro %}
