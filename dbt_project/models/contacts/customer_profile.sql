with records as (
    select person_key, source, source_id, source_order, first_name, last_name, language, updated_at
    from {{ ref('int_person_record') }}
    where not is_deleted and source <> 'survey'
),

customers as (
    select person_key, market from {{ ref('dim_customer') }}
),

preferred as (
    select
        person_key,
        first_name,
        last_name,
        row_number() over (
            partition by person_key
            order by
                case when first_name is null then 1 else 0 end,
                case source when 'crm' then 1 when 'ledger' then 2 else 3 end,
                updated_at desc,
                source_id
        ) as rank
    from records
),

languages as (
    select
        person_key,
        language,
        row_number() over (partition by person_key order by updated_at desc, source_id) as rank
    from records
    where language is not null
)

select
    customers.person_key,
    customers.market,
    preferred.first_name,
    preferred.last_name,
    languages.language
from customers
left join preferred on customers.person_key = preferred.person_key and preferred.rank = 1
left join languages on customers.person_key = languages.person_key and languages.rank = 1
