"""Names that more than one module of orchestration speaks of."""

MAIN_JOB = "main"
RULE_CHECK = "holds"
VERDICT_STEP = "operations__verdict"
