-- What a person decided last of each pair of records: same or different. A decision that was taken back is none.
with decisions as (
    select
        one, other, verdict, decided_by, because, decided_at,
        row_number() over (partition by one, other order by number desc) as rank
    from {{ source('raw_identity', 'decision') }}
)

select one, other, verdict, decided_by, because, decided_at
from decisions
where rank = 1 and verdict <> 'open'
