-- Where a client of the ledger belongs: the office's market, else the one market whose currency all their accounts have.
with clients as (
    select client_id, office_id from {{ ref('stg_ledger__clients') }}
),

offices as (
    select office_id, market from {{ ref('stg_ledger__offices') }}
),

markets as (
    select market, currency from {{ ref('markets') }}
),

currency_markets as (
    select currency, min(market) as market
    from markets
    group by currency
    having count(*) = 1
),

client_currencies as (
    select client_id, currency from {{ ref('stg_ledger__loans') }}
    union all
    select client_id, currency from {{ ref('stg_ledger__accounts') }}
),

by_currency as (
    select client_currencies.client_id, min(currency_markets.market) as market
    from client_currencies
    inner join currency_markets on client_currencies.currency = currency_markets.currency
    group by client_currencies.client_id
    having count(distinct currency_markets.market) = 1
)

select
    clients.client_id,
    by_office.market as office_market,
    coalesce(by_office.market, by_currency.market, 'ZZ') as market
from clients
left join offices on clients.office_id = offices.office_id
left join markets as by_office on offices.market = by_office.market
left join by_currency on clients.client_id = by_currency.client_id
