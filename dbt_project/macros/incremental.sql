{#
  How large facts follow raw: a gray view says what the fact's rows are, and each row holds the `_loaded_at` of
  the raw row it was made from (`loaded_at`) and what it took from its parents. A build compares these narrow
  columns and writes only rows that differ; what the view has no more is deleted after. No watermark of the
  whole table: a load that arrives late or out of order is found all the same.

  Comparing key by key costs a join of the whole past. So both sides are first summed up by stretches of keys, which
  costs a scan, and keys are compared only within the stretches whose sums differ.
#}

{# Whether a row is new or any of `columns` differs from what was built. #}
{% macro differs(fresh, built, columns) -%}
({% for column in columns %}{{ fresh }}.{{ column }} is distinct from {{ built }}.{{ column }}{{ ' or ' if not loop.last }}{% endfor %})
{%- endmacro %}

{# Stretches of the integer `key` in which two relations differ in the key or any of `columns`. Renders a query. #}
{% macro differing_stretches(fresh, built, key, columns) -%}
select coalesce(fresh.stretch, built.stretch) as stretch
    from (
        select {{ stretch_of(key) }} as stretch, {{ fingerprint_of_rows([key] + columns) }} as content
        from {{ fresh }}
        group by 1
    ) as fresh
    full outer join (
        select {{ stretch_of(key) }} as stretch, {{ fingerprint_of_rows([key] + columns) }} as content
        from {{ built }}
        group by 1
    ) as built on fresh.stretch = built.stretch
    where fresh.content is distinct from built.content
{%- endmacro %}

{# Keys of the rows of `fresh` that `built` has not, or has otherwise. Renders CTEs; `changed_keys` is the last. #}
{% macro changed_keys(fresh, built, key, columns) -%}
differing_stretches as (
    {{ differing_stretches(fresh, built, key, columns) }}
),

changed_keys as (
    select fresh.{{ key }}
    from (
        select {{ key }}, {{ columns | join(', ') }} from {{ fresh }}
        where {{ stretch_of(key) }} in (select stretch from differing_stretches)
    ) as fresh
    left join (
        select {{ key }}, {{ columns | join(', ') }} from {{ built }}
        where {{ stretch_of(key) }} in (select stretch from differing_stretches)
    ) as built on fresh.{{ key }} = built.{{ key }}
    where {{ differs('fresh', 'built', columns) }}
)
{%- endmacro %}

{# Post-hook: delete the rows that the view `fresh` has no more. #}
{% macro delete_what_left(key, fresh) -%}
{% set stretched %}{{ stretch_of(key) }} in (select stretch from differing_stretches){% endset -%}
delete from {{ '{{ this }}' }} where {{ key }} in (
    with differing_stretches as (
    {{ "{{ differing_stretches(ref('" ~ fresh ~ "'), this, '" ~ key ~ "', []) }}" }}
    )
    select {{ key }} from {{ '{{ this }}' }} where {{ stretched }}
    except
    select {{ key }} from {{ "{{ ref('" ~ fresh ~ "') }}" }} where {{ stretched }}
)
{%- endmacro %}
