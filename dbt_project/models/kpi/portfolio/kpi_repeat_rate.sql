{{ metric_table(ref('agg_repeat')) }}
