/*
  How probably each compared pair is one person. The prior follows from how many records there are: among
  ten times as many, the same evidence is a tenth as good; a small lender's are taken for a hundred thousand.
  Two things splink takes for independent are not, and are held here:
  - A household explains at once a shared phone, address, birthday and surname. So a pair whose first names can't be one
    name, or whose dates of birth are further apart than a slip of the pen, is contradicted whatever else agrees.
  - People have namesakes of their own age. So without a contact or an id in common, a person is asked.
*/
with pairs as (
    select one, other, evidence, agreement from {{ ref('int_identity_match') }}
    where one <> other
),

records as (
    select record_key, first_name, last_name, date_of_birth, phone, email, national_id, ledger_id
    from {{ ref('int_identity_compared') }}
),

priors as (
    select chances.m / greatest(count(*), 100000) as odds
    from records
    cross join (select m from {{ ref('identity_chances') }} where comparison = 'record') as chances
    group by chances.m
),

judged as (
    select
        pairs.one,
        pairs.other,
        pairs.agreement,
        1 / (1 + power(2, -pairs.evidence) / priors.odds) as probability,
        coalesce(one.phone = other.phone, false)
        or coalesce(one.email = other.email, false)
        or coalesce(one.national_id = other.national_id, false)
        or coalesce(one.ledger_id = other.ledger_id, false) as has_common_identifier,
        coalesce(not {{ names_compatible('one.first_name', 'other.first_name') }}, false)
        and not coalesce(one.first_name = other.last_name and one.last_name = other.first_name, false)
        or coalesce({{ edit_distance('one.date_of_birth', 'other.date_of_birth') }} > 2, false) as is_contradicted
    from pairs
    cross join priors
    inner join records as one on pairs.one = one.record_key
    inner join records as other on pairs.other = other.record_key
)

select
    one,
    other,
    cast(
        case when has_common_identifier then probability else least(probability, {{ var('identity_link') }} - 0.01) end
        as decimal(5, 4)
    ) as probability,
    agreement,
    is_contradicted
from judged
