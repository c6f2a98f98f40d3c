-- Records of people that are nobody's today, and records that are somebody's though no source has them.
{{ config(meta={'dimension': 'completeness'}) }}
with records as (
    select 'crm' as source, contact_id as source_id from {{ ref('stg_crm__contacts') }}
    where not is_deleted
    union all
    select 'ledger', cast(client_id as varchar) from {{ ref('stg_ledger__clients') }}
    where not is_deleted
    union all
    select 'support', cast(user_id as varchar) from {{ ref('stg_support__users') }}
    where not is_deleted
    union all
    select 'survey', response_id from {{ ref('stg_survey__responses') }}
    where not is_deleted
),

links as (
    select source, source_id from {{ ref('map_customer_source') }}
    where valid_to is null
)

select
    coalesce(records.source, links.source) as source,
    coalesce(records.source_id, links.source_id) as source_id,
    case when links.source_id is null then 'nobody has it' else 'no source has it' end as fault
from records
full outer join links on records.source = links.source and records.source_id = links.source_id
where records.source_id is null or links.source_id is null
