"""Names that more than one module of orchestration speaks of."""

MAIN_JOB = "main"
RULE_CHECK = "holds"
AS_USUAL = "as_usual"
"""The check that compares rows and values of a dataset with its own past: what it finds is a hint, and holds no rule back."""
VERDICT_STEP = "operations__verdict"
