{{ metric_table(ref('agg_borrower_cohort')) }}
