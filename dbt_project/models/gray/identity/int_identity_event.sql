/*
  Merges and splits: records that went from one person to another on a day, as the map of the trusted zone holds them.
  When no other record of the first person was left that day it was a merge, else the records were split off; what was
  joined or parted since changes nothing of that. Undoing one is a decision.
*/
{{ config(materialized='view') }}

with links as (
    select
        source || ':' || source_id as record_key, person_key, valid_from, valid_to,
        lead(person_key) over (
            partition by source, source_id order by valid_from, coalesce(valid_to, date '9999-12-31')
        ) as next_person
    from {{ ref('map_customer_source') }}
),

moves as (
    select record_key, person_key as from_person, next_person as to_person, valid_to as moved_on
    from links
    where next_person <> person_key and valid_to is not null
),

remaining as (
    select distinct moves.from_person, moves.moved_on
    from moves
    inner join links as stayed
        on moves.from_person = stayed.person_key and stayed.valid_from <= moves.moved_on
        and coalesce(stayed.valid_to, date '9999-12-31') > moves.moved_on
    left join moves as gone
        on stayed.record_key = gone.record_key and moves.from_person = gone.from_person and moves.moved_on = gone.moved_on
    where gone.record_key is null
)

select
    {{ dbt.hash("moves.from_person || moves.to_person || cast(moves.moved_on as varchar)") }} as event,
    case when remaining.from_person is null then 'merge' else 'split' end as kind,
    moves.moved_on as happened_on,
    moves.from_person,
    moves.to_person,
    {{ listed('moves.record_key') }} as records
from moves
left join remaining on moves.from_person = remaining.from_person and moves.moved_on = remaining.moved_on
group by moves.from_person, moves.to_person, moves.moved_on, remaining.from_person
