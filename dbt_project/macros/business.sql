{# Rules of the business that more than one model needs: each said once, here. #}

{% macro money(amount) %}cast({{ amount }} as decimal(19, 6)){% endmacro %}

{# A ratio of two amounts or counts, NULL when there is nothing to divide by. #}
{% macro ratio(numerator, denominator, type='decimal(9, 6)') -%}
cast(cast({{ numerator }} as double) / nullif(cast({{ denominator }} as double), 0) as {{ type }})
{%- endmacro %}

{# The bucket of days past due. #}
{% macro dpd_bucket(days) -%}
case
        when {{ days }} <= 0 then 'current'
        when {{ days }} <= 7 then '1-7'
        when {{ days }} <= 30 then '8-30'
        when {{ days }} <= 60 then '31-60'
        when {{ days }} <= 90 then '61-90'
        else '91+'
    end
{%- endmacro %}

{#
  Whether two normalised names may be one person's: equal, the same first word, or a small slip of
  the pen (one edit from four letters on, two from seven on) that keeps the initial. NULL when either is unknown.
#}
{% macro names_compatible(one, other) -%}
(
    {{ one }} = {{ other }}
    or {{ dbt.split_part(one, "' '", 1) }} = {{ dbt.split_part(other, "' '", 1) }}
    or (
        substring({{ one }}, 1, 1) = substring({{ other }}, 1, 1)
        and {{ edit_distance(one, other) }} <= case
            when least(length({{ one }}), length({{ other }})) >= 7 then 2
            when least(length({{ one }}), length({{ other }})) >= 4 then 1
            else 0
        end
    )
)
{%- endmacro %}

{#
  Each record with the smallest record it is connected to. `edges` has columns one, other;
  `records` a column record_key. Renders CTEs; `name` is the last.
#}
{% macro connected_components(name, records, edges) -%}
{{ name }}_reach as (
    select record_key, record_key as reached
    from {{ records }}
    union
    select walk.record_key, links.reached
    from {{ name }}_reach as walk
    inner join (
        select one as record_key, other as reached from {{ edges }}
        union all
        select other, one from {{ edges }}
    ) as links on walk.reached = links.record_key
),

{{ name }} as (
    select record_key, min(reached) as component
    from {{ name }}_reach
    group by record_key
)
{%- endmacro %}

{#
  Everyone that a record's flag holds back: its own person, and every person with any record that
  shares a valid phone, an e-mail or an id with it. `flagged` has columns record_key, source_id,
  reason, since. Renders CTEs; `name` is the last: person_key, reason, via, source_id, since.
#}
{% macro suppression_reach(flagged, name) -%}
{{ name }}_identifiers as (
    select record_key, person_key, via, value from {{ ref('int_record_identifier') }}
),

{{ name }}_ways as (
    select people.person_key, flags.reason, 'own' as via, 1 as nearness, flags.source_id, flags.since
    from {{ flagged }} as flags
    inner join {{ ref('int_person_record') }} as people on flags.record_key = people.record_key
    union all
    select
        theirs.person_key,
        flags.reason,
        theirs.via,
        case theirs.via when 'shared_id' then 2 when 'shared_phone' then 3 else 4 end,
        flags.source_id,
        flags.since
    from {{ flagged }} as flags
    inner join {{ name }}_identifiers as mine on flags.record_key = mine.record_key
    inner join {{ name }}_identifiers as theirs on mine.via = theirs.via and mine.value = theirs.value
),

{{ name }} as (
    select person_key, reason, via, source_id, since
    from (
        select
            person_key, reason, via, source_id, since,
            row_number() over (partition by person_key, reason, source_id order by nearness) as rank
        from {{ name }}_ways
    ) as ranked
    where rank = 1
)
{%- endmacro %}

{# The buckets of days past due, each with the name its column has. #}
{% macro dpd_bucket_columns() %}
    {{ return([
        ('current', 'current'), ('1-7', '1_7'), ('8-30', '8_30'), ('31-60', '31_60'), ('61-90', '61_90'), ('91+', '91_plus')
    ]) }}
{% endmacro %}

{# The stages of the funnel, in order. #}
{% macro funnel_stages() %}
    {{ return(['eligible', 'offered', 'applied', 'approved', 'accepted', 'disbursed', 'repaid', 'repeat']) }}
{% endmacro %}

{# What is still to be paid of an instalment of stg_ledger__installments. #}
{% macro still_due(installments) -%}
case when {{ installments }}.is_complete then 0 else
    greatest({{ installments }}.principal_due - {{ installments }}.principal_paid - {{ installments }}.principal_written_off, 0)
    + greatest({{ installments }}.interest_due - {{ installments }}.interest_paid, 0)
    + {{ installments }}.charges_due
end
{%- endmacro %}

{# The kinds of cost that finance keeps. #}
{% macro cost_kinds() %}
    {{ return(['acquisition', 'onboarding', 'funding', 'servicing', 'collections']) }}
{% endmacro %}

{# What a person may see of somebody to tell them apart: initials, the end of a phone, where a mailbox is. #}
{% macro masked_person(first_name, last_name, phone, email, market) -%}
coalesce(substring({{ first_name }}, 1, 1) || '…', '?') || ' ' || coalesce(substring({{ last_name }}, 1, 1) || '…', '?')
        || ', phone ' || coalesce('…' || substring({{ phone }}, length({{ phone }}) - 1, 2), 'none')
        || ', e-mail ' || coalesce(substring({{ email }}, 1, 1) || '…@' || {{ dbt.split_part(email, "'@'", 2) }}, 'none')
        || ', ' || {{ market }}
{%- endmacro %}
