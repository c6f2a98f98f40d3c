{# How tables of sums are put together again. #}

{# Whether two relations' rows are about the same: equal in all of `columns`, none of which is NULL. #}
{% macro same_key(left, right, columns) -%}
{% for column in columns %}{{ left }}.{{ column }} = {{ right }}.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}
{%- endmacro %}
