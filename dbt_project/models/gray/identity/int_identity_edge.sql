/*
  Pairs of records that are one person, each by a rule: by ids and contacts surely, else probably enough, or because
  somebody decided so. A phone alone is never enough, and no rule joins records whose dates of birth contradict each
  other or whose first names do. What somebody decided to be two people is never joined.
*/
with records as (
    select
        record_key, source, source_id, first_name_key, last_name_key, date_of_birth, phone, email, national_id_key,
        ledger_client_id
    from {{ ref('int_identity_record') }}
),

candidates as (
    select claims.record_key as one, clients.record_key as other, 'ledger_id' as rule
    from records as claims
    inner join records as clients
        on claims.ledger_client_id = clients.ledger_client_id and clients.source = 'ledger'
    where claims.source <> 'ledger'

    union all

    select one.record_key, other.record_key, 'national_id'
    from records as one
    inner join records as other
        on one.national_id_key = other.national_id_key and one.record_key < other.record_key

    union all

    select one.record_key, other.record_key, 'phone_and_birth'
    from records as one
    inner join records as other
        on
            one.phone = other.phone
            and one.date_of_birth = other.date_of_birth
            and one.record_key < other.record_key

    union all

    select one.record_key, other.record_key, 'email_and_birth'
    from records as one
    inner join records as other
        on
            one.email = other.email
            and one.date_of_birth = other.date_of_birth
            and one.record_key < other.record_key
),

compared as (
    select
        candidates.one,
        candidates.other,
        candidates.rule,
        one.date_of_birth = other.date_of_birth as same_birth,
        one.phone = other.phone as same_phone,
        one.email = other.email as same_email,
        one.first_name_key = other.first_name_key as same_first_name,
        coalesce(one.first_name_key = other.last_name_key and one.last_name_key = other.first_name_key, false)
            as swapped_names,
        {{ names_compatible('one.first_name_key', 'other.first_name_key') }} as compatible_first_name,
        {{ names_compatible('one.last_name_key', 'other.last_name_key') }} as compatible_last_name
    from candidates
    inner join records as one on candidates.one = one.record_key
    inner join records as other on candidates.other = other.record_key
),

judged as (
    select
        one,
        other,
        rule,
        coalesce(same_birth and (same_first_name or swapped_names), false) as is_exact,
        case
            when not coalesce(same_birth, true) then false
            when rule in ('phone_and_birth', 'email_and_birth') then compatible_first_name or swapped_names
            when rule = 'national_id'
                then coalesce(compatible_first_name or swapped_names, same_birth)
            else
                coalesce(compatible_first_name or swapped_names, true)
                and (
                    coalesce(same_birth, false)
                    or coalesce(same_phone, false)
                    or coalesce(same_email, false)
                    or coalesce((compatible_first_name and compatible_last_name) or swapped_names, false)
                )
        end as holds
    from compared
),

found as (
    select one, other, rule, is_exact, cast(1 as decimal(5, 4)) as probability
    from judged
    where holds
    union all
    select one, other, 'probable', false, probability
    from {{ ref('int_identity_pair') }}
    where probability >= {{ var('identity_link') }} and not is_contradicted
),

decisions as (
    select one, other, verdict from {{ ref('int_identity_decision') }}
)

select found.one, found.other, found.rule, found.is_exact, found.probability
from found
left join decisions
    on
        least(found.one, found.other) = decisions.one
        and greatest(found.one, found.other) = decisions.other
where coalesce(decisions.verdict, 'same') = 'same'

union all

select decisions.one, decisions.other, 'decision', true, cast(1 as decimal(5, 4))
from decisions
inner join records as one on decisions.one = one.record_key
inner join records as other on decisions.other = other.record_key
where decisions.verdict = 'same'
