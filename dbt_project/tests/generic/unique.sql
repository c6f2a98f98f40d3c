{#
  Values of a column that stand more than once. A table whose primary key is the column holds none: the engine refused
  them, and its catalogue is asked instead of the whole past.
#}
{% test unique(model, column_name) %}
{% if execute and lendloop.is_primary_key(model, column_name) %}
select {{ column_name }} from {{ model }} where false
{% else %}
select {{ column_name }}, count(*) as row_count
from {{ model }}
where {{ column_name }} is not null
group by {{ column_name }}
having count(*) > 1
{% endif %}
{% endtest %}
