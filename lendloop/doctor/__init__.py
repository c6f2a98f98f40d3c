"""What `lendloop doctor` finds: checks that look, change nothing, and end in time.

Belongs here: shapes, how checks run beside each other, and checks of what the foundation owns. Each
room has its own beside its code. A finding never holds a secret or personal data.
"""

from __future__ import annotations

from lendloop.doctor.findings import Check, Finding, fault_in_words, run_checks
from lendloop.doctor.probe import Answer, probe, skew_of

__all__ = ["Answer", "Check", "Finding", "fault_in_words", "probe", "run_checks", "skew_of"]
