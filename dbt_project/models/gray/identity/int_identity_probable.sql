/*
  Pairs of records that may well be one person and are not surely so: the same date of birth with
  names that can be one, one name with national ids a slip of the pen apart, or what a person is asked
  to review. Nobody is merged on it and nobody gains a permission by it; a flag or a withdrawal reaches
  across, until somebody decides that they are two people.
*/
with records as (
    select record_key, market, first_name_key, last_name_key, date_of_birth, national_id_key
    from {{ ref('int_identity_record') }}
    where first_name_key is not null and last_name_key is not null
),

decisions as (
    select one, other from {{ ref('int_identity_decision') }}
    where verdict = 'different'
),

pairs as (
    select one.record_key as one, other.record_key as other, 'name_and_birth' as rule
    from records as one
    inner join records as other
        on
            one.date_of_birth = other.date_of_birth
            and substring(one.first_name_key, 1, 1) = substring(other.first_name_key, 1, 1)
            and one.record_key < other.record_key
    where
        {{ names_compatible('one.first_name_key', 'other.first_name_key') }}
        and {{ names_compatible('one.last_name_key', 'other.last_name_key') }}

    union all

    select one.record_key, other.record_key, 'name_and_near_id'
    from records as one
    inner join records as other
        on
            one.first_name_key = other.first_name_key
            and one.last_name_key = other.last_name_key
            and one.market = other.market
            and one.record_key < other.record_key
    where
        {{ edit_distance('one.national_id_key', 'other.national_id_key') }} between 1 and 2
        and coalesce(one.date_of_birth = other.date_of_birth, true)

    union all

    select one, other, 'probable'
    from {{ ref('int_identity_pair') }}
    where probability >= {{ var('identity_review') }} and not is_contradicted
)

select pairs.one, pairs.other, pairs.rule
from pairs
left join decisions on least(pairs.one, pairs.other) = decisions.one and greatest(pairs.one, pairs.other) = decisions.other
where decisions.one is null
