{#
  A KPI is defined once, as a metric (models/kpi/_metrics.yml). A table of kpi is written from the metrics that its
  columns are named after, so that the table, MetricFlow and the catalogue can't differ.
#}

{#
  The rows of a kpi table: `source` summed by the table's key. A column named after a ratio metric is that ratio, one
  named after a measure is its sum.
#}
{% macro metric_table(source, where=none) -%}
{%- set key = model.config.meta.get('key', []) -%}
select
    {% for name in key -%}
    {{ name }},
    {% endfor -%}
    {% for name, column in model.columns.items() if name not in key -%}
    {{ metric_column(name, column.data_type) }} as {{ name }}{{ ',' if not loop.last }}
    {% endfor %}
from {{ source }}
{% if where -%}
where {{ where }}
{% endif -%}
group by {{ key | join(', ') }}
{%- endmacro %}

{# One column of a kpi table. #}
{% macro metric_column(name, data_type) -%}
{%- if execute -%}
    {%- set found = graph.metrics.values() | selectattr('name', 'equalto', name) | list -%}
    {%- if not found -%}
        {{ exceptions.raise_compiler_error('no metric is called ' ~ name ~ ': define it in models/kpi/_metrics.yml') }}
    {%- endif -%}
    {%- set parts = found[0].type_params -%}
    {%- if found[0].type == 'ratio' -%}
        {{ ratio(metric_sum(parts.numerator.name), metric_sum(parts.denominator.name), data_type) }}
    {%- else -%}
        cast({{ metric_sum(name) }} as {{ data_type }})
    {%- endif -%}
{%- else -%}
    null
{%- endif -%}
{%- endmacro %}

{# The sum that a simple metric is. #}
{% macro metric_sum(name) -%}
{%- for semantic_model in graph.semantic_models.values() -%}
    {%- for measure in semantic_model.measures if measure.name == name -%}
        {%- if measure.agg != 'sum' -%}
            {{ exceptions.raise_compiler_error('measure ' ~ name ~ ' is no sum') }}
        {%- endif -%}
        sum({{ measure.expr or measure.name }})
    {%- endfor -%}
{%- endfor -%}
{%- endmacro %}
