{#
  What engines spell differently. A model calls these; an engine with another spelling adds its
  own `<adapter>__` variant here and nowhere else.
#}

{# The calendar date in an IANA time zone of an instant. #}
{% macro local_date(instant, time_zone) %}{{ return(adapter.dispatch('local_date', 'lendloop')(instant, time_zone)) }}{% endmacro %}
{% macro default__local_date(instant, time_zone) %}cast({{ instant }} at time zone {{ time_zone }} as date){% endmacro %}
{% macro duckdb__local_date(instant, time_zone) %}cast(timezone({{ time_zone }}, {{ instant }}) as date){% endmacro %}
{% macro spark__local_date(instant, time_zone) %}to_date(from_utc_timestamp({{ instant }}, {{ time_zone }})){% endmacro %}

{# A name without accents, case, emoji or punctuation; NULL when nothing is left. #}
{% macro normalize_name(name) %}{{ return(adapter.dispatch('normalize_name', 'lendloop')(name)) }}{% endmacro %}
{% macro default__normalize_name(name) %}nullif(trim(regexp_replace(lower({{ name }}), '[^a-z]+', ' ')), ''){% endmacro %}
{% macro duckdb__normalize_name(name) %}nullif(trim(regexp_replace(lower(strip_accents({{ name }})), '[^a-z]+', ' ', 'g')), ''){% endmacro %}

{# An identifier's letters and digits only, in capitals; NULL below five characters. #}
{% macro normalize_id(value) %}{{ return(adapter.dispatch('normalize_id', 'lendloop')(value)) }}{% endmacro %}
{% macro default__normalize_id(value) %}case when length(regexp_replace(upper({{ value }}), '[^A-Z0-9]', '')) >= 5 then regexp_replace(upper({{ value }}), '[^A-Z0-9]', '') end{% endmacro %}
{% macro duckdb__normalize_id(value) %}case when length(regexp_replace(upper({{ value }}), '[^A-Z0-9]', '', 'g')) >= 5 then regexp_replace(upper({{ value }}), '[^A-Z0-9]', '', 'g') end{% endmacro %}

{# Digits as an integer, NULL for anything else. #}
{% macro as_integer(value) %}{{ return(adapter.dispatch('as_integer', 'lendloop')(value)) }}{% endmacro %}
{% macro default__as_integer(value) %}try_cast(trim({{ value }}) as bigint){% endmacro %}

{% macro edit_distance(one, other) %}{{ return(adapter.dispatch('edit_distance', 'lendloop')(one, other)) }}{% endmacro %}
{% macro default__edit_distance(one, other) %}levenshtein({{ one }}, {{ other }}){% endmacro %}
{% macro duckdb__edit_distance(one, other) %}damerau_levenshtein({{ one }}, {{ other }}){% endmacro %}

{# A relation of the integers 1 to `upper` in one column `number`. #}
{% macro numbers_to(upper) %}{{ return(adapter.dispatch('numbers_to', 'lendloop')(upper)) }}{% endmacro %}
{% macro default__numbers_to(upper) %}select explode(sequence(1, {{ upper }})) as number{% endmacro %}
{% macro duckdb__numbers_to(upper) %}select cast(unnest(range(1, {{ upper }} + 1)) as integer) as number{% endmacro %}

{# A date plus days, as a date. #}
{% macro plus_days(day, days) %}{{ return(adapter.dispatch('plus_days', 'lendloop')(day, days)) }}{% endmacro %}
{% macro default__plus_days(day, days) %}cast({{ dbt.dateadd('day', days, day) }} as date){% endmacro %}
{% macro duckdb__plus_days(day, days) %}({{ day }} + cast({{ days }} as integer)){% endmacro %}

{# Whole days from one date to another. #}
{% macro days_between(earlier, later) %}{{ return(adapter.dispatch('days_between', 'lendloop')(earlier, later)) }}{% endmacro %}
{% macro default__days_between(earlier, later) %}cast({{ dbt.datediff(earlier, later, 'day') }} as integer){% endmacro %}
{% macro duckdb__days_between(earlier, later) %}cast(({{ later }} - {{ earlier }}) as integer){% endmacro %}

{# Midnight UTC of a date, as an instant. #}
{% macro midnight_utc(day) %}{{ return(adapter.dispatch('midnight_utc', 'lendloop')(day)) }}{% endmacro %}
{% macro default__midnight_utc(day) %}cast({{ day }} as timestamp){% endmacro %}
{% macro duckdb__midnight_utc(day) %}timezone('UTC', cast({{ day }} as timestamp)){% endmacro %}

{# A group's fingerprint: other rows, or another value in one of `columns`, give another number. #}
{% macro fingerprint_of_rows(columns) %}{{ return(adapter.dispatch('fingerprint_of_rows', 'lendloop')(columns)) }}{% endmacro %}
{% macro default__fingerprint_of_rows(columns) %}cast(sum(cast(xxhash64({{ columns | join(', ') }}) as decimal(38, 0))) % 9223372036854775807 as bigint){% endmacro %}
{% macro duckdb__fingerprint_of_rows(columns) %}cast(sum(cast(hash({{ columns | join(', ') }}, version()) as hugeint)) % 9223372036854775807 as bigint){% endmacro %}

{# The stretch of 16,384 whole numbers that an integer key lies in. #}
{% macro stretch_of(key) %}{{ return(adapter.dispatch('stretch_of', 'lendloop')(key)) }}{% endmacro %}
{% macro default__stretch_of(key) %}cast(floor({{ key }} / 16384) as bigint){% endmacro %}
{% macro duckdb__stretch_of(key) %}({{ key }} >> 14){% endmacro %}

{# Whether the engine itself holds a column of a table unique, as far as it says so. #}
{% macro is_primary_key(relation, column) %}{{ return(adapter.dispatch('is_primary_key', 'lendloop')(relation, column)) }}{% endmacro %}
{% macro default__is_primary_key(relation, column) %}{{ return(false) }}{% endmacro %}
{% macro duckdb__is_primary_key(relation, column) %}
    {% if not relation.identifier %}{{ return(false) }}{% endif %}
    {% set found = run_query("select count(*) from duckdb_constraints() where constraint_type = 'PRIMARY KEY' and schema_name = '" ~ relation.schema ~ "' and table_name = '" ~ relation.identifier ~ "' and constraint_column_names = ['" ~ column ~ "']") %}
    {{ return(found.columns[0].values()[0] > 0) }}
{% endmacro %}

{# Whole calendar months from one month's first day to another's. #}
{% macro months_between(earlier, later) %}{{ return(adapter.dispatch('months_between', 'lendloop')(earlier, later)) }}{% endmacro %}
{% macro default__months_between(earlier, later) %}cast({{ dbt.datediff(earlier, later, 'month') }} as integer){% endmacro %}

{# A date plus months, as a date. #}
{% macro plus_months(day, months) %}{{ return(adapter.dispatch('plus_months', 'lendloop')(day, months)) }}{% endmacro %}
{% macro default__plus_months(day, months) %}cast({{ dbt.dateadd('month', months, day) }} as date){% endmacro %}

{# A group's values of a text column in order, with commas between. #}
{% macro listed(column) %}{{ return(adapter.dispatch('listed', 'lendloop')(column)) }}{% endmacro %}
{% macro default__listed(column) %}array_join(sort_array(collect_list({{ column }})), ','){% endmacro %}
{% macro duckdb__listed(column) %}string_agg({{ column }}, ',' order by {{ column }}){% endmacro %}
