/*
  Pairs that a person should look at: more likely one than two, and not sure enough to be joined. What is shown of the
  records is masked. A pair leaves when somebody decides it or its records become one person by other ways.
*/
with pairs as (
    select one, other, probability, agreement from {{ ref('int_identity_pair') }}
    where not is_contradicted and probability >= {{ var('identity_review') }} and probability < {{ var('identity_link') }}
),

decisions as (
    select one, other from {{ ref('int_identity_decision') }}
),

people as (
    select
        record_key,
        person_key,
        {{ masked_person('first_name', 'last_name', 'phone', 'email', 'market') }} as shown
    from {{ ref('int_person_record') }}
    where not is_deleted
)

select
    pairs.one || ',' || pairs.other as pair,
    pairs.one,
    pairs.other,
    pairs.probability,
    pairs.agreement as because,
    one.shown as one_shown,
    other.shown as other_shown
from pairs
inner join people as one on pairs.one = one.record_key
inner join people as other on pairs.other = other.record_key
left join decisions on pairs.one = decisions.one and pairs.other = decisions.other
where decisions.one is null and one.person_key <> other.person_key
