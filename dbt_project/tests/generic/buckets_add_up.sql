{# Days whose buckets of days past due do not add up to the outstanding principal. #}
{% test buckets_add_up(model) %}
select as_of_date, market, product_id, currency, outstanding_principal
from {{ model }}
where
    outstanding_principal is not null
    and outstanding_principal <> {% for bucket, name in lendloop.dpd_bucket_columns() %}bucket_{{ name }}_principal{{ ' + ' if not loop.last }}{% endfor %}
{% endtest %}
