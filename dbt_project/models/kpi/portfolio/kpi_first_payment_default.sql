{{ metric_table(ref('agg_first_payment_default')) }}
