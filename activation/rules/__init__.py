"""Rules: files that say, by SQL over trusted, when people must be told; their evaluation into findings.

What belongs here: the shape of a rule's file, its checks, its evaluation.
What does not: what becomes of a finding (activation.alerts).
"""

from __future__ import annotations

from activation.rules.evaluate import RuleEvaluation, evaluate_rule
from activation.rules.load import load_rules, rule_schema
from activation.rules.model import Rule

__all__ = ["Rule", "RuleEvaluation", "evaluate_rule", "load_rules", "rule_schema"]
