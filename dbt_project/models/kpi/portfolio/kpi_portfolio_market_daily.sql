{{ metric_table(ref('agg_portfolio_daily'), where='outstanding_principal is not null') }}
