"""Operational state: alerts, findings, outbox, sync runs, silences, audit; transactional and shared.

What belongs here: tables, their migrations, how a process opens and writes them.
What does not: what a row means to an alert or an audience. Never in the warehouse file.
"""

from __future__ import annotations

from activation.ops.engine import exclusively, open_ops, reading, writing
from activation.ops.tables import sync_run

__all__ = ["exclusively", "open_ops", "reading", "sync_run", "writing"]
