{{ metric_table(ref('agg_funnel_daily')) }}
