{{ metric_table(ref('agg_recovery')) }}
