-- A loan's market: its client's office, else the one market that has its currency, else ZZ.
with loans as (
    select loan_id, client_id, currency from {{ ref('stg_ledger__loans') }}
),

client_markets as (
    select client_id, office_market from {{ ref('int_ledger_client_market') }}
),

currency_markets as (
    select currency, min(market) as market
    from {{ ref('markets') }}
    group by currency
    having count(*) = 1
)

select
    loans.loan_id,
    coalesce(client_markets.office_market, currency_markets.market, 'ZZ') as market
from loans
left join client_markets on loans.client_id = client_markets.client_id
left join currency_markets on loans.currency = currency_markets.currency
