{{ metric_table(ref('agg_portfolio_monthly')) }}
